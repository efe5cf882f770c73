//! Limits as properties of a unit, see systemd.resource-control(5); pure.
//!
//! Both sides may change a limit: an admin in the tenant's file, or with `systemctl set-property`. The last
//! writer wins, key by key: only what the file has changed since it was last carried is set on the unit.

use std::collections::BTreeMap;

use tenant::model::limits::{ByteSize, Limits};
use wire::EffectiveLimit;

/// What systemd takes and gives for "no limit" and "no weight".
const NONE: u64 = u64::MAX;

/// What `tenant@.service` says of a limit, which counts where a tenant's file says nothing.
#[derive(Clone, Copy, Debug)]
enum Template {
    Nothing,
    Number(u64),
    /// Percent of the host's memory.
    Share(u64),
}

const TASKS_MAX: Template = Template::Number(16_384);
const MEMORY_MAX: Template = Template::Share(50);

/// A key of a tenant's file and the property that stands for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// The key.
    pub(super) key: &'static str,
    /// The property as D-Bus names it.
    pub(super) property: &'static str,
    /// The setting in a unit file.
    pub(super) setting: &'static str,
    /// The value of the property that a file's limits stand for.
    of: fn(&Limits) -> Option<u64>,
    /// A value of the property as a tenant's file writes it.
    show: fn(u64) -> String,
    /// Its value in the template of the units.
    template: Template,
}

fn number(value: u64) -> String {
    value.to_string()
}

fn size(value: u64) -> String {
    ByteSize(value).to_string()
}

/// A share of the host's memory as systemd computes it: in whole pages.
fn share(memory: u64, percent: u64) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    memory / page * percent / 100 * page
}

/// Microseconds of CPU time in a second, as percent.
fn percent(value: u64) -> String {
    match (value / 10_000, value % 10_000) {
        (whole, 0) => format!("{whole}%"),
        (whole, rest) => format!("{whole}.{:02}%", rest / 100),
    }
}

/// All limits, in the order in which they are shown.
pub(super) const LIMITS: [Limit; 7] = [
    Limit {
        key: "cpu_weight",
        property: "CPUWeight",
        setting: "CPUWeight",
        of: |limits| limits.cpu_weight.map(|weight| weight.get().into()),
        show: number,
        template: Template::Nothing,
    },
    Limit {
        key: "cpu_quota",
        property: "CPUQuotaPerSecUSec",
        setting: "CPUQuota",
        of: |limits| limits.cpu_quota.map(|quota| u64::from(quota.percent()) * 10_000),
        show: percent,
        template: Template::Nothing,
    },
    Limit {
        key: "memory_max",
        property: "MemoryMax",
        setting: "MemoryMax",
        of: |limits| limits.memory_max.map(|size| size.0),
        show: size,
        template: MEMORY_MAX,
    },
    Limit {
        key: "memory_high",
        property: "MemoryHigh",
        setting: "MemoryHigh",
        of: |limits| limits.memory_high.map(|size| size.0),
        show: size,
        template: Template::Nothing,
    },
    Limit {
        key: "memory_swap_max",
        property: "MemorySwapMax",
        setting: "MemorySwapMax",
        of: |limits| limits.memory_swap_max.map(|size| size.0),
        show: size,
        template: Template::Nothing,
    },
    Limit {
        key: "tasks_max",
        property: "TasksMax",
        setting: "TasksMax",
        of: |limits| limits.tasks_max.map(u64::from),
        show: number,
        template: TASKS_MAX,
    },
    Limit {
        key: "io_weight",
        property: "IOWeight",
        setting: "IOWeight",
        of: |limits| limits.io_weight.map(|weight| weight.get().into()),
        show: number,
        template: Template::Nothing,
    },
];

impl Limit {
    /// What the property is set to for these limits, on a host with `memory` bytes.
    fn value(&self, limits: &Limits, memory: u64) -> u64 {
        (self.of)(limits).unwrap_or(match self.template {
            Template::Nothing => NONE,
            Template::Number(number) => number,
            Template::Share(percent) => share(memory, percent),
        })
    }

    /// Whether a tenant is limited where its file says nothing.
    pub(super) fn has_default(&self) -> bool {
        !matches!(self.template, Template::Nothing)
    }

    /// Whether these limits say something of it.
    pub(super) fn is_set(&self, limits: &Limits) -> bool {
        (self.of)(limits).is_some()
    }
}

/// These limits without those of some keys.
pub(super) fn without(limits: &Limits, keys: &[&str]) -> Limits {
    let has = |key: &str| keys.contains(&key);
    Limits {
        cpu_weight: limits.cpu_weight.filter(|_| !has("cpu_weight")),
        cpu_quota: limits.cpu_quota.filter(|_| !has("cpu_quota")),
        memory_max: limits.memory_max.filter(|_| !has("memory_max")),
        memory_high: limits.memory_high.filter(|_| !has("memory_high")),
        memory_swap_max: limits.memory_swap_max.filter(|_| !has("memory_swap_max")),
        tasks_max: limits.tasks_max.filter(|_| !has("tasks_max")),
        io_weight: limits.io_weight.filter(|_| !has("io_weight")),
        by_default: limits.by_default.clone(),
    }
}

/// The properties that are to be set: those whose key the file has changed since `carried`. What the unit has
/// for the others is left alone, regardless of the process that set it.
pub(super) fn changes(applied: &Limits, file: &Limits, memory: u64) -> Vec<(&'static str, u64)> {
    LIMITS
        .iter()
        .filter(|limit| (limit.of)(applied) != (limit.of)(file))
        .map(|limit| (limit.property, limit.value(file, memory)))
        .collect()
}

/// The limits that a unit has, against what the tenant's file says. `set_by_hand` tells the settings that
/// `systemctl set-property` has a drop-in for.
pub(super) fn effective(
    unit: &BTreeMap<String, u64>,
    file: &Limits,
    memory: u64,
    set_by_hand: impl Fn(&str) -> bool,
) -> Vec<EffectiveLimit> {
    let describe = |limit: &Limit| {
        let value = *unit.get(limit.property)?;
        let wanted = limit.value(file, memory);
        let text = |value: u64| if value == NONE { "none".to_owned() } else { (limit.show)(value) };
        if value == wanted && value == NONE {
            return None;
        }
        let (by, says) = if value == wanted {
            (None, None)
        } else {
            let by = if set_by_hand(limit.setting) { "systemctl set-property" } else { "its unit" };
            let says = if limit.is_set(file) { text(wanted) } else { "nothing".to_owned() };
            (Some(by.to_owned()), Some(says))
        };
        Some(EffectiveLimit { key: limit.key.to_owned(), value: text(value), by, file: says })
    };
    LIMITS.iter().filter_map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_limit_is_a_property_in_the_unit_that_systemd_takes() {
        let all = limits(
            "cpu_weight = 200\ncpu_quota = '150%'\nmemory_max = '1G'\nmemory_high = '512M'\n\
             memory_swap_max = '0'\ntasks_max = 100\nio_weight = 7",
        );
        let expected = [
            ("CPUWeight", 200),
            ("CPUQuotaPerSecUSec", 1_500_000),
            ("MemoryMax", 1 << 30),
            ("MemoryHigh", 512 << 20),
            ("MemorySwapMax", 0),
            ("TasksMax", 100),
            ("IOWeight", 7),
        ];
        assert_eq!(changes(&Limits::default(), &all, 1000 << 20), expected);
        assert_eq!(without(&all, &LIMITS.map(|limit| limit.key)), Limits::default());
    }

    #[test]
    fn only_what_the_file_says_anew_is_set() {
        let applied = limits("memory_max = '512M'\ntasks_max = 100");
        assert_eq!(changes(&applied, &applied, 1000 << 20), []);
        let edited = limits("memory_max = '512M'\ntasks_max = 200\ncpu_weight = 50");
        assert_eq!(changes(&applied, &edited, 1000 << 20), [("CPUWeight", 50), ("TasksMax", 200)]);
        let lifted = changes(&applied, &Limits::default(), 1000 << 20);
        assert_eq!(lifted, [("MemoryMax", 500 << 20), ("TasksMax", 16_384)], "those of the template");
    }

    #[test]
    fn a_limit_that_is_not_the_files_is_told_with_who_set_it() {
        let unit = BTreeMap::from([
            ("MemoryMax".to_owned(), 1 << 30),
            ("TasksMax".to_owned(), 16_384),
            ("CPUQuotaPerSecUSec".to_owned(), 505_000),
            ("CPUWeight".to_owned(), NONE),
        ]);
        let file = limits("memory_max = '512M'\ncpu_weight = 200");
        let line = |key: &str, value: &str, by: Option<&str>, file: Option<&str>| EffectiveLimit {
            key: key.to_owned(),
            value: value.to_owned(),
            by: by.map(str::to_owned),
            file: file.map(str::to_owned),
        };
        assert_eq!(
            effective(&unit, &file, 1000 << 20, |setting| setting == "MemoryMax"),
            [
                line("cpu_weight", "none", Some("its unit"), Some("200")),
                line("cpu_quota", "50.50%", Some("its unit"), Some("nothing")),
                line("memory_max", "1G", Some("systemctl set-property"), Some("512M")),
                line("tasks_max", "16384", None, None),
            ]
        );
    }

    #[test]
    fn what_the_template_says_is_what_a_file_without_limits_gives() {
        let unit = include_str!("../../../../systemd/tenant@.service");
        for Limit { setting, template, .. } in LIMITS {
            let said = unit.lines().find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
            let expected = match template {
                Template::Nothing => None,
                Template::Number(number) => Some(number.to_string()),
                Template::Share(percent) => Some(format!("{percent}%")),
            };
            assert_eq!(said, expected.as_deref(), "{setting}");
        }
    }
}
