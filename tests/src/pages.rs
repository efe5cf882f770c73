//! Which pages of memory are behind the files that a process has mapped.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt,
};

/// Page frames behind a file's first executable mapping in a process, by proc_pid_pagemap(5).
///
/// # Panics
/// When the process has no such mapping.
pub fn frames(pid: i32, file: &str) -> BTreeSet<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process has maps");
    let line = maps.lines().find(|line| line.contains(file) && line.contains("r-xp"));
    let range = line.expect("the file is mapped").split(' ').next().expect("a range");
    let (from, to) = range.split_once('-').expect("two addresses");
    let address = |text| u64::from_str_radix(text, 16).expect("an address");
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).expect("root may look");
    let frame = |page: u64| {
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, page * 8).ok()?;
        let entry = u64::from_le_bytes(entry);
        let present = entry >> 63 == 1;
        present.then_some(entry & ((1 << 55) - 1)).filter(|frame| *frame != 0)
    };
    (address(from) / 4096..address(to) / 4096).filter_map(frame).collect()
}
