//! What came out valid.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    nic::Nic,
    policy::Policy,
    signal::Signal,
    words::{Kind, Restart, RootMode},
};
use crate::model::{
    apparmor::AppArmorProfile,
    device::DeviceRule,
    host::GroupName,
    image::{ChannelName, ImageRef, ProfileName, Ready},
    label::Labels,
    limits::{ByteSize, DiskLimits, Limits},
    name::TenantName,
    net::{BitRate, Forward},
    park::{Idle, Park},
    path::TenantPath,
    syscall::AllowedCall,
};

/// Devices and drivers of the host that a tenant is given by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `/dev/net/tun`, see `Documentation/networking/tuntap.rst`.
    pub tun: bool,
    /// `/dev/fuse`, see fuse(4).
    pub fuse: bool,
    /// Interfaces of the type `wireguard`, see wg(8).
    pub wireguard: bool,
}

/// A validated tenant: profile and tenant file merged, every value in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// The profile it was merged with.
    pub profile: ProfileName,
    /// The kind of that profile.
    pub kind: Kind,
    /// One line for people.
    pub description: Option<String>,
    /// Words by which people sort their tenants; nothing that the tenant sees.
    pub labels: Labels,
    /// The image it wants; the allocation says which version it has.
    pub image: ImageRef,
    /// The channel of the image that it follows; none of a tenant that is pinned to a version.
    pub follow: Option<ChannelName>,
    /// Its host name, see hostname(7).
    pub hostname: String,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// Whether systemd starts it again after its end.
    pub restart: Restart,
    /// Who boots first of many that are started at once: the greater, 0 to 1000.
    pub start_priority: u16,
    /// Argument vector of init; none means the image's.
    pub init: Option<Vec<String>>,
    /// Environment of init, besides what `CONTAINER_INTERFACE` demands.
    pub env: BTreeMap<String, String>,
    /// Signal that asks init to power off; none means the image's.
    pub stop_signal: Option<Signal>,
    /// How long init has to end after it.
    pub stop_timeout: Duration,
    /// How long init has until it is ready.
    pub start_timeout: Duration,
    /// When it counts as started; none means as the image says.
    pub ready: Option<Ready>,
    /// What becomes of it when it is idle.
    pub idle: Idle,
    /// How it is parked.
    pub park: Park,
    /// How long it does nothing until it is idle.
    pub idle_after: Duration,
    /// Number of ttys besides the console, 0 to 63.
    pub ttys: u8,
    /// Most pseudoterminals inside, its console and ttys included.
    pub pts_max: u32,
    /// Login program for ttys; none means the image's.
    pub getty: Option<Vec<String>>,
    /// Largest size of a console log, bytes.
    pub console_log: u64,
    /// Whether the console's lines go to the host's journal, where it has one.
    pub console_journal: bool,
    /// How `/` is put together.
    pub root: RootMode,
    /// What each directory is; directories of the image that are not named here are `shared`.
    pub dirs: BTreeMap<TenantPath, Policy>,
    /// Its limits.
    pub limits: Limits,
    /// Whether it sees them in the files that tell of a machine's size.
    pub show_limits: bool,
    /// What it may store.
    pub disk: DiskLimits,
    /// Most cgroups inside.
    pub cgroups_max: u32,
    /// Most namespaces of each kind inside, its own among them.
    pub namespaces_max: u32,
    /// With [`RootMode::Paths`]: what it sees of the image, read-only.
    pub paths: Vec<TenantPath>,
    /// Its interfaces, in order.
    pub nics: Vec<Nic>,
    /// Tenants of one group reach each other; one without a group reaches no other tenant.
    pub group: Option<GroupName>,
    /// Most bit/s in each direction over all its veths.
    pub net_rate: Option<BitRate>,
    /// Ports of the host that lead to it.
    pub forwards: Vec<Forward>,
    /// Name servers, see resolv.conf(5); none means the host's.
    pub dns: Option<Vec<IpAddr>>,
    /// Search domains, see resolv.conf(5).
    pub dns_search: Vec<String>,
    /// Keys below `net.` that are set in its network namespace before init runs, see sysctl.conf(5).
    pub sysctl: BTreeMap<String, String>,
    /// The device nodes it may open, besides those that every tenant may; none means the default list.
    pub devices: Option<Vec<DeviceRule>>,
    /// Most bytes in `/dev/shm`.
    pub shm_max: ByteSize,
    /// Devices and drivers of the host that it is given by name.
    pub features: Features,
    /// Capabilities that it does not have, besides those that no tenant has, see capabilities(7).
    pub drop_capabilities: Vec<String>,
    /// The AppArmor profile of its processes; none means the shipped one, where the host has it.
    pub apparmor: Option<AppArmorProfile>,
    /// Whether no program inside gets more rights than the one that executes it.
    pub no_new_privs: bool,
    /// System calls that it may use although tenants are refused them.
    pub allow_syscalls: Vec<AllowedCall>,
}
