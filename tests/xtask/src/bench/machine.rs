//! The machine a run was made on, without its name or any path.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::sh;

/// What a reader must know to compare.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) memory_gib: f64,
    pub(super) kernel: String,
    pub(super) system: String,
    pub(super) lxc: String,
    pub(super) nspawn: String,
    pub(super) revision: String,
}

fn line_of(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    value.trim_start_matches([' ', '\t', ':', '=']).trim_matches('"').to_owned()
}

fn first_line(program: &str, args: &[&str]) -> String {
    let text = sh::read(sh::command(program, args)).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

impl Machine {
    pub(super) fn look() -> Self {
        let kib = line_of("/proc/meminfo", "MemTotal");
        let kib: f64 = kib.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let nspawn = first_line("systemd-nspawn", &["--version"]);
        let mut git = sh::command("git", &["rev-parse", "--short", "HEAD"]);
        git.current_dir(sh::repository());
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            processor: line_of("/proc/cpuinfo", "model name"),
            memory_gib: (kib / f64::from(1 << 20) * 10.0).round() / 10.0,
            // The build of the kernel says nothing that the release does not.
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
            system: line_of("/etc/os-release", "PRETTY_NAME"),
            lxc: first_line("lxc-start", &["--version"]),
            nspawn: nspawn.split(' ').nth(1).unwrap_or_default().to_owned(),
            revision: sh::read(git).unwrap_or_default().trim().to_owned(),
        }
    }
}

/// Which part of the processors' time other programs may use for figures to mean something.
const BUSY: f64 = 0.1;

/// Waits at most a minute until other programs leave this machine alone; says so when they do not.
pub(super) fn wait_until_idle() {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = times();
        thread::sleep(Duration::from_secs(2));
        let busy = busy(before, times());
        if busy <= BUSY {
            return;
        }
        if Instant::now() > deadline {
            eprintln!(
                "warning: other programs use {:.0} % of this machine: no figure is reliable",
                100.0 * busy
            );
            return;
        }
    }
}

/// Ticks of all processors since the boot, see proc_stat(5): all, and those without work.
fn times() -> (u64, u64) {
    parse_times(&line_of("/proc/stat", "cpu "))
}

fn parse_times(line: &str) -> (u64, u64) {
    let ticks: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    // Time that is waited for a disk is no idle time: a program writes.
    (ticks.iter().take(8).sum(), ticks.get(3).copied().unwrap_or_default())
}

fn busy(before: (u64, u64), after: (u64, u64)) -> f64 {
    let (all, idle) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_part_is_what_is_not_idle() {
        let before = parse_times("100 0 100 800 0 0 0 0 0 0");
        let after = parse_times("150 0 150 1500 200 0 0 0 50 0");
        assert_eq!((before, after), ((1000, 800), (2000, 1500)));
        assert!((busy(before, after) - 0.3).abs() < 1e-9);
        assert_eq!(busy(before, before), 0.0);
    }
}
