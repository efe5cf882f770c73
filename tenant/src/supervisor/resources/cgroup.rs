//! Limits and usage of a tenant, as the files of its cgroups tell them.
//!
//! Limits are those of the unit, usage is that of the payload, where version 2 of the controllers is there. Version 1 counts
//! the unit as a whole, with the supervisor in it. See `Documentation/admin-guide/cgroup-v2.rst` and
//! `Documentation/admin-guide/cgroup-v1/`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    cpus::{Cpus, Usage},
    memory::Memory,
};
use crate::files::facts::keyed;

/// The cgroups of a tenant.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Cgroups {
    /// The unit's, of version 2.
    pub(in crate::supervisor) unit: PathBuf,
    /// Below it, that of the tenant's processes.
    pub(in crate::supervisor) payload: PathBuf,
    /// The unit's of version 1, one for each hierarchy.
    pub(in crate::supervisor) v1: Vec<PathBuf>,
}

fn number(dir: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

impl Cgroups {
    /// The directory of version 1 that has a file.
    fn v1(&self, file: &str) -> Option<&Path> {
        self.v1.iter().find(|dir| dir.join(file).exists()).map(PathBuf::as_path)
    }

    pub(super) fn memory(&self) -> Memory {
        if let Ok(stat) = fs::read_to_string(self.payload.join("memory.stat")) {
            return self.memory_v2(&stat);
        }
        match self.v1("memory.usage_in_bytes") {
            Some(dir) => memory_v1(dir),
            None => Memory::default(),
        }
    }

    fn memory_v2(&self, stat: &str) -> Memory {
        let key = |key| keyed(stat, key).unwrap_or(0);
        Memory {
            limit: number(&self.unit, "memory.max"),
            used: number(&self.payload, "memory.current").unwrap_or(0),
            swap_limit: number(&self.unit, "memory.swap.max"),
            swap_used: number(&self.payload, "memory.swap.current").unwrap_or(0),
            anonymous: key("anon"),
            file: key("file"),
            shared: key("shmem"),
            mapped: key("file_mapped"),
            dirty: key("file_dirty"),
            writeback: key("file_writeback"),
            active_anonymous: key("active_anon"),
            inactive_anonymous: key("inactive_anon"),
            active_file: key("active_file"),
            inactive_file: key("inactive_file"),
            unevictable: key("unevictable"),
            slab_reclaimable: key("slab_reclaimable"),
            slab_unreclaimable: key("slab_unreclaimable"),
            kernel_stacks: key("kernel_stack"),
            page_tables: key("pagetables"),
            percpu: key("percpu"),
        }
    }

    /// How much of a CPU's time it may use in a time of 1; none is all of all.
    fn quota(&self) -> Option<f64> {
        let part = |quota: u64, period: u64| (period > 0).then(|| quota as f64 / period as f64);
        if let Ok(max) = fs::read_to_string(self.unit.join("cpu.max")) {
            let (quota, period) = max.trim().split_once(' ')?;
            return part(quota.parse().ok()?, period.parse().ok()?);
        }
        let dir = self.v1("cpu.cfs_quota_us")?;
        // -1 is no quota, and no number here.
        part(number(dir, "cpu.cfs_quota_us")?, number(dir, "cpu.cfs_period_us")?)
    }

    /// The CPUs that it sees.
    pub(super) fn cpus(&self) -> Cpus {
        let list = fs::read_to_string(self.unit.join("cpuset.cpus.effective")).ok().or_else(|| {
            let dir = self.v1("cpuset.effective_cpus")?;
            fs::read_to_string(dir.join("cpuset.effective_cpus")).ok()
        });
        let list = list.filter(|list| !list.trim().is_empty());
        let list = list.or_else(|| fs::read_to_string("/sys/devices/system/cpu/online").ok());
        Cpus::parse(&list.unwrap_or_default()).within(self.quota())
    }

    /// What it has used of CPUs since its boot, `elapsed` ago.
    pub(super) fn usage(&self, elapsed: Duration) -> Usage {
        // There is without the controller, too.
        let stat = fs::read_to_string(self.payload.join("cpu.stat")).unwrap_or_default();
        let time = |key| Duration::from_micros(keyed(&stat, key).unwrap_or(0));
        let (user, system) = (time("user_usec"), time("system_usec"));
        let tasks = number(&self.payload, "pids.current")
            .or_else(|| number(self.v1("pids.current")?, "pids.current"))
            .unwrap_or(1);
        Usage { user, system, elapsed, tasks }
    }

    /// Time that its tasks have waited in: for a CPU, and for what is read or written.
    pub(super) fn waited(&self) -> Duration {
        let total = |file: &str| -> Option<u64> {
            let text = fs::read_to_string(self.payload.join(file)).ok()?;
            let some = text.lines().find(|line| line.starts_with("some "))?;
            some.split_ascii_whitespace().find_map(|word| word.strip_prefix("total=")?.parse().ok())
        };
        Duration::from_micros(["cpu.pressure", "io.pressure"].into_iter().filter_map(total).sum())
    }
}

/// What version 1 tells of a unit. No limit is a number that is larger than any memory.
fn memory_v1(dir: &Path) -> Memory {
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let key = |key: &str| keyed(&stat, &format!("total_{key}")).unwrap_or(0);
    let limit = number(dir, "memory.limit_in_bytes");
    let used = number(dir, "memory.usage_in_bytes").unwrap_or(0);
    // Of memory and swap together; absent where swap is not counted.
    let both = number(dir, "memory.memsw.limit_in_bytes");
    let both_used = number(dir, "memory.memsw.usage_in_bytes");
    let (anonymous, cache) = (key("rss"), key("cache"));
    let kernel = number(dir, "memory.kmem.usage_in_bytes");
    Memory {
        limit,
        used,
        swap_limit: both.zip(limit).map(|(both, limit)| both.saturating_sub(limit)),
        swap_used: both_used.map_or(0, |both| both.saturating_sub(used)),
        anonymous,
        file: cache,
        shared: key("shmem"),
        mapped: key("mapped_file"),
        dirty: key("dirty"),
        writeback: key("writeback"),
        active_anonymous: key("active_anon"),
        inactive_anonymous: key("inactive_anon"),
        active_file: key("active_file"),
        inactive_file: key("inactive_file"),
        unevictable: key("unevictable"),
        // It does not tell its parts, nor which of it can be given back.
        slab_unreclaimable: kernel.unwrap_or_else(|| used.saturating_sub(anonymous + cache)),
        ..Memory::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    fn cgroups(root: &Path) -> Cgroups {
        Cgroups {
            unit: root.join("unit"),
            payload: root.join("unit/payload"),
            v1: vec![root.join("v1/memory"), root.join("v1/cpu")],
        }
    }

    #[test]
    fn version_2_tells_limits_of_the_unit_and_usage_of_the_payload() {
        let root = tempfile::tempdir().unwrap();
        let cgroups = cgroups(root.path());
        write(
            &cgroups.unit,
            &[
                ("memory.max", "536870912\n"),
                ("memory.swap.max", "max\n"),
                ("cpu.max", "150000 100000\n"),
                ("cpuset.cpus.effective", "0-3\n"),
            ],
        );
        write(
            &cgroups.payload,
            &[
                ("memory.current", "1000\n"),
                ("memory.stat", "anon 10\nfile 20\nshmem 5\nactive_file 7\nslab_reclaimable 3\n"),
                ("cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"),
                ("pids.current", "9\n"),
                ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=400\nfull total=1\n"),
                ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=30\n"),
            ],
        );
        let memory = cgroups.memory();
        assert_eq!((memory.limit, memory.used, memory.swap_limit), (Some(536_870_912), 1000, None));
        assert_eq!((memory.anonymous, memory.file, memory.active_file), (10, 20, 7));
        assert_eq!(cgroups.cpus(), Cpus::parse("0-1"));
        let usage = cgroups.usage(Duration::from_secs(1));
        assert_eq!((usage.user.as_micros(), usage.system.as_micros(), usage.tasks), (20, 10, 9));
        assert_eq!(cgroups.waited(), Duration::from_micros(430));
    }

    #[test]
    fn version_1_tells_the_same_of_the_unit() {
        let root = tempfile::tempdir().unwrap();
        let cgroups = cgroups(root.path());
        write(
            &root.path().join("v1/memory"),
            &[
                ("memory.limit_in_bytes", "1000000\n"),
                ("memory.usage_in_bytes", "500\n"),
                ("memory.memsw.limit_in_bytes", "1500000\n"),
                ("memory.memsw.usage_in_bytes", "700\n"),
                ("memory.stat", "rss 1\ntotal_rss 100\ntotal_cache 250\ntotal_shmem 5\n"),
            ],
        );
        write(
            &root.path().join("v1/cpu"),
            &[("cpu.cfs_quota_us", "100000\n"), ("cpu.cfs_period_us", "100000\n")],
        );
        let memory = cgroups.memory();
        assert_eq!((memory.limit, memory.used), (Some(1_000_000), 500));
        assert_eq!((memory.swap_limit, memory.swap_used), (Some(500_000), 200));
        assert_eq!((memory.anonymous, memory.file, memory.slab_unreclaimable), (100, 250, 150));
        assert_eq!(cgroups.cpus().count(), 1);
        fs::write(root.path().join("v1/cpu/cpu.cfs_quota_us"), "-1\n").unwrap();
        assert!(cgroups.cpus().count() >= 1);
        assert_eq!(cgroups.quota(), None);
    }

    #[test]
    fn without_controllers_it_is_the_host_that_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let cgroups = cgroups(root.path());
        assert_eq!(cgroups.memory(), Memory::default());
        assert!(cgroups.cpus().count() >= 1);
        assert_eq!(cgroups.waited(), Duration::ZERO);
    }
}
