//! The table of limits: which file of which controller each is on both versions of cgroups, and which property of a
//! unit of systemd.
//!
//! What a tenant's file may say of them is in the table of keys, [`tenant::config::KEYS`].

/// A controller of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// Block I/O.
    Io,
    /// Memory and swap.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// Its name in cgroup v1.
    pub fn v1(self) -> &'static str {
        match self {
            Self::Io => "blkio",
            other => other.v2(),
        }
    }

    /// Its name in cgroup v2.
    pub fn v2(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// What a limit is a number of, and so how its files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Bytes,
    /// Bytes of swap; v1 limits memory and swap together, so there it needs a limit of memory.
    Swap,
    /// A count.
    Count,
    /// A weight of CPU time: shares on v1.
    CpuWeight,
    /// Percent of one CPU.
    CpuQuota,
    /// Milliseconds of the period in which a quota of CPU time is given.
    CpuPeriod,
    /// A weight of block I/O, which counts where a scheduler reads it.
    IoWeight,
}

/// What `tenant@.service` says of a limit, which counts where a tenant's file says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Nothing.
    Nothing,
    /// A number.
    Number(u64),
    /// Percent of the host's memory.
    Share(u64),
}

/// A limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its key in a tenant's file.
    pub key: &'static str,
    /// What it is a number of.
    pub kind: Kind,
    /// The controller.
    pub controller: Controller,
    /// Its file in cgroup v1: the first of these that exists.
    pub v1: &'static [&'static str],
    /// Its file in cgroup v2: the first of these that exists.
    pub v2: &'static [&'static str],
    /// The property of a unit as D-Bus names it, and the setting in a unit file.
    pub systemd: (&'static str, &'static str),
    /// Its value in the template of the units.
    pub template: Template,
}

use Controller::{Cpu, Io, Memory, Pids};
use Kind::{Bytes, Count, CpuPeriod, CpuQuota, CpuWeight, IoWeight, Swap};
use Template::{Nothing, Number, Share};

const fn limit(
    key: &'static str,
    kind: Kind,
    controller: Controller,
    v1: &'static [&'static str],
    v2: &'static [&'static str],
    systemd: (&'static str, &'static str),
    template: Template,
) -> Limit {
    Limit { key, kind, controller, v1, v2, systemd, template }
}

/// All limits, in the order in which they are shown.
///
/// The files of `io_weight` exist on hosts where nothing reads them: those of bfq need a disk under that scheduler,
/// `io.weight` needs one with a cost model (`io.cost.qos`).
#[rustfmt::skip]
pub const LIMITS: &[Limit] = &[
    limit("cpu_weight", CpuWeight, Cpu, &["cpu.shares"], &["cpu.weight"], ("CPUWeight", "CPUWeight"), Nothing),
    limit("cpu_quota", CpuQuota, Cpu, &["cpu.cfs_quota_us"], &["cpu.max"], ("CPUQuotaPerSecUSec", "CPUQuota"), Nothing),
    limit("cpu_quota_period_ms", CpuPeriod, Cpu, &["cpu.cfs_period_us"], &["cpu.max"], ("CPUQuotaPeriodUSec", "CPUQuotaPeriodSec"), Nothing),
    limit("memory_max", Bytes, Memory, &["memory.limit_in_bytes"], &["memory.max"], ("MemoryMax", "MemoryMax"), Share(50)),
    limit("memory_high", Bytes, Memory, &[], &["memory.high"], ("MemoryHigh", "MemoryHigh"), Nothing),
    limit("memory_swap_max", Swap, Memory, &["memory.memsw.limit_in_bytes"], &["memory.swap.max"], ("MemorySwapMax", "MemorySwapMax"), Nothing),
    limit("tasks_max", Count, Pids, &["pids.max"], &["pids.max"], ("TasksMax", "TasksMax"), Number(16_384)),
    limit("io_weight", IoWeight, Io, &["blkio.bfq.weight", "blkio.weight"], &["io.bfq.weight", "io.weight"], ("IOWeight", "IOWeight"), Nothing),
];

impl Limit {
    /// The limit of a key.
    pub fn of(key: &str) -> Option<&'static Self> {
        LIMITS.iter().find(|limit| limit.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_a_tenants_file_is_enforced_and_no_other() {
        let keys = tenant::config::KEYS.iter().filter(|key| key.is_limit()).map(|key| key.name);
        let (mut keys, mut rows): (Vec<_>, Vec<_>) =
            (keys.collect(), LIMITS.iter().map(|row| row.key).collect());
        keys.sort_unstable();
        rows.sort_unstable();
        assert_eq!(keys, rows);
    }

    #[test]
    fn what_the_template_says_is_what_a_file_without_limits_gives() {
        let unit = include_str!("../../../../systemd/tenant@.service");
        for Limit { systemd: (_, setting), template, .. } in LIMITS {
            let said = unit.lines().find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
            let expected = match template {
                Nothing => None,
                Number(number) => Some(number.to_string()),
                Share(percent) => Some(format!("{percent}%")),
            };
            assert_eq!(said, expected.as_deref(), "{setting}");
        }
    }
}
