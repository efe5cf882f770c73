//! Use against limit, read from the files of a unit's cgroups.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tenant::files::facts::keyed;
use wire::{MemoryUse, UnitCgroups, Usage};

/// Bytes of a page.
fn page() -> u64 {
    rustix::param::page_size() as u64
}

fn number(dir: Option<&Path>, file: &str) -> Option<u64> {
    fs::read_to_string(dir?.join(file)).ok()?.trim().parse().ok()
}

/// The sum of `8:0 Read 123` lines, as v1 writes them.
fn io_v1(text: &str, word: &str) -> u64 {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            (fields.next() == Some(word)).then(|| fields.next()?.parse::<u64>().ok()).flatten()
        })
        .sum()
}

/// The sum of `8:0 rbytes=1 wbytes=2 …` fields, as v2 writes them.
fn io_v2(text: &str, key: &str) -> u64 {
    text.split_ascii_whitespace().filter_map(|field| field.strip_prefix(key)?.parse::<u64>().ok()).sum()
}

/// The file that says how much memory a unit uses.
pub fn memory_file(cgroups: &UnitCgroups) -> Option<PathBuf> {
    if cgroups.v2_controllers.contains("memory") {
        return Some(cgroups.v2.join("memory.current"));
    }
    Some(cgroups.v1.get("memory")?.join("memory.usage_in_bytes"))
}

/// What a unit's memory is made of. `init` is its tenant's, `total` what it is charged for in all.
fn memory(cgroups: &UnitCgroups, init: Option<i32>, total: u64) -> Option<MemoryUse> {
    let text = fs::read_to_string(memory_file(cgroups)?.with_file_name("memory.stat")).ok()?;
    let is_v2 = cgroups.v2_controllers.contains("memory");
    let parts = if is_v2 { Parts::v2(&text) } else { Parts::v1(&text, total) }?;
    // What init has mapped and the unit is not charged for can only be pages that others had read before.
    let shared = init.and_then(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mapped = text.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()?;
        (mapped > 0).then(|| (mapped * page()).saturating_sub(parts.mapped))
    });
    Some(MemoryUse {
        private_bytes: parts.anonymous + parts.shmem + parts.kernel,
        anonymous_bytes: parts.anonymous,
        shmem_bytes: parts.shmem,
        kernel_bytes: parts.kernel,
        cache_bytes: parts.cache,
        shared_bytes: shared,
    })
}

/// What `memory.stat` says, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    anonymous: u64,
    shmem: u64,
    kernel: u64,
    cache: u64,
    /// Of files and shared memory that it is charged for, what is mapped.
    mapped: u64,
}

impl Parts {
    /// See the kernel's Documentation/admin-guide/cgroup-v2.rst; `kernel` is there since Linux 5.18.
    fn v2(text: &str) -> Option<Self> {
        let shmem = keyed(text, "shmem")?;
        let sum = || {
            ["kernel_stack", "pagetables", "percpu", "slab"].iter().filter_map(|key| keyed(text, key)).sum()
        };
        Some(Self {
            anonymous: keyed(text, "anon")?,
            shmem,
            kernel: keyed(text, "kernel").unwrap_or_else(sum) + keyed(text, "sock").unwrap_or(0),
            cache: keyed(text, "file")?.saturating_sub(shmem),
            mapped: keyed(text, "file_mapped")?,
        })
    }

    /// See the kernel's Documentation/admin-guide/cgroup-v1/memory.rst. What is charged and neither is the kernel's.
    fn v1(text: &str, total: u64) -> Option<Self> {
        let [anonymous, cache, shmem] =
            ["total_rss", "total_cache", "total_shmem"].map(|key| keyed(text, key));
        let (anonymous, cache, shmem) = (anonymous?, cache?, shmem?);
        Some(Self {
            anonymous,
            shmem,
            kernel: total.saturating_sub(anonymous + cache),
            cache: cache.saturating_sub(shmem),
            mapped: keyed(text, "total_mapped_file")?,
        })
    }
}

/// Everything a unit uses, of which `init` is its tenant's; what the host does not account is absent.
pub fn usage(cgroups: &UnitCgroups, init: Option<i32>) -> Usage {
    let v1 = |controller: &str| cgroups.v1.get(controller).map(AsRef::<Path>::as_ref);
    let has_v2 = |controller: &str| cgroups.v2_controllers.contains(controller);
    // cpu.stat is there on v2 even without the controller.
    let cpu_v2 = || keyed(&fs::read_to_string(cgroups.v2.join("cpu.stat")).ok()?, "usage_usec");
    let tasks_dir = if has_v2("pids") { Some(cgroups.v2.as_path()) } else { v1("pids") };
    let io = if has_v2("io") {
        let text = fs::read_to_string(cgroups.v2.join("io.stat")).ok();
        text.map(|text| (io_v2(&text, "rbytes="), io_v2(&text, "wbytes=")))
    } else {
        let file = v1("blkio").map(|dir| dir.join("blkio.throttle.io_service_bytes_recursive"));
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        text.map(|text| (io_v1(&text, "Read"), io_v1(&text, "Write")))
    };
    let total = memory_file(cgroups).and_then(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    Usage {
        memory_bytes: total,
        memory: total.and_then(|total| memory(cgroups, init, total)),
        cpu_us: cpu_v2().or_else(|| number(v1("cpuacct"), "cpuacct.usage").map(|ns| ns / 1000)),
        tasks: number(tasks_dir, "pids.current"),
        io_read_bytes: io.map(|(read, _)| read),
        io_write_bytes: io.map(|(_, write)| write),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_the_same_parts_in_both_versions() {
        let v2 = "anon 100\nfile 70\nkernel 30\nkernel_stack 5\nsock 2\nshmem 20\nfile_mapped 40\n";
        let parts = Parts { anonymous: 100, shmem: 20, kernel: 32, cache: 50, mapped: 40 };
        assert_eq!(Parts::v2(v2), Some(parts));
        // Of a kernel that does not sum it.
        let older = "anon 100\nfile 70\nkernel_stack 5\npagetables 6\npercpu 7\nslab 8\nsock 2\nshmem 20\nfile_mapped 40\n";
        assert_eq!(Parts::v2(older).unwrap().kernel, 28);
        let v1 =
            "rss 1\ncache 1\nshmem 1\ntotal_cache 70\ntotal_rss 100\ntotal_shmem 20\ntotal_mapped_file 40\n";
        assert_eq!(
            Parts::v1(v1, 202),
            Some(Parts { anonymous: 100, shmem: 20, kernel: 32, cache: 50, mapped: 40 })
        );
        assert_eq!((Parts::v2(""), Parts::v1("", 7)), (None, None), "what is not said is not zero");
    }

    #[test]
    fn both_versions_of_the_io_file_are_summed() {
        let v1 = "8:0 Read 10\n8:0 Write 5\n8:16 Read 1\nTotal 16\n";
        assert_eq!((io_v1(v1, "Read"), io_v1(v1, "Write")), (11, 5));
        let v2 = "8:0 rbytes=10 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0\n";
        assert_eq!((io_v2(v2, "rbytes="), io_v2(v2, "wbytes=")), (11, 5));
        assert_eq!(keyed("usage_usec 7\nuser_usec 3\n", "user_usec"), Some(3));
    }
}
