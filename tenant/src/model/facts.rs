//! What this host is and can do: gathered once, so that plans are pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::mountinfo;

/// Major and minor number of a kernel release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KernelVersion {
    /// The 6 of 6.12.
    pub major: u32,
    /// The 12 of 6.12.
    pub minor: u32,
}

impl KernelVersion {
    /// Whether overlayfs takes layers that are mounted nowhere, and of a detached tree a part can be copied.
    pub fn takes_detached_layers(self) -> bool {
        self >= Self { major: 6, minor: 15 }
    }

    /// Reads the start of a `uname -r` string.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The cgroup hierarchies, see cgroups(7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CgroupFacts {
    /// Mount point of the v2 hierarchy; none where it is not mounted.
    pub v2_mount: Option<PathBuf>,
    /// Directory of this process's own v2 cgroup.
    pub v2_own: PathBuf,
    /// Controllers that the v2 hierarchy has at this process's cgroup.
    pub v2_controllers: BTreeSet<String>,
    /// For every v1 controller the directory of this process's own cgroup.
    pub v1: BTreeMap<String, PathBuf>,
}

impl CgroupFacts {
    /// Puts together `/proc/self/cgroup` and `/proc/self/mountinfo`; the controllers of v2 are left empty.
    pub fn parse(own: &str, mountinfo: &[u8]) -> Self {
        let mounts: Vec<_> =
            mountinfo::mounts(mountinfo).filter(|mount| mount.kind.starts_with(b"cgroup")).collect();
        let mut facts = Self::default();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let below = |mount: &Path| mount.join(path.trim_start_matches('/'));
            if controllers.is_empty() {
                if let Some(mount) = mounts.iter().find(|mount| mount.kind == b"cgroup2") {
                    facts.v2_mount = Some(mount.at.clone());
                    facts.v2_own = below(&mount.at);
                }
                continue;
            }
            for controller in controllers.split(',').filter(|c| !c.starts_with("name=")) {
                let is_it = |mount: &&mountinfo::Mount<'_>| {
                    mount.kind == b"cgroup" && mount.has_filesystem_option(controller)
                };
                if let Some(mount) = mounts.iter().find(is_it) {
                    facts.v1.insert(controller.to_owned(), below(&mount.at));
                }
            }
        }
        facts
    }

    /// Whether a controller can be had in either version.
    pub fn has(&self, controller: &str) -> bool {
        let v1_name = if controller == "io" { "blkio" } else { controller };
        self.v2_controllers.contains(controller) || self.v1.contains_key(v1_name)
    }
}

/// Everything a plan needs to know of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// The running kernel.
    pub kernel: KernelVersion,
    /// The host's name.
    pub hostname: String,
    /// Its cgroups.
    pub cgroup: CgroupFacts,
    /// Whether it has time namespaces, see time_namespaces(7).
    pub time_namespaces: bool,
    /// Whether it has filesystems that a program is behind, see fuse(4).
    pub fuse: bool,
    /// Whether it speaks IPv6.
    pub ipv6: bool,
    /// Whether systemd is PID 1.
    pub systemd: bool,
    /// The AppArmor profiles that it has loaded; none where it has no AppArmor.
    pub apparmor: BTreeSet<String>,
    /// At most three name servers that a tenant can ask as well: none of them on loopback.
    pub name_servers: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_v1_controllers_and_a_v2_tree() {
        let own = "8:pids:/\n4:memory:/job/1\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/\n";
        let mountinfo = "\
            30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
            31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            33 29 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let facts = CgroupFacts::parse(own, mountinfo.as_bytes());
        assert_eq!(facts.v2_mount, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(facts.v1["memory"], Path::new("/sys/fs/cgroup/memory/job/1"));
        assert_eq!(facts.v1["cpu"], Path::new("/sys/fs/cgroup/cpu/"));
        assert!(!facts.v1.contains_key("pids"), "pids is not mounted");
        assert!(facts.has("memory") && !facts.has("io"));
    }
}
