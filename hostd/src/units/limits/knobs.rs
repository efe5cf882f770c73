//! Limits to files: what each writes into which file of a unit's cgroups.

use std::path::PathBuf;

use tenant::model::limits::Limits;
use wire::UnitCgroups;

use super::{
    enforce::Unenforceable,
    schedulers::IoSchedulers,
    table::{Kind, LIMITS, Limit},
};

/// Length of the period that a CPU quota is given in where a tenant says none, microseconds.
const PERIOD_US: u64 = 100_000;
/// The kernel gives no less of a period than this, microseconds; see sched_cfs_bandwidth.
const LEAST_QUOTA_US: u64 = 1_000;
/// The kernel's longest period, microseconds.
const LONGEST_PERIOD_US: u64 = 1_000_000;
/// What the kernel gives every v1 cgroup; a weight of 100.
const DEFAULT_SHARES: u64 = 1024;

/// One value for one file of a controller, see cgroups(7) and the kernel's cgroup-v1 and cgroup-v2 documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob {
    /// The key it comes from.
    pub key: &'static str,
    /// The file it goes to.
    pub file: PathBuf,
    /// What is written.
    pub text: String,
    /// Whether it is the sum of memory and swap, which on v1 stays above the limit of memory at every moment.
    pub(super) is_sum: bool,
    /// What goes into the file of the period first, microseconds: on v1 it has one of its own.
    pub(super) period: Option<u64>,
}

/// Where a controller of a unit is.
struct Place {
    dir: PathBuf,
    v2: bool,
}

fn place(cgroups: &UnitCgroups, limit: &Limit) -> Option<Place> {
    if cgroups.v2_controllers.contains(limit.controller.v2()) {
        return Some(Place { dir: cgroups.v2.clone(), v2: true });
    }
    cgroups.v1.get(limit.controller.v1()).map(|dir| Place { dir: dir.clone(), v2: false })
}

/// The knobs that stand for these limits in these cgroups, and the limits that nothing stands for.
/// A limit that is not set gives the knob that lifts it.
pub fn knobs(
    limits: &Limits,
    cgroups: &UnitCgroups,
    schedulers: IoSchedulers,
) -> (Vec<Knob>, Vec<Unenforceable>) {
    let (mut knobs, mut missing) = (Vec::new(), Vec::new());
    for limit in LIMITS {
        match knob(limit, limits, cgroups, schedulers) {
            Ok(knob) => knobs.push(knob),
            Err(reason) if limits.most(limit.key).is_some() => {
                let by_default = limits.by_default.contains(&limit.key);
                missing.push(Unenforceable { key: limit.key, reason, by_default });
            }
            Err(_) => {}
        }
    }
    (knobs, missing)
}

/// The knob of one limit: the first of its files that exists, or why there is none.
fn knob(
    limit: &Limit,
    limits: &Limits,
    cgroups: &UnitCgroups,
    schedulers: IoSchedulers,
) -> Result<Knob, String> {
    let key = limit.key;
    let Some(Place { dir, v2 }) = place(cgroups, limit) else {
        return Err(format!("there is no {} controller", limit.controller.v2()));
    };
    let (name, version) = if v2 { (limit.controller.v2(), "v2") } else { (limit.controller.v1(), "v1") };
    if limit.kind == Kind::Swap && !v2 && limits.most(key).is_some() && limits.most("memory_max").is_none() {
        return Err("with the memory controller of cgroup v1 it also needs memory_max".to_owned());
    }
    let files = match (limit.kind, schedulers) {
        (Kind::IoWeight, IoSchedulers { bfq: true, .. }) if v2 => &limit.v2[..1],
        (Kind::IoWeight, IoSchedulers { cost: true, .. }) if v2 => &limit.v2[1..],
        (Kind::IoWeight, IoSchedulers { bfq: false, .. }) => {
            return Err(format!("the {name} controller (cgroup {version}) {}", IoSchedulers::NEEDED));
        }
        _ if v2 => limit.v2,
        _ => limit.v1,
    };
    match files.iter().map(|file| dir.join(file)).find(|file| file.exists()) {
        Some(file) => Ok(Knob {
            key,
            file,
            text: text(limit, limits, v2, schedulers),
            is_sum: limit.kind == Kind::Swap && !v2,
            period: (limit.kind == Kind::CpuQuota && !v2).then(|| period(limits)),
        }),
        None => {
            let needs = files.first().or(limit.v2.first()).copied().unwrap_or_default();
            Err(format!("the {name} controller (cgroup {version}) has no {needs}"))
        }
    }
}

/// The period of these limits, microseconds; as with systemd no shorter than the kernel can give the quota in.
fn period(limits: &Limits) -> u64 {
    let wanted = limits.most("cpu_quota_period_ms").map_or(PERIOD_US, |period| period * 1_000);
    let quota = limits.most("cpu_quota").unwrap_or(100).max(1);
    wanted.max((LEAST_QUOTA_US * 100).div_ceil(quota)).min(LONGEST_PERIOD_US)
}

/// What the file of a limit takes.
fn text(limit: &Limit, limits: &Limits, v2: bool, schedulers: IoSchedulers) -> String {
    let value = limits.most(limit.key);
    let unlimited = if v2 { "max" } else { "-1" };
    let number = |limit: Option<u64>, none: &str| limit.map_or(none.to_owned(), |limit| limit.to_string());
    match limit.kind {
        Kind::Bytes => number(value, unlimited),
        Kind::Swap if v2 => number(value, unlimited),
        Kind::Swap => {
            let memory = limits.most("memory_max");
            number(value.and_then(|swap| Some(memory?.saturating_add(swap))), unlimited)
        }
        Kind::Count => number(value, "max"),
        Kind::CpuWeight if v2 => value.unwrap_or(100).to_string(),
        Kind::CpuWeight => (value.unwrap_or(100) * DEFAULT_SHARES / 100).max(2).to_string(),
        Kind::CpuPeriod if !v2 => period(limits).to_string(),
        Kind::CpuQuota | Kind::CpuPeriod => {
            let period = period(limits);
            let quota = number(limits.most("cpu_quota").map(|percent| percent * period / 100), unlimited);
            if v2 { format!("{quota} {period}") } else { quota }
        }
        Kind::IoWeight => {
            // The files of bfq end at 1000.
            let most = if v2 && !schedulers.bfq { 10_000 } else { 1000 };
            value.unwrap_or(100).min(most).to_string()
        }
    }
}
