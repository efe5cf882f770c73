//! What the kernel must have, as one table: `tenantctl doctor` tries it, `lxc-checkconfig` looks it up.

use std::path::Path;

/// How a feature is found out without the kernel's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A file is there. Tenants need it.
    File(&'static str),
    /// A file is there. Tenants run without it, and miss something.
    Optional(&'static str),
    /// An interface of this kind can be made; the file tells that one has been.
    Link(&'static str, &'static str),
    /// A device program can be loaded; the file is there where the kernel knows of such programs.
    DeviceProgram(&'static str),
    /// Tried elsewhere, by what uses it; the file tells that a process does.
    Elsewhere(&'static str),
}

impl Probe {
    /// Whether the file is there.
    pub fn shows(self) -> bool {
        let (Self::File(file)
        | Self::Optional(file)
        | Self::Link(_, file)
        | Self::DeviceProgram(file)
        | Self::Elsewhere(file)) = self;
        Path::new(file).exists()
    }
}

/// One feature of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// What `lxc-checkconfig` calls it.
    pub name: &'static str,
    /// Its option of the kernel's configuration, without `CONFIG_`.
    pub option: &'static str,
    /// How it is found out.
    pub probe: Probe,
    /// What it is for.
    pub what: &'static str,
}

const fn feature(name: &'static str, option: &'static str, probe: Probe, what: &'static str) -> Feature {
    Feature { name, option, probe, what }
}

/// Namespaces.
pub const NAMESPACES: [Feature; 8] = [
    feature("Namespaces", "NAMESPACES", Probe::File("/proc/self/ns"), "every tenant"),
    feature("Utsname namespace", "UTS_NS", Probe::File("/proc/self/ns/uts"), "tenants' host names"),
    feature("Ipc namespace", "IPC_NS", Probe::File("/proc/self/ns/ipc"), "tenants' shared memory"),
    feature("Pid namespace", "PID_NS", Probe::File("/proc/self/ns/pid"), "tenants' process 1"),
    feature("User namespace", "USER_NS", Probe::File("/proc/self/ns/user"), "tenants' root"),
    feature("Network namespace", "NET_NS", Probe::File("/proc/self/ns/net"), "tenants' interfaces"),
    feature("Cgroup namespace", "CGROUPS", Probe::File("/proc/self/ns/cgroup"), "tenants' cgroups"),
    feature("Time namespace", "TIME_NS", Probe::Optional("/proc/self/ns/time"), "per-tenant uptime"),
];

/// Everything else.
pub const MISC: [Feature; 9] = [
    feature(
        "Veth pair device",
        "VETH",
        Probe::Link("veth", "/sys/module/veth"),
        "routed and bridged interfaces",
    ),
    feature(
        "Macvlan",
        "MACVLAN",
        Probe::Link("macvlan", "/sys/module/macvlan"),
        "interfaces of mode macvlan",
    ),
    feature("Vlan", "VLAN_8021Q", Probe::Link("vlan", "/proc/net/vlan"), "interfaces of mode vlan"),
    feature("Bridges", "BRIDGE", Probe::Link("bridge", "/sys/module/bridge"), "bridges of the host"),
    feature("Nftables", "NF_TABLES", Probe::Elsewhere("/sys/module/nf_tables"), "the packet filter"),
    feature(
        "Nftables, bridges",
        "NF_TABLES_BRIDGE",
        Probe::Elsewhere("/sys/module/nf_tables"),
        "the packet filter of bridges",
    ),
    feature("Overlayfs", "OVERLAY_FS", Probe::Elsewhere("/sys/module/overlay"), "the shared root"),
    feature(
        "Seccomp filters",
        "SECCOMP_FILTER",
        Probe::File("/proc/sys/kernel/seccomp"),
        "refused system calls",
    ),
    feature("Cgroup device programs", "CGROUP_BPF", Probe::DeviceProgram("/sys/fs/bpf"), "refused devices"),
];
