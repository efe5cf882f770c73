//! A plan as text, one step a line, for `tenantctl plan` and the golden files.

use std::fmt;

use super::{NicPlan, Plan, RootStep};

fn mac_text(mac: &[u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl fmt::Display for RootStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skeleton { dirs, links } => {
                write!(f, "/ tmpfs ro:")?;
                for dir in dirs {
                    write!(f, " {}", dir.path)?;
                }
                for (name, target) in links {
                    write!(f, " {name}->{target}")?;
                }
                Ok(())
            }
            Self::Shared { at } => write!(f, "{at} overlay ro: image{at}"),
            Self::Overlay { at, store } => write!(f, "{at} overlay rw: image{at} under dirs/{store}"),
            Self::Whole { store } => write!(f, "/ overlay rw: image under dirs/{store}"),
            Self::Private { at, store } => write!(f, "{at} bind rw: dirs/{store}"),
            Self::Tmpfs { at, size, mode } => write!(f, "{at} tmpfs size={size} mode={mode:04o}"),
            Self::Bind { at, source, writable } => {
                let access = if *writable { "rw" } else { "ro" };
                write!(f, "{at} bind {access}: host {}", source.display())
            }
            Self::Dev { nodes, links, dirs } => {
                write!(f, "/dev tmpfs:")?;
                for node in nodes {
                    write!(f, " {}({}:{})", node.name, node.major, node.minor)?;
                }
                for dir in dirs {
                    write!(f, " {dir}/")?;
                }
                for (name, target) in links {
                    write!(f, " {name}->{target}")?;
                }
                Ok(())
            }
            Self::Devpts { max } => write!(f, "/dev/pts devpts max={max}"),
            Self::Proc => write!(f, "/proc proc"),
            Self::Sysfs => write!(f, "/sys sysfs ro"),
            Self::Cgroup => write!(f, "/sys/fs/cgroup cgroup2 rw"),
            Self::RunHost => write!(f, "/run/host what the tenant is told of its host"),
        }
    }
}

impl fmt::Display for NicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routed { host_name, altname, host_mac, name, mac, mtu, ipv4, ipv6 } => {
                write!(
                    f,
                    "routed {name} {} mtu {mtu} {ipv4}/32{} via {host_name} ({altname}) {}",
                    mac_text(mac),
                    ipv6.map(|ipv6| format!(" {ipv6}/128")).unwrap_or_default(),
                    mac_text(host_mac),
                )
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tenant      {} at {}", self.tenant, self.digest)?;
        writeln!(f, "cgroup      {} owner {}", self.cgroup.payload.display(), self.cgroup.owner)?;
        writeln!(f, "cgroup      at most {} below it", self.cgroup.max_descendants)?;
        for rule in &self.devices.allowed {
            writeln!(f, "device      {rule}")?;
        }
        writeln!(f, "user        0-65535 are {} on the host", self.uids)?;
        let time = if self.time_namespace { " time" } else { "" };
        writeln!(f, "namespaces  user pid mount uts ipc net cgroup{time}")?;
        for step in &self.root {
            writeln!(f, "root        {step}")?;
        }
        for nic in &self.nics {
            writeln!(f, "network     {nic}")?;
        }
        writeln!(f, "terminals   console and {} ttys", self.ttys)?;
        for capability in &self.security.capabilities {
            writeln!(f, "keep        {capability}")?;
        }
        for deny in &self.security.denied {
            let only = deny.only.map(|a| format!(" when argument {} is {:#x}", a.index, a.value));
            let only = only.unwrap_or_default();
            writeln!(f, "deny        {}{only}: {} ({})", deny.syscall, deny.errno, deny.reason)?;
        }
        writeln!(f, "hostname    {}", self.init.hostname)?;
        for (key, value) in &self.init.env {
            writeln!(f, "env         {key}={}", value.escape_debug())?;
        }
        writeln!(f, "exec        {}", self.init.argv.join(" ").escape_debug())?;
        writeln!(f, "ready       on {:?} within {} s", self.init.ready, self.init.start_timeout.as_secs())?;
        writeln!(
            f,
            "stop        signal {}, killed after {} s",
            self.init.stop_signal,
            self.init.stop_timeout.as_secs()
        )
    }
}
