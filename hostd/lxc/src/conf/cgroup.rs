//! Files of cgroups: limits and devices.

use tenant::{
    config::Fragment,
    model::{
        device::{DeviceClass, DeviceRule},
        limits::{ByteSize, Count, Weight},
    },
};

use super::{
    draft::{Draft, Pair},
    report::Verdict,
};

/// What the kernel writes for "no limit" in cgroup v1: everything from there on is none.
const V1_UNLIMITED: u64 = 1 << 60;

/// A size as the kernel reads it: a number with k, m, g or t.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        b't' | b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A limit in bytes; the inner none is "no limit".
fn limit(text: &str) -> Option<Option<u64>> {
    match text {
        "max" | "-1" => Some(None),
        _ => bytes(text).map(|bytes| Some(bytes).filter(|bytes| *bytes < V1_UNLIMITED)),
    }
}

const NO_LIMIT: &str = "it means unlimited, as without the key";

pub(super) fn memory_max(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Some(limit) = limit(pair.value) else { return Verdict::warning("it is not a size") };
    let Some(bytes) = limit else { return Verdict::note(NO_LIMIT) };
    draft.memory_limit = Some(bytes);
    draft.fragment.memory_max = Some(ByteSize(bytes));
    Verdict::done("memory_max", format!("memory_max = \"{}\"", ByteSize(bytes)))
}

pub(super) fn memory_high(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Some(limit) = limit(pair.value) else { return Verdict::warning("it is not a size") };
    let Some(bytes) = limit else { return Verdict::note(NO_LIMIT) };
    draft.fragment.memory_high = Some(ByteSize(bytes));
    Verdict::done("memory_high", format!("memory_high = \"{}\"", ByteSize(bytes)))
}

/// `memory.memsw.limit_in_bytes` counts memory and swap, `memory.swap.max` swap alone.
pub(super) fn swap(draft: &mut Draft<'_>, pairs: &[Pair<'_>]) -> Vec<(usize, Verdict)> {
    let mut found = Vec::new();
    for pair in pairs {
        let verdict = match limit(pair.value) {
            None => Verdict::warning("it is not a size"),
            Some(None) => Verdict::note(NO_LIMIT),
            Some(Some(bytes)) => {
                let both = pair.name.starts_with("lxc.cgroup.");
                match (both, draft.memory_limit) {
                    (true, None) => {
                        Verdict::warning("without a memory limit it does not limit swap; set memory_max")
                    }
                    (_, memory) => {
                        let swap = ByteSize(bytes.saturating_sub(memory.filter(|_| both).unwrap_or(0)));
                        draft.fragment.memory_swap_max = Some(swap);
                        Verdict::done("memory_swap_max", format!("memory_swap_max = \"{swap}\""))
                    }
                }
            }
        };
        found.push((pair.at, verdict));
    }
    found
}

fn weight(value: u64) -> Weight {
    let value = value.clamp(1, 10_000).to_string();
    value.parse().expect("the weight was adjusted")
}

/// As systemd does: 1024 shares are a weight of 100.
pub(super) fn cpu_shares(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Ok(shares) = pair.value.parse::<u64>() else { return Verdict::warning("it is not a number") };
    let weight = weight(shares.saturating_mul(100) / 1024);
    draft.fragment.cpu_weight = Some(weight);
    Verdict::done("cpu_weight", format!("cpu_weight = {weight}"))
}

pub(super) fn cpu_weight(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Ok(value) = pair.value.parse::<Weight>() else { return Verdict::warning("it is not 1 to 10000") };
    draft.fragment.cpu_weight = Some(value);
    Verdict::done("cpu_weight", format!("cpu_weight = {value}"))
}

/// As systemd does: a weight of 500 is one of 100.
pub(super) fn blkio_weight(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Ok(value) = pair.value.parse::<u64>() else { return Verdict::warning("it is not a number") };
    let weight = weight(value.saturating_mul(100) / 500);
    draft.fragment.io_weight = Some(weight);
    Verdict::done("io_weight", format!("io_weight = {weight}"))
}

pub(super) fn io_weight(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let number = pair.value.strip_prefix("default").unwrap_or(pair.value).trim();
    let Ok(value) = number.parse::<Weight>() else {
        return Verdict::warning("only one weight for all disks is possible, 1 to 10000");
    };
    draft.fragment.io_weight = Some(value);
    Verdict::done("io_weight", format!("io_weight = {value}"))
}

pub(super) fn tasks_max(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    if pair.value == "max" {
        return Verdict::note(NO_LIMIT);
    }
    let Ok(value) = pair.value.parse::<u32>() else { return Verdict::warning("it is not a number") };
    draft.fragment.tasks_max = Some(Count(value.into()));
    Verdict::done("tasks_max", format!("tasks_max = {value}"))
}

pub(super) fn cgroups_max(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Ok(value) = pair.value.parse::<u32>() else { return Verdict::note("the profile's limit applies") };
    draft.fragment.cgroups_max = Some(value);
    Verdict::done("cgroups_max", format!("cgroups_max = {value}"))
}

/// Quota and period, in two keys or in one.
pub(super) fn quota(draft: &mut Draft<'_>, pairs: &[Pair<'_>]) -> Vec<(usize, Verdict)> {
    let mut quota = None;
    let mut period = 100_000_u64;
    let mut found = Vec::new();
    for pair in pairs {
        let word = |number: usize| pair.value.split_ascii_whitespace().nth(number);
        let good = match pair.name {
            "lxc.cgroup.cpu.cfs_period_us" => pair.value.parse().map(|value| period = value).is_ok(),
            "lxc.cgroup.cpu.cfs_quota_us" if pair.value == "-1" => true,
            "lxc.cgroup.cpu.cfs_quota_us" => {
                pair.value.parse::<u64>().map(|value| quota = Some(value)).is_ok()
            }
            _ => {
                let given = word(1).map_or(Ok(100_000), str::parse).map(|value| period = value).is_ok();
                let max = word(0) == Some("max");
                given && (max || word(0).unwrap_or_default().parse().map(|value| quota = Some(value)).is_ok())
            }
        };
        if !good {
            found.push((pair.at, Verdict::warning("it is not a number of microseconds")));
        }
    }
    let verdict = match quota {
        None => Verdict::note(NO_LIMIT),
        Some(_) if period == 0 => Verdict::warning("a period of 0 is invalid"),
        Some(quota) => {
            let percent = quota.saturating_mul(100).div_ceil(period).clamp(1, 100_000);
            draft.fragment.cpu_quota = format!("{percent}%").parse().ok();
            Verdict::done("cpu_quota", format!("cpu_quota = \"{percent}%\""))
        }
    };
    let faulty: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
    let rest = pairs.iter().filter(|pair| !faulty.contains(&pair.at));
    found.extend(rest.map(|pair| (pair.at, verdict.clone())));
    found
}

/// The list that all rules make together, in the order in which the kernel would take them.
pub(super) fn devices(draft: &mut Draft<'_>, pairs: &[Pair<'_>]) -> Vec<(usize, Verdict)> {
    let mut found: Vec<(usize, Verdict)> = Vec::new();
    let mut list: Vec<DeviceRule> = Vec::new();
    let mut given: Vec<Feature> = Vec::new();
    // What cgroups begin with: everything is allowed, and only what is denied is not.
    let mut closed = false;
    let closes = pairs.iter().any(|pair| pair.name.ends_with(".deny") && is_all(pair.value));
    for pair in pairs {
        let allow = pair.name.ends_with(".allow");
        let Ok(rule) = pair.value.parse::<DeviceRule>() else {
            let text = pair.value.parse::<DeviceRule>().err().map(|error| error.to_string());
            found.push((pair.at, Verdict::warning(text.unwrap_or_default())));
            continue;
        };
        let all = rule.class == DeviceClass::All;
        let feature = Feature::of(&rule);
        if all || !allow {
            given.retain(|known| !all && Some(*known) != feature);
        }
        let verdict = match (allow, all) {
            (false, true) => {
                closed = true;
                list.clear();
                Verdict::done("devices", "devices = only what is listed")
            }
            (true, true) => {
                closed = false;
                list.clear();
                Verdict::warning("access to all devices is not possible: list the required ones in `devices`")
            }
            (true, false) if closed || !closes => match feature {
                // LXC's own common.conf allows fuse to every container.
                Some(feature) if pair.is_shared => feature.allowed_to_all(),
                Some(feature) => {
                    given.push(feature);
                    feature.given()
                }
                None => allowed(&mut list, rule),
            },
            (true, false) => {
                Verdict::note("everything is allowed at this point, and a later line starts over")
            }
            (false, false) if closed => {
                subtract(&mut list, rule);
                Verdict::done("devices", format!("devices: without \"{rule}\""))
            }
            (false, false) => Verdict::note("a tenant may use only what `devices` or its profile lists"),
        };
        found.push((pair.at, verdict));
    }
    given.into_iter().for_each(|feature| feature.give(&mut draft.fragment));
    if closed {
        draft.fragment.devices = Some(list);
    } else if !list.is_empty() {
        // Allowed besides what everybody may: the default list and these.
        let mut whole: Vec<DeviceRule> = STANDARD.iter().filter_map(|rule| rule.parse().ok()).collect();
        for rule in list {
            merge(&mut whole, rule);
        }
        draft.fragment.devices = Some(whole);
    }
    found
}

/// Adds a rule of the list, and says whether a tenant has a node for it.
fn allowed(list: &mut Vec<DeviceRule>, rule: DeviceRule) -> Verdict {
    merge(list, rule);
    match has_node(&rule) || !rule.read && !rule.write {
        true => Verdict::done("devices", format!("devices: \"{rule}\"")),
        false => Verdict::warning(format!(
            "devices: \"{rule}\", but {} is not in a tenant's /dev, and a tenant cannot create device nodes",
            node(&rule)
        )),
    }
}

/// A device that a tenant is given by a key of its own, with its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    Tun,
    Fuse,
}

impl Feature {
    /// The one whose node has this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/dev/net/tun" => Some(Self::Tun),
            "/dev/fuse" => Some(Self::Fuse),
            _ => None,
        }
    }

    /// The one that a rule is about, if it is more than a node to be made.
    fn of(rule: &DeviceRule) -> Option<Self> {
        match (rule.class, rule.major, rule.minor) {
            (DeviceClass::Char, Some(10), Some(200)) if rule.read || rule.write => Some(Self::Tun),
            (DeviceClass::Char, Some(10), Some(229)) if rule.read || rule.write => Some(Self::Fuse),
            _ => None,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Fuse => "fuse",
        }
    }

    /// Sets its key.
    pub(super) fn give(self, fragment: &mut Fragment) {
        match self {
            Self::Tun => fragment.tun = Some(true),
            Self::Fuse => fragment.fuse = Some(true),
        }
    }

    /// What is said of a line that allows it to whatever includes its file.
    fn allowed_to_all(self) -> Verdict {
        let key = self.key();
        Verdict::note(format!(
            "the included file allows it for every container; set `{key} = true` if this tenant needs it"
        ))
    }

    /// What is said of a line that asks for it.
    pub(super) fn given(self) -> Verdict {
        Verdict::done(self.key(), format!("{} = true", self.key()))
    }
}

/// What a tenant may use that lists nothing: null, zero, full, random, urandom, tty, console, ptmx, pts.
const STANDARD: [&str; 9] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rw",
];

/// Whether a tenant's /dev has a node that a rule is about.
fn has_node(rule: &DeviceRule) -> bool {
    let standard = STANDARD.iter().filter_map(|text| text.parse::<DeviceRule>().ok());
    let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    // Of virtual consoles it has its own, which are ptys.
    rule.class == DeviceClass::Char && rule.major == Some(4) || { standard }.any(|other| {
        other.class == rule.class && meets(other.major, rule.major) && meets(other.minor, rule.minor)
    })
}

/// What a device is called.
fn node(rule: &DeviceRule) -> &'static str {
    match (rule.class, rule.major, rule.minor) {
        (DeviceClass::Char, Some(10), Some(228)) => "/dev/hpet",
        (DeviceClass::Char, Some(10), Some(232)) => "/dev/kvm",
        (DeviceClass::Char, Some(226), _) => "/dev/dri",
        (DeviceClass::Block, Some(7), _) => "/dev/loop",
        (DeviceClass::Block, ..) => "a disk",
        _ => "such a device",
    }
}

fn is_all(value: &str) -> bool {
    value.parse::<DeviceRule>().is_ok_and(|rule| rule.class == DeviceClass::All)
}

fn same(a: &DeviceRule, b: &DeviceRule) -> bool {
    (a.class, a.major, a.minor) == (b.class, b.major, b.minor)
}

fn merge(list: &mut Vec<DeviceRule>, rule: DeviceRule) {
    match list.iter_mut().find(|other| same(other, &rule)) {
        Some(other) => {
            other.read |= rule.read;
            other.write |= rule.write;
            other.mknod |= rule.mknod;
        }
        None => list.push(rule),
    }
}

fn subtract(list: &mut Vec<DeviceRule>, rule: DeviceRule) {
    for other in list.iter_mut().filter(|other| same(other, &rule)) {
        other.read &= !rule.read;
        other.write &= !rule.write;
        other.mknod &= !rule.mknod;
    }
    list.retain(|other| other.read || other.write || other.mknod);
}
