//! `/proc/meminfo` and `/proc/swaps` of a tenant.
//!
//! See proc_meminfo(5), proc_swaps(5), and "Memory Interface Files" in `Documentation/admin-guide/cgroup-v2.rst`.

use std::fmt::Write as _;

use crate::files::facts::meminfo;

/// What a tenant may have of memory and has, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Most it may have; none is all that the host has.
    pub(super) limit: Option<u64>,
    /// Has, as the kernel counts it against the limit.
    pub(super) used: u64,
    /// Most it may have in swap.
    pub(super) swap_limit: Option<u64>,
    /// Has in swap.
    pub(super) swap_used: u64,
    pub(super) anonymous: u64,
    /// Page cache, with shared memory.
    pub(super) file: u64,
    pub(super) shared: u64,
    pub(super) mapped: u64,
    pub(super) dirty: u64,
    pub(super) writeback: u64,
    pub(super) active_anonymous: u64,
    pub(super) inactive_anonymous: u64,
    pub(super) active_file: u64,
    pub(super) inactive_file: u64,
    pub(super) unevictable: u64,
    pub(super) slab_reclaimable: u64,
    pub(super) slab_unreclaimable: u64,
    pub(super) kernel_stacks: u64,
    pub(super) page_tables: u64,
    pub(super) percpu: u64,
}

/// What the host has besides, of its own `meminfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Swap {
    total: u64,
    free: u64,
}

impl Memory {
    /// Of the kernel's own file: the same lines with the tenant's values. Lines of which a cgroup has no figure are left
    /// out, but for those that tell of the machine's huge pages.
    pub(super) fn meminfo(&self, host: &str) -> String {
        let of_host = |name| meminfo(host, name).unwrap_or(0);
        let total = self.limit.unwrap_or(u64::MAX).min(of_host("MemTotal"));
        let left = total.saturating_sub(self.used);
        let can_be_dropped = self.active_file + self.inactive_file + self.slab_reclaimable;
        // What the limit allows the host may have given to others.
        let available = (left + can_be_dropped).min(total).min(of_host("MemAvailable"));
        let swap = self.swap(host);
        let cached = self.file;
        let mut text = String::new();
        for line in host.lines() {
            let Some((name, rest)) = line.split_once(':') else { continue };
            let value = match name {
                "MemTotal" => total,
                "MemFree" => left.min(available),
                "MemAvailable" => available,
                "Buffers" | "SwapCached" | "NFS_Unstable" | "Bounce" | "WritebackTmp"
                | "HardwareCorrupted" => 0,
                "Cached" => cached,
                "Active" => self.active_anonymous + self.active_file,
                "Inactive" => self.inactive_anonymous + self.inactive_file,
                "Active(anon)" => self.active_anonymous,
                "Inactive(anon)" => self.inactive_anonymous,
                "Active(file)" => self.active_file,
                "Inactive(file)" => self.inactive_file,
                "Unevictable" | "Mlocked" => self.unevictable,
                "SwapTotal" => swap.total,
                "SwapFree" => swap.free,
                "Dirty" => self.dirty,
                "Writeback" => self.writeback,
                "AnonPages" => self.anonymous,
                "Mapped" => self.mapped,
                "Shmem" => self.shared,
                "KReclaimable" | "SReclaimable" => self.slab_reclaimable,
                "Slab" => self.slab_reclaimable + self.slab_unreclaimable,
                "SUnreclaim" => self.slab_unreclaimable,
                "KernelStack" => self.kernel_stacks,
                "PageTables" => self.page_tables,
                "Percpu" => self.percpu,
                "CommitLimit" => (total + swap.total).min(of_host(name)),
                "Committed_AS" => (self.anonymous + self.shared).min(of_host(name)),
                "VmallocTotal" | "Hugepagesize" => of_host(name),
                _ if name.starts_with("HugePages_") => {
                    // Not in kibibytes.
                    let _ = writeln!(text, "{name}:{rest}");
                    continue;
                }
                _ => continue,
            };
            let _ = writeln!(text, "{:<15} {:>8} kB", format!("{name}:"), value >> 10);
        }
        text
    }

    /// What the tenant may have of the host's swap.
    fn swap(&self, host: &str) -> Swap {
        let of_host = |name| meminfo(host, name).unwrap_or(0);
        let total = self.swap_limit.unwrap_or(u64::MAX).min(of_host("SwapTotal"));
        Swap { total, free: total.saturating_sub(self.swap_used).min(of_host("SwapFree")) }
    }

    /// One line for all that the tenant may have of the host's swap.
    pub(super) fn swaps(&self, host: &str) -> String {
        let mut text = String::from("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        let Swap { total, free } = self.swap(host);
        if total > 0 {
            let _ =
                writeln!(text, "{:<40}virtual\t\t{}\t\t{}\t\t0", "none", total >> 10, (total - free) >> 10);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "MemTotal:       24689724 kB\nMemFree:        20000000 kB\nMemAvailable:   21000000 kB\n\
        Buffers:            1000 kB\nCached:           500000 kB\nSwapTotal:       1048576 kB\n\
        SwapFree:        1048000 kB\nCommitLimit:    12344860 kB\nCommitted_AS:      50000 kB\n\
        VmallocTotal:   34359738367 kB\nHugePages_Total:       3\nHugepagesize:       2048 kB\n\
        DirectMap4k:      100000 kB\n";

    fn value(text: &str, name: &str) -> u64 {
        meminfo(text, name).unwrap() >> 20
    }

    #[test]
    fn a_limit_is_the_size_of_the_machine() {
        let memory = Memory {
            limit: Some(512 << 20),
            used: 200 << 20,
            file: 100 << 20,
            inactive_file: 60 << 20,
            active_file: 20 << 20,
            slab_reclaimable: 10 << 20,
            ..Memory::default()
        };
        let text = memory.meminfo(HOST);
        assert_eq!(value(&text, "MemTotal"), 512);
        assert_eq!(value(&text, "MemFree"), 312);
        assert_eq!(value(&text, "MemAvailable"), 402);
        assert_eq!(value(&text, "Cached"), 100);
        assert_eq!(value(&text, "Buffers"), 0);
        assert_eq!(value(&text, "CommitLimit"), 512 + 1024);
        assert!(text.contains("HugePages_Total:       3\n"), "{text}");
        assert!(!text.contains("DirectMap"), "{text}");
        // As the kernel aligns it: programs parse by columns.
        assert!(text.starts_with("MemTotal:         524288 kB\n"), "{text}");
    }

    #[test]
    fn no_more_is_available_than_the_host_has() {
        let memory = Memory { limit: Some(1 << 40), ..Memory::default() };
        let text = memory.meminfo(HOST);
        assert_eq!(meminfo(&text, "MemTotal"), Some(24_689_724 << 10));
        assert_eq!(meminfo(&text, "MemAvailable"), Some(21_000_000 << 10));
        let unlimited = Memory::default().meminfo(HOST);
        assert_eq!(unlimited, text);
        // More in use than allowed: a limit that was set below it.
        let over = Memory { limit: Some(1 << 20), used: 2 << 20, ..Memory::default() }.meminfo(HOST);
        assert_eq!(meminfo(&over, "MemFree"), Some(0));
    }

    #[test]
    fn swap_is_what_the_tenant_may_have_of_the_hosts() {
        let none = Memory { swap_limit: Some(0), ..Memory::default() };
        assert_eq!(none.swaps(HOST).lines().count(), 1);
        assert_eq!(value(&none.meminfo(HOST), "SwapTotal"), 0);
        let some = Memory { swap_limit: Some(64 << 20), swap_used: 16 << 20, ..Memory::default() };
        assert_eq!(value(&some.meminfo(HOST), "SwapTotal"), 64);
        assert_eq!(value(&some.meminfo(HOST), "SwapFree"), 48);
        let line = some.swaps(HOST).lines().nth(1).unwrap().to_owned();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(words, ["none", "virtual", "65536", "16384", "0"]);
    }
}
