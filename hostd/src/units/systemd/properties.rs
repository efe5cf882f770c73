//! Limits as properties of a unit, see systemd.resource-control(5); pure.
//!
//! Both sides may change a limit: an admin in the tenant's file, or with `systemctl set-property`. The last
//! writer wins, key by key: only what the file has changed since it was last carried is set on the unit.

use std::collections::BTreeMap;

use tenant::{config, model::limits::Limits};
use wire::EffectiveLimit;

use crate::units::limits::table::{Kind, LIMITS, Limit, Template};

/// What systemd takes and gives for "no limit" and "no weight".
const NONE: u64 = u64::MAX;

/// A share of the host's memory as systemd computes it: in whole pages.
fn share(memory: u64, percent: u64) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    memory / page * percent / 100 * page
}

/// A value of a property as a tenant's file writes it.
fn show(limit: &Limit, value: u64) -> String {
    let one = unit(limit.kind);
    match (limit.kind, value / one, value % one) {
        _ if value == NONE => "none".to_owned(),
        (Kind::CpuQuota, whole, rest) if rest > 0 => format!("{whole}.{:02}%", rest * 100 / one),
        (_, whole, _) => config::key(limit.key).map_or(whole.to_string(), |key| key.range.show(whole)),
    }
}

/// How many of a property's units one of a tenant's file is.
fn unit(kind: Kind) -> u64 {
    match kind {
        // Microseconds of CPU time in a second.
        Kind::CpuQuota => 10_000,
        // Microseconds.
        Kind::CpuPeriod => 1_000,
        _ => 1,
    }
}

/// The value of the property that a file's limits stand for.
fn said(limit: &Limit, limits: &Limits) -> Option<u64> {
    // What has no limit is what systemd takes for none.
    limits.get(limit.key).map(|value| value.saturating_mul(unit(limit.kind)))
}

/// What the property is set to for these limits, on a host with `memory` bytes.
fn value(limit: &Limit, limits: &Limits, memory: u64) -> u64 {
    said(limit, limits).unwrap_or(match limit.template {
        Template::Nothing => NONE,
        Template::Number(number) => number,
        Template::Share(percent) => share(memory, percent),
    })
}

/// The properties that are to be set: those whose key the file has changed since `carried`. What the unit has
/// for the others is left alone, regardless of the process that set it.
pub(super) fn changes(applied: &Limits, file: &Limits, memory: u64) -> Vec<(&'static str, u64)> {
    LIMITS
        .iter()
        .filter(|limit| said(limit, applied) != said(limit, file))
        .map(|limit| (limit.systemd.0, value(limit, file, memory)))
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
        let (property, setting) = limit.systemd;
        let (has, wanted) = (*unit.get(property)?, value(limit, file, memory));
        if has == wanted && has == NONE {
            return None;
        }
        let (by, says) = if has == wanted {
            (None, None)
        } else {
            let by = if set_by_hand(setting) { "systemctl set-property" } else { "its unit" };
            let is_set = file.get(limit.key).is_some();
            (Some(by.to_owned()), Some(if is_set { show(limit, wanted) } else { "nothing".to_owned() }))
        };
        Some(EffectiveLimit { key: limit.key.to_owned(), value: show(limit, has), by, file: says })
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
             memory_swap_max = '0'\ntasks_max = 100\nio_weight = 7\ncpu_quota_period_ms = 20",
        );
        let expected = [
            ("CPUWeight", 200),
            ("CPUQuotaPerSecUSec", 1_500_000),
            ("CPUQuotaPeriodUSec", 20_000),
            ("MemoryMax", 1 << 30),
            ("MemoryHigh", 512 << 20),
            ("MemorySwapMax", 0),
            ("TasksMax", 100),
            ("IOWeight", 7),
        ];
        assert_eq!(changes(&Limits::default(), &all, 1000 << 20), expected);
        let keys: Vec<_> = LIMITS.iter().map(|limit| limit.key).collect();
        assert_eq!(all.without(&keys), Limits::default());
    }

    #[test]
    fn only_what_the_file_says_anew_is_set() {
        let applied = limits("memory_max = '512M'\ntasks_max = 100");
        assert_eq!(changes(&applied, &applied, 1000 << 20), []);
        let edited = limits("memory_max = '512M'\ntasks_max = 200\ncpu_weight = 50");
        assert_eq!(changes(&applied, &edited, 1000 << 20), [("CPUWeight", 50), ("TasksMax", 200)]);
        let lifted = changes(&applied, &Limits::default(), 1000 << 20);
        assert_eq!(lifted, [("MemoryMax", 500 << 20), ("TasksMax", 16_384)], "those of the template");
        let unlimited = changes(&applied, &limits("memory_max = 'max'\ntasks_max = 100"), 1000 << 20);
        assert_eq!(unlimited, [("MemoryMax", NONE)], "not even that of the template");
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
}
