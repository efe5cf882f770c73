//! What this host is and can do, as its files and the kernel say.

use std::{collections::BTreeSet, fs, io, net::IpAddr, path::Path};

use crate::model::{
    apparmor,
    facts::{CgroupFacts, HostFacts, KernelVersion},
};

impl CgroupFacts {
    /// Looks at this process's own cgroups.
    ///
    /// # Errors
    /// A file below `/proc` that cannot be read.
    pub fn gather() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let mut facts = Self::parse(&own, &fs::read("/proc/self/mountinfo")?);
        let controllers = fs::read_to_string(facts.v2_own.join("cgroup.controllers"));
        facts.v2_controllers =
            controllers.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        Ok(facts)
    }
}

impl HostFacts {
    /// Looks at this host.
    ///
    /// # Errors
    /// A file below `/proc` that cannot be read.
    pub fn gather() -> io::Result<Self> {
        let uname = nix::sys::utsname::uname()?;
        let release = uname.release().to_string_lossy();
        let kernel = KernelVersion::parse(&release).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            kernel,
            hostname: uname.nodename().to_string_lossy().into_owned(),
            cgroup: CgroupFacts::gather()?,
            time_namespaces: has_time_namespaces(),
            fuse: Path::new("/dev/fuse").exists(),
            ipv6: Path::new("/proc/self/net/if_inet6").exists(),
            // sd_booted(3)
            systemd: Path::new("/run/systemd/system").is_dir(),
            apparmor: apparmor_profiles(),
            name_servers: host_name_servers(),
        })
    }
}

/// The profiles that this host's AppArmor has loaded, see apparmor(7); none where it is not enabled, or the caller is not root.
pub fn apparmor_profiles() -> BTreeSet<String> {
    let list = fs::read_to_string("/sys/kernel/security/apparmor/profiles");
    list.map(|text| apparmor::loaded(&text)).unwrap_or_default()
}

/// Whether this kernel has time namespaces (CONFIG_TIME_NS), see time_namespaces(7).
fn has_time_namespaces() -> bool {
    Path::new("/proc/self/ns/time_for_children").exists()
}

/// The memory of this host, bytes; see sysinfo(2).
pub fn total_memory() -> u64 {
    let known = rustix::system::sysinfo();
    known.totalram.saturating_mul(known.mem_unit.into())
}

/// The number behind `key` in a file of `key number` lines, as a cgroup has them; see cgroups(7).
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A line of `/proc/meminfo`, bytes; see proc_meminfo(5).
pub fn meminfo(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Those of resolv.conf(5); where that names a stub of systemd-resolved(8), those behind the stub.
fn host_name_servers() -> Vec<IpAddr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let servers = files.iter().map(|file| name_servers(&fs::read_to_string(file).unwrap_or_default()));
    servers.into_iter().find(|servers| !servers.is_empty()).unwrap_or_default()
}

fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    let words = resolv_conf.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let servers = words.filter_map(|words| match words[..] {
        ["nameserver", server, ..] => server.parse::<IpAddr>().ok(),
        _ => None,
    });
    servers.filter(|server| !server.is_loopback() && !server.is_unspecified()).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_loopback_are_of_no_use_to_a_tenant() {
        let text = "# nameserver 1.1.1.1\nsearch example.org\nnameserver 127.0.0.53\nnameserver ::1\n\
                    nameserver 9.9.9.9 # anycast\nnameserver 2620:fe::fe\nnameserver fe80::1%eth0\n";
        let expected: Vec<IpAddr> = vec!["9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()];
        assert_eq!(name_servers(text), expected);
    }

    #[test]
    fn this_host_has_facts() {
        let facts = HostFacts::gather().unwrap();
        assert!(facts.kernel > KernelVersion { major: 5, minor: 0 });
        assert_eq!(KernelVersion::parse("6.12.1-cloud"), Some(KernelVersion { major: 6, minor: 12 }));
    }
}
