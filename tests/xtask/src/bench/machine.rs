//! The machine a run was made on, without its name or any path.

use std::{fs, thread};

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
