//! What one configuration file says.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{Kind, MacvlanMode, NicMode, Policy, Restart, RootMode};
use crate::model::{
    device::DeviceRule,
    host::{GroupName, PoolName},
    image::{ImageRef, ProfileName, Ready},
    label::Labels,
    limits::{ByteSize, CpuQuota, Limits, Weight},
    net::{BitRate, Cidr, Forwards, LinkName, Mac, Route},
    path::TenantPath,
    syscall::AllowedCall,
};

/// A tenant file or a profile file: every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fragment {
    /// Kind of tenant; in profiles only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The profile; in tenant files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The host name; the tenant's name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Start with the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Whether systemd starts it again after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Who boots first of many that are started at once, 0 to 1000: the greater.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_priority: Option<u16>,
    /// Argument vector of init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Vec<String>>,
    /// Signal that asks init to power off, e.g. `SIGRTMIN+3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds init has to end, 1 to 3600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout_sec: Option<u32>,
    /// Seconds init has until it is ready, 1 to 3600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout_sec: Option<u32>,
    /// When the tenant counts as started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// Number of ttys besides the console, 0 to 63.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttys: Option<u8>,
    /// Most pseudoterminals inside, 16 to 4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pts_max: Option<u32>,
    /// Login program for ttys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub getty: Option<Vec<String>>,
    /// Largest size of one console log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_log: Option<ByteSize>,
    /// Whether the console's lines go to the host's journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_journal: Option<bool>,
    /// How `/` is put together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<RootMode>,
    /// Most cgroups inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_max: Option<u32>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<Weight>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<CpuQuota>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<ByteSize>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<ByteSize>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_max: Option<ByteSize>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u32>,
    /// See [`Limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<Weight>,
    /// Most bytes in its own directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_max: Option<ByteSize>,
    /// Most inodes in its own directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_max: Option<u64>,
    /// With `root = "paths"`: what the tenant sees of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<TenantPath>>,
    /// Tenants of one group reach each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Most bit/s in each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rate: Option<BitRate>,
    /// Ports of the host that lead to the tenant: `HOST:TENANT/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Forwards>,
    /// Name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
    /// Search domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_search: Option<Vec<String>>,
    /// The device nodes the tenant may open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceRule>>,
    /// Most bytes in `/dev/shm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_max: Option<ByteSize>,
    /// Whether it has `/dev/net/tun`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tun: Option<bool>,
    /// Whether it has `/dev/fuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuse: Option<bool>,
    /// Whether the host must have WireGuard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<bool>,
    /// Capabilities it does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_capabilities: Option<Vec<String>>,
    /// System calls that it may use although tenants are refused them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_syscalls: Option<Vec<AllowedCall>>,
    /// Environment of init.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Keys below `net.`, set in the tenant's network namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Words by which people sort their tenants.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Policy of each directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dirs: BTreeMap<TenantPath, Policy>,
    /// Network interfaces; a list replaces the profile's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nic: Option<Vec<NicFragment>>,
}

/// One `[[nic]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicFragment {
    /// How it is connected.
    pub mode: NicMode,
    /// Its name inside; `eth0`, `eth1`, … if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its hardware address; one that stays the same if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// More names inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altnames: Option<Vec<String>>,
    /// The bridge, the parent, or the host's NIC itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// Mode of a macvlan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macvlan: Option<MacvlanMode>,
    /// Tag of a VLAN, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The pool its addresses come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<Cidr>>,
    /// Its default gateways, at most one of each family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<IpAddr>>,
    /// Its routes besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
}

impl NicFragment {
    /// An interface of a mode with nothing else said.
    pub fn new(mode: NicMode) -> Self {
        Self {
            mode,
            name: None,
            mtu: None,
            mac: None,
            altnames: None,
            link: None,
            macvlan: None,
            vlan: None,
            pool: None,
            addresses: None,
            gateways: None,
            routes: None,
        }
    }
}

impl Fragment {
    /// This fragment (a profile) with `over` (a tenant file) laid on top: single values and the list
    /// of NICs are replaced, the tables `env`, `sysctl`, `labels` and `dirs` are merged key by key.
    pub fn overlaid(self, over: Self) -> Self {
        let mut env = self.env;
        env.extend(over.env);
        let mut sysctl = self.sysctl;
        sysctl.extend(over.sysctl);
        let mut labels = self.labels;
        labels.extend(over.labels);
        let mut dirs = self.dirs;
        dirs.extend(over.dirs);
        Self {
            kind: over.kind.or(self.kind),
            description: over.description.or(self.description),
            profile: over.profile.or(self.profile),
            image: over.image.or(self.image),
            hostname: over.hostname.or(self.hostname),
            autostart: over.autostart.or(self.autostart),
            restart: over.restart.or(self.restart),
            start_priority: over.start_priority.or(self.start_priority),
            init: over.init.or(self.init),
            stop_signal: over.stop_signal.or(self.stop_signal),
            stop_timeout_sec: over.stop_timeout_sec.or(self.stop_timeout_sec),
            start_timeout_sec: over.start_timeout_sec.or(self.start_timeout_sec),
            ready: over.ready.or(self.ready),
            ttys: over.ttys.or(self.ttys),
            pts_max: over.pts_max.or(self.pts_max),
            getty: over.getty.or(self.getty),
            console_log: over.console_log.or(self.console_log),
            console_journal: over.console_journal.or(self.console_journal),
            root: over.root.or(self.root),
            cgroups_max: over.cgroups_max.or(self.cgroups_max),
            cpu_weight: over.cpu_weight.or(self.cpu_weight),
            cpu_quota: over.cpu_quota.or(self.cpu_quota),
            memory_max: over.memory_max.or(self.memory_max),
            memory_high: over.memory_high.or(self.memory_high),
            memory_swap_max: over.memory_swap_max.or(self.memory_swap_max),
            tasks_max: over.tasks_max.or(self.tasks_max),
            io_weight: over.io_weight.or(self.io_weight),
            disk_max: over.disk_max.or(self.disk_max),
            inodes_max: over.inodes_max.or(self.inodes_max),
            paths: over.paths.or(self.paths),
            group: over.group.or(self.group),
            net_rate: over.net_rate.or(self.net_rate),
            ports: over.ports.or(self.ports),
            dns: over.dns.or(self.dns),
            dns_search: over.dns_search.or(self.dns_search),
            devices: over.devices.or(self.devices),
            shm_max: over.shm_max.or(self.shm_max),
            tun: over.tun.or(self.tun),
            fuse: over.fuse.or(self.fuse),
            wireguard: over.wireguard.or(self.wireguard),
            drop_capabilities: over.drop_capabilities.or(self.drop_capabilities),
            allow_syscalls: over.allow_syscalls.or(self.allow_syscalls),
            env,
            sysctl,
            labels,
            dirs,
            nic: over.nic.or(self.nic),
        }
    }

    /// The limits among the keys.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu_weight: self.cpu_weight,
            cpu_quota: self.cpu_quota,
            memory_max: self.memory_max,
            memory_high: self.memory_high,
            memory_swap_max: self.memory_swap_max,
            tasks_max: self.tasks_max,
            io_weight: self.io_weight,
            by_default: Vec::new(),
        }
    }
}
