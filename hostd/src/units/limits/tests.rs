//! Limits in directories that look like cgroups.

use std::{fs, path::Path};

use tenant::model::limits::Limits;
use wire::UnitCgroups;

use super::{Enforce, IoSchedulers, apply};

/// A directory that looks like the cgroups of a unit on a host with these v1 and v2 files.
fn unit(base: &Path, v1: &[(&str, &str)], v2: &[(&str, &str)]) -> UnitCgroups {
    let mut cgroups = UnitCgroups { v2: base.join("v2"), ..UnitCgroups::default() };
    fs::create_dir_all(&cgroups.v2).unwrap();
    for (controller, file) in v1 {
        let dir = base.join(controller);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(file), "").unwrap();
        cgroups.v1.insert((*controller).to_owned(), dir);
    }
    for (controller, file) in v2 {
        fs::write(cgroups.v2.join(file), if *file == "cpu.max" { "max 100000\n" } else { "" }).unwrap();
        cgroups.v2_controllers.insert((*controller).to_owned());
    }
    cgroups
}

const BFQ: IoSchedulers = IoSchedulers { bfq: true, cost: false };
const COST: IoSchedulers = IoSchedulers { bfq: false, cost: true };
const NEITHER: IoSchedulers = IoSchedulers { bfq: false, cost: false };

fn limits(text: &str) -> Limits {
    toml::from_str(text).unwrap()
}

#[test]
fn what_is_taken_back_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("memory", "memory.max"),
        ("memory", "memory.high"),
        ("memory", "memory.swap.max"),
        ("pids", "pids.max"),
    ];
    let cgroups = unit(dir.path(), &[], &files);
    let read = || files.map(|(_, file)| fs::read_to_string(cgroups.v2.join(file)).unwrap());
    for (_, file) in files {
        fs::write(cgroups.v2.join(file), "12345\n").unwrap();
    }
    let applied =
        apply(&limits("memory_max = '1M'\ntasks_max = 10"), &cgroups, NEITHER, Enforce::Asked).unwrap();
    assert_eq!(read()[0], (1 << 20).to_string());
    applied.undo().unwrap();
    assert_eq!(read(), ["12345"; 4]);
    // A file that cannot be written: those before it are as they were.
    let pids = cgroups.v2.join("pids.max");
    fs::remove_file(&pids).unwrap();
    fs::create_dir(&pids).unwrap();
    apply(&limits("memory_max = '1M'\ntasks_max = 10"), &cgroups, NEITHER, Enforce::Asked).unwrap_err();
    assert_eq!(fs::read_to_string(cgroups.v2.join("memory.max")).unwrap(), "12345");
}

#[test]
fn every_limit_has_its_v1_file() {
    let dir = tempfile::tempdir().unwrap();
    let cgroups = unit(
        dir.path(),
        &[
            ("memory", "memory.limit_in_bytes"),
            ("memory", "memory.memsw.limit_in_bytes"),
            ("pids", "pids.max"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpu", "cpu.cfs_period_us"),
            ("blkio", "blkio.bfq.weight"),
        ],
        &[],
    );
    let limits = limits(
        "memory_max = '1M'\nmemory_swap_max = '1M'\ntasks_max = 10\ncpu_weight = 200\n\
         cpu_quota = '50%'\nio_weight = 7",
    );
    apply(&limits, &cgroups, BFQ, Enforce::Asked).unwrap();
    for (file, value) in [
        ("memory/memory.limit_in_bytes", "1048576"),
        ("memory/memory.memsw.limit_in_bytes", "2097152"),
        ("pids/pids.max", "10"),
        ("cpu/cpu.shares", "2048"),
        ("cpu/cpu.cfs_quota_us", "50000"),
        ("cpu/cpu.cfs_period_us", "100000"),
        ("blkio/blkio.bfq.weight", "7"),
    ] {
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), value, "{file}");
    }
    apply(&Limits::default(), &cgroups, BFQ, Enforce::Asked).unwrap();
    for (file, value) in [
        ("memory/memory.limit_in_bytes", "-1"),
        ("pids/pids.max", "max"),
        ("cpu/cpu.shares", "1024"),
        ("cpu/cpu.cfs_quota_us", "-1"),
    ] {
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), value, "{file}");
    }
}

#[test]
fn every_limit_has_its_v2_file() {
    let dir = tempfile::tempdir().unwrap();
    let cgroups = unit(
        dir.path(),
        &[],
        &[
            ("memory", "memory.max"),
            ("memory", "memory.high"),
            ("memory", "memory.swap.max"),
            ("pids", "pids.max"),
            ("cpu", "cpu.weight"),
            ("cpu", "cpu.max"),
            ("io", "io.weight"),
        ],
    );
    let limits = limits(
        "memory_max = '2M'\nmemory_high = '1M'\nmemory_swap_max = '1M'\ntasks_max = 10\n\
         cpu_weight = 200\ncpu_quota = '150%'\nio_weight = 7",
    );
    apply(&limits, &cgroups, COST, Enforce::Asked).unwrap();
    for (file, value) in [
        ("memory.max", "2097152"),
        ("memory.high", "1048576"),
        ("memory.swap.max", "1048576"),
        ("pids.max", "10"),
        ("cpu.weight", "200"),
        ("cpu.max", "150000 100000"),
        ("io.weight", "7"),
    ] {
        assert_eq!(fs::read_to_string(cgroups.v2.join(file)).unwrap().trim(), value, "{file}");
    }
}

#[test]
fn a_limit_without_a_controller_is_named_and_can_be_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let cgroups = unit(dir.path(), &[("memory", "memory.limit_in_bytes"), ("blkio", "x")], &[]);
    for (text, names) in [
        ("tasks_max = 10", "pids"),
        ("io_weight = 10", "blkio controller (cgroup v1) needs a disk"),
        ("memory_high = '1M'", "memory.high"),
        ("memory_max = '1M'\nmemory_swap_max = '1M'", "memory.memsw"),
        ("memory_swap_max = '1M'", "memory_max"),
        ("cpu_quota = '10%'", "cpu controller"),
    ] {
        let error = apply(&limits(text), &cgroups, NEITHER, Enforce::Asked).unwrap_err();
        assert!(error.to_string().contains(names), "{text}: {error}");
        apply(&limits(text), &cgroups, NEITHER, Enforce::Possible).unwrap();
    }
    apply(&Limits::default(), &cgroups, NEITHER, Enforce::Asked).unwrap();
}
