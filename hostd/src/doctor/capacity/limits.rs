//! What this host has: read once.

use std::{collections::BTreeMap, fs, path::Path};

use rustix::process::{Resource, getrlimit};
use tenant::{HostFacts, files::facts::meminfo};
use wire::doctor::Setting;

use super::figures::OWN;
use crate::{doctor::systemd::Slice, host::Host};

/// Keys of sysctl(8) that the table knows, besides those of [`OWN`].
const KEYS: [&str; 14] = [
    "kernel.pty.max",
    "kernel.pty.reserve",
    "kernel.pty.nr",
    "kernel.pid_max",
    "kernel.threads-max",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
    "fs.file-max",
    "fs.nr_open",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv6.neigh.default.gc_thresh2",
    "net.ipv6.neigh.default.gc_thresh3",
    "net.netfilter.nf_conntrack_max",
];

/// Room on a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free.
    pub bytes: u64,
    /// Inodes that are free; none on a filesystem that makes them as it needs them.
    pub inodes: Option<u64>,
}

/// What this host has of everything; none where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Values of sysctl(8), by key.
    pub sysctl: BTreeMap<String, u64>,
    /// Processes and threads that there are.
    pub tasks: Option<u64>,
    /// Files that are open.
    pub files: Option<u64>,
    /// Entries of the IPv4 and of the IPv6 neighbour table, in all network namespaces.
    pub neighbours: [Option<u64>; 2],
    /// cgroups of the v2 hierarchy, those included that are gone and not yet forgotten; none where it has no
    /// memory controller.
    pub memory_cgroups: Option<u64>,
    /// Ports of a bridge that belong to no tenant, by bridge.
    pub bridges: BTreeMap<String, u64>,
    /// Memory that can be had, bytes.
    pub memory: Option<u64>,
    /// Room for what tenants store.
    pub disk: Option<Space>,
    /// Room below `/run`.
    pub run: Option<Space>,
    /// How many files hostd may open.
    pub descriptors: Option<u64>,
    /// The limits of `tenants.slice`, where systemd starts tenants.
    pub slice: Option<Slice>,
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

fn space(dir: &Path) -> Option<Space> {
    // What is not there yet will be made below what is.
    let dir = dir.ancestors().find(|dir| dir.exists())?;
    let stat = rustix::fs::statvfs(dir).ok()?;
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    Some(Space { bytes: stat.f_bavail.saturating_mul(stat.f_frsize), inodes })
}

/// The fourth field of proc_loadavg(5): `running/all`.
fn tasks(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// The first field of the first line of numbers: `entries`, hexadecimal.
fn entries(text: &str) -> Option<u64> {
    u64::from_str_radix(text.lines().nth(1)?.split_ascii_whitespace().next()?, 16).ok()
}

/// `cgroup.stat`: those that are there and those that are dying.
fn cgroups(text: &str) -> Option<u64> {
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(of("nr_descendants ")? + of("nr_dying_descendants ").unwrap_or(0))
}

/// Ports of a bridge that are no tenant's: those are called `t<number>-<interface>`.
fn foreign_ports(bridge: &str) -> Option<u64> {
    let ports = fs::read_dir(format!("/sys/class/net/{bridge}/brif")).ok()?;
    let ours = |name: &str| {
        let number = name.strip_prefix('t').and_then(|rest| rest.split_once('-'));
        number.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    Some(ports.flatten().filter(|port| !ours(&port.file_name().to_string_lossy())).count() as u64)
}

impl Limits {
    /// Inspects this host; `bridges` are the bridges in use.
    pub fn gather<'a>(host: &Host, bridges: impl Iterator<Item = &'a String>) -> Self {
        let layout = host.layout();
        let facts: &HostFacts = host.store().facts();
        let keys = KEYS.into_iter().chain(OWN.into_iter().map(|(key, ..)| key));
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mount = facts.cgroup.v2_mount.as_deref();
        let has_memory = mount.is_some_and(|mount| {
            let list = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
            list.split_ascii_whitespace().any(|name| name == "memory")
        });
        Self {
            sysctl: keys.filter_map(|key| Some((key.to_owned(), number(Setting::file(key))?))).collect(),
            tasks: tasks(&text("/proc/loadavg")),
            files: number("/proc/sys/fs/file-nr"),
            neighbours: ["arp_cache", "ndisc_cache"]
                .map(|table| entries(&text(&format!("/proc/net/stat/{table}")))),
            memory_cgroups: mount
                .filter(|_| has_memory)
                .and_then(|mount| cgroups(&fs::read_to_string(mount.join("cgroup.stat")).ok()?)),
            bridges: bridges.filter_map(|bridge| Some((bridge.clone(), foreign_ports(bridge)?))).collect(),
            memory: meminfo(&text("/proc/meminfo"), "MemAvailable"),
            disk: space(&layout.state()),
            run: space(&layout.run()),
            descriptors: Some(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)),
            slice: Slice::of_host(layout, facts),
        }
    }

    /// The value of a key of sysctl(8).
    pub fn key(&self, key: &str) -> Option<u64> {
        self.sysctl.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_as_they_are_written() {
        assert_eq!(tasks("0.20 0.18 0.12 1/80 11206\n"), Some(80));
        assert_eq!(meminfo("MemFree: 1 kB\nMemAvailable:   2048 kB\n", "MemAvailable"), Some(2 << 20));
        assert_eq!(entries("entries  allocs\n0000001f  00000000\n0000001f 00000000\n"), Some(31));
        assert_eq!(cgroups("nr_descendants 12\nnr_subsys_memory 3\nnr_dying_descendants 4\n"), Some(16));
        assert_eq!((tasks(""), meminfo("", "X"), entries(""), cgroups("")), (None, None, None, None));
    }

    #[test]
    fn this_host_tells_most_of_it() {
        assert!(number(Setting::file("kernel.pid_max")).is_some_and(|max| max >= 300));
        assert!(space(Path::new("/nonexistent/below")).is_some_and(|space| space.bytes > 0));
    }
}
