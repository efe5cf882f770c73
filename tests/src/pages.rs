//! Which pages of memory are behind the files that a process has mapped.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{FileExt, OpenOptionsExt as _},
    path::Path,
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

/// Where what is in memory of a file differs from what is on its disk.
#[derive(Debug, PartialEq, Eq)]
pub enum Differ {
    /// It does not.
    Nowhere,
    /// From this byte on.
    At(u64),
}

/// Compares a file as all programs read it, from the pages in memory, with its blocks on the disk, see `O_DIRECT` of
/// open(2).
///
/// # Panics
/// When it cannot be read in either way.
pub fn differs_from_disk(file: &Path) -> Differ {
    /// What `O_DIRECT` asks of buffers on every disk there is.
    const ALIGNED: usize = 4096;
    const PIECE: usize = 256 << 10;

    let cached = File::open(file).expect("the file can be opened");
    let direct = File::options().read(true).custom_flags(nix::libc::O_DIRECT).open(file);
    let direct = direct.expect("the filesystem can read past its pages");
    let room = vec![0_u8; PIECE + ALIGNED];
    let skip = room.as_ptr().align_offset(ALIGNED);
    let mut room = room;
    let mut pages = vec![0_u8; PIECE];
    let mut at = 0;
    loop {
        let blocks = &mut room[skip..skip + PIECE];
        let length = direct.read_at(blocks, at).expect("the blocks can be read");
        if length == 0 {
            return Differ::Nowhere;
        }
        cached.read_exact_at(&mut pages[..length], at).expect("the pages can be read");
        if let Some(place) = blocks[..length].iter().zip(&pages).position(|(block, page)| block != page) {
            return Differ::At(at + place as u64);
        }
        at += length as u64;
    }
}
