//! Use against limit, read from the files of a unit's cgroups.

use std::{
    fs,
    path::{Path, PathBuf},
};

use wire::{UnitCgroups, Usage};

fn number(dir: Option<&Path>, file: &str) -> Option<u64> {
    fs::read_to_string(dir?.join(file)).ok()?.trim().parse().ok()
}

/// The number behind `key` in a file of `key number` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
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

/// Everything a unit uses; what the host does not account is absent.
pub fn usage(cgroups: &UnitCgroups) -> Usage {
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
    Usage {
        memory_bytes: memory_file(cgroups)
            .and_then(|file| fs::read_to_string(file).ok()?.trim().parse().ok()),
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
    fn both_versions_of_the_io_file_are_summed() {
        let v1 = "8:0 Read 10\n8:0 Write 5\n8:16 Read 1\nTotal 16\n";
        assert_eq!((io_v1(v1, "Read"), io_v1(v1, "Write")), (11, 5));
        let v2 = "8:0 rbytes=10 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0\n";
        assert_eq!((io_v2(v2, "rbytes="), io_v2(v2, "wbytes=")), (11, 5));
        assert_eq!(keyed("usage_usec 7\nuser_usec 3\n", "user_usec"), Some(3));
    }
}
