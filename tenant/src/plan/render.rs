//! A plan as text, one step a line, for `tenantctl plan` and the golden files.

use std::fmt;

use super::{
    CREDENTIALS, FirstProcess, INACCESSIBLE, LIMITS, LinkPlan, NicPlan, Plan, PortPlan, RefusedSysctl,
    RootStep,
};
use crate::{
    config::KEYS,
    model::{image::ImageSource, resource_file::ResourceFile},
};

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
            Self::Shared { at } if self.is_optional() => {
                write!(f, "{at} overlay ro: image{at}, where the image has it")
            }
            Self::Shared { at } => write!(f, "{at} overlay ro: image{at}"),
            Self::Path { at } => write!(f, "{at} overlay ro: image{at}, only this path"),
            Self::Present { at } => write!(f, "{at} must be in the image"),
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
            Self::RunHost => write!(f, "/run/host tmpfs ro: host interface"),
            Self::Inaccessible => {
                write!(f, "/{INACCESSIBLE} tmpfs ro: reg dir fifo sock chr blk, all mode 0000")
            }
            Self::Limits => {
                write!(f, "/{LIMITS} fuse ro: the tenant's limits, over")?;
                ResourceFile::ALL.iter().try_for_each(|file| write!(f, " {}", file.covers()))
            }
            Self::Credentials { files } => {
                write!(f, "/{CREDENTIALS} tmpfs ro, for root alone:")?;
                files.iter().try_for_each(|file| write!(f, " {file}"))
            }
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(tree) => write!(f, "image is {}", tree.display()),
            Self::Erofs { image, mount } => {
                write!(f, "image is {}, erofs, mounted once at {}", image.file.display(), mount.display())?;
                match &image.verity {
                    Some(tree) => write!(f, ", verified against {}", tree.root_hash),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for NicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.link {
            LinkPlan::Routed { .. } => "routed",
            LinkPlan::Bridge { .. } => "bridge",
            LinkPlan::Macvlan { .. } => "macvlan",
            LinkPlan::Phys { .. } => "phys",
            LinkPlan::Vlan { .. } => "vlan",
        };
        write!(f, "{mode} {}", self.name)?;
        for altname in &self.altnames {
            write!(f, " ({altname})")?;
        }
        if let Some(mac) = self.mac {
            write!(f, " {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        for address in &self.addresses {
            write!(f, " {address}")?;
        }
        for gateway in &self.gateways {
            write!(f, " default via {gateway}")?;
        }
        if self.metric > 0 && !self.gateways.is_empty() {
            write!(f, " metric {}", self.metric)?;
        }
        for route in &self.routes {
            write!(f, " route {route}")?;
        }
        match &self.link {
            LinkPlan::Routed { .. } => {}
            LinkPlan::Bridge { bridge, .. } => write!(f, " on bridge {bridge}")?,
            LinkPlan::Macvlan { parent, submode } => {
                let submode = format!("{submode:?}").to_lowercase();
                write!(f, " on {parent} as {submode}")?;
            }
            LinkPlan::Phys { nic, index } => write!(f, " is {nic}, index {index}")?,
            LinkPlan::Vlan { parent, id } => write!(f, " is VLAN {id} of {parent}")?,
        }
        match self.port() {
            Some(port) => {
                let PortPlan { host_name, altname, host_mac, group } = port;
                write!(f, " over {host_name} ({altname}) {host_mac} group {group:#x}")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tenant      {} at {}", self.tenant, self.digest)?;
        writeln!(f, "cgroup      {} owner {}", self.cgroup.payload.display(), self.cgroup.owner)?;
        let controllers = self.cgroup.controllers.join(" ");
        writeln!(f, "cgroup      {controllers} delegated, where the unit has them")?;
        writeln!(f, "cgroup      at most {} descendants", self.cgroup.max_descendants)?;
        for key in KEYS.iter().filter(|key| key.is_limit()) {
            let Some(limit) = self.limits.get(key.name) else { continue };
            let default = self.limits.by_default.contains(&key.name);
            let whose = if default { ", the default of this host" } else { "" };
            writeln!(f, "limit       {} {}{whose}", key.name, key.range.show(limit))?;
        }
        for rule in &self.devices.allowed {
            writeln!(f, "device      {rule}")?;
        }
        for driver in &self.drivers {
            writeln!(f, "driver      {driver}")?;
        }
        for RefusedSysctl { path, reason } in &self.refused_sysctls {
            writeln!(f, "sysctl      {path} read-only: {reason}")?;
        }
        writeln!(f, "user        0-65535 map to {} on the host", self.uids)?;
        let time = if self.time_namespace { " time" } else { "" };
        writeln!(f, "namespaces  user pid mount uts ipc net cgroup{time}")?;
        writeln!(f, "namespaces  at most {} of each kind inside", self.namespaces_max)?;
        if self.attach_layers {
            writeln!(f, "root        overlay layers attached in a separate mount namespace")?;
        }
        writeln!(f, "root        {}", self.image)?;
        for step in &self.root {
            writeln!(f, "root        {step}")?;
        }
        for nic in &self.nics {
            writeln!(f, "network     {nic}")?;
        }
        if let Some(note) = &self.forwarding6 {
            let note = note.display();
            writeln!(
                f,
                "network     IPv6 forwarding enabled on the whole host; previous value saved in {note}"
            )?;
        }
        if let Some(filter) = &self.filter {
            write!(f, "{filter}")?;
        }
        writeln!(f, "terminals   console and {} ttys", self.ttys)?;
        for capability in &self.security.capabilities {
            writeln!(f, "keep        {capability}")?;
        }
        if let Some(profile) = &self.security.apparmor {
            writeln!(f, "keep        what the AppArmor profile {profile} allows")?;
        }
        if self.security.no_new_privs {
            writeln!(f, "keep        nothing more by set-user-ID or file capabilities")?;
        }
        for call in &self.security.allowed {
            writeln!(f, "allow       {call}")?;
        }
        for deny in &self.security.denied {
            writeln!(f, "deny        {deny}")?;
        }
        let (newest, number) = self.security.newest;
        writeln!(f, "deny        x32, and calls newer than {newest}, {number}: ENOSYS (not reviewed)")?;
        writeln!(f, "hostname    {}", self.init.hostname)?;
        for (key, value) in &self.init.env {
            writeln!(f, "env         {key}={}", value.escape_debug())?;
        }
        for (key, value) in &self.init.sysctl {
            writeln!(f, "sysctl      {key} = {}", value.escape_debug())?;
        }
        if let Some(text) = self.init.resolv_conf() {
            writeln!(f, "resolver    {}", text.trim_end().replace('\n', ", "))?;
        }
        if self.init.process == FirstProcess::Reaper {
            writeln!(f, "init        forwards signals, reaps children, exits with the program's exit code")?;
        }
        writeln!(f, "exec        {}", self.init.argv.join(" ").escape_debug())?;
        writeln!(f, "ready       {} within {} s", self.init.ready, self.init.start_timeout.as_secs())?;
        if let Some(idle) = &self.idle {
            writeln!(f, "idle        parked after {} s", idle.after.as_secs())?;
        }
        if let Some(stand_in) = &self.stand_in {
            writeln!(f, "parked      stopped, {} in its place", stand_in.name)?;
        }
        writeln!(
            f,
            "stop        with {}, killed after {} s",
            self.init.stop,
            self.init.stop_timeout.as_secs()
        )
    }
}
