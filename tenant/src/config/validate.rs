//! Merged fragments to a valid tenant.

use std::time::Duration;

use super::{
    dirs::{check_dirs, paths},
    error::{ConfigError, clean_text, in_range},
    keys::{Fragment, defaults},
    network::{domains, forwards},
    nic::nics,
    process::{argv, capabilities, environment, hostname},
    signal::InvalidSignal,
    sysctl::sysctl,
    tenant::{Features, Tenant},
};
use crate::model::{
    follow::Follow,
    image::{ChannelName, ImageRef, ProfileName, VersionRef},
    label::MOST_LABELS,
    limits::{ByteSize, Count, DefaultLimits, DiskLimits, Limits, Seconds},
    name::TenantName,
};

/// Size of `/dev/shm` where there is no limit of memory to take half of.
const SHM_WITHOUT_LIMIT: ByteSize = ByteSize(256 << 20);

fn duration(time: Option<Seconds>) -> Duration {
    Duration::from_secs(time.map_or(0, |time| time.0).into())
}

/// Half of the memory that a tenant may have, as tmpfs(5) has half of the machine's.
fn shm(limits: &Limits) -> ByteSize {
    limits.most("memory_max").map_or(SHM_WITHOUT_LIMIT, |memory| ByteSize(memory / 2))
}

fn disk(max: Option<ByteSize>, inodes: Option<Count>) -> DiskLimits {
    DiskLimits {
        max: max.filter(|max| *max != ByteSize::MAX),
        inodes: inodes.filter(|most| *most != Count::MAX).map(|most| most.0),
    }
}

/// The channel that a tenant follows: the one it names, else that of its image.
fn follow(image: &ImageRef, named: Option<Follow>) -> Result<Option<ChannelName>, ConfigError> {
    match (&image.version, named) {
        (VersionRef::Prefix(_), Some(_)) => Err(ConfigError::new(
            "follow",
            format!("the tenant is pinned to a version by its image, {image}"),
        )),
        (VersionRef::Prefix(_), None) => Ok(None),
        (VersionRef::Channel(_), Some(Follow(channel))) => Ok(Some(channel)),
        (VersionRef::Channel(channel), None) => Ok(Some(channel.clone())),
    }
}

impl Tenant {
    /// A tenant from its profile, its own file, and the limits that the host gives where neither has one.
    ///
    /// # Errors
    /// The first key whose value is out of range, missing or at odds with another.
    pub fn new(
        name: TenantName,
        profile_name: ProfileName,
        profile: Fragment,
        own: Fragment,
        host: &DefaultLimits,
    ) -> Result<Self, ConfigError> {
        if own.kind.is_some() {
            return Err(ConfigError::new(
                "kind",
                "it can be set only in a profile; select another `profile`",
            ));
        }
        let merged = defaults().clone().overlaid(profile).overlaid(own);
        merged.check_bounds()?;
        let mut limits = merged.limits();
        if let (Some(high), Some(max)) = (limits.get("memory_high"), limits.get("memory_max"))
            && high > max
        {
            let (high, max) = (ByteSize(high), ByteSize(max));
            return Err(ConfigError::new("memory_high", format!("{high} is above memory_max, {max}")));
        }
        // Where there are none, to lay files over those of the kernel would tell nothing, and every boot would pay for it.
        let has_own =
            ["memory_max", "memory_swap_max", "cpu_quota"].iter().any(|key| limits.get(key).is_some());
        limits.fill(host);
        let image = merged
            .image
            .ok_or_else(|| ConfigError::new("image", "it is set neither by the tenant nor by its profile"))?;
        let follow = follow(&image, merged.follow)?;
        let kind = merged.kind.ok_or_else(|| ConfigError::new("kind", "the profile does not set it"))?;
        let own_hostname = merged.hostname.unwrap_or_else(|| name.as_str().to_owned());
        hostname(&own_hostname)?;
        environment(&merged.env)?;
        sysctl(&merged.sysctl)?;
        merged.description.iter().try_for_each(|text| clean_text("description", text, 1024))?;
        in_range("labels", merged.labels.len(), 0, MOST_LABELS)?;
        in_range("dns", merged.dns.as_ref().map_or(0, Vec::len), 0, 3)?;
        let nics = nics(merged.nic.unwrap_or_default())?;
        let root = required("root", merged.root)?;
        let tenant = Self {
            profile: profile_name,
            kind,
            description: merged.description,
            labels: merged.labels,
            image,
            follow,
            hostname: own_hostname,
            autostart: required("autostart", merged.autostart)?,
            restart: required("restart", merged.restart)?,
            start_priority: required("start_priority", merged.start_priority)?,
            init: argv("init", merged.init)?,
            env: merged.env,
            stop_signal: merged
                .stop_signal
                .map(|signal| signal.parse())
                .transpose()
                .map_err(|error: InvalidSignal| ConfigError::new("stop_signal", error.to_string()))?,
            stop_timeout: duration(merged.stop_timeout_sec),
            start_timeout: duration(merged.start_timeout_sec),
            ready: merged.ready,
            idle: required("idle", merged.idle)?,
            park: required("park", merged.park)?,
            idle_after: duration(merged.idle_after_sec),
            ttys: required("ttys", merged.ttys)?,
            pts_max: required("pts_max", merged.pts_max)?,
            getty: argv("getty", merged.getty)?,
            console_log: required("console_log", merged.console_log)?.0,
            console_journal: required("console_journal", merged.console_journal)?,
            root,
            paths: paths(root, merged.paths)?,
            dirs: merged.dirs,
            shm_max: merged.shm_max.unwrap_or_else(|| shm(&limits)),
            limits,
            disk: disk(merged.disk_max, merged.inodes_max),
            show_limits: merged.show_limits.unwrap_or(has_own),
            cgroups_max: required("cgroups_max", merged.cgroups_max)?,
            namespaces_max: required("namespaces_max", merged.namespaces_max)?,
            forwards: forwards(merged.ports, &nics)?,
            nics,
            group: merged.group,
            net_rate: merged.net_rate,
            dns: merged.dns,
            dns_search: domains("dns_search", merged.dns_search.unwrap_or_default())?,
            sysctl: merged.sysctl,
            devices: merged.devices,
            features: Features {
                tun: required("tun", merged.tun)?,
                fuse: required("fuse", merged.fuse)?,
                wireguard: required("wireguard", merged.wireguard)?,
            },
            drop_capabilities: capabilities(merged.drop_capabilities.unwrap_or_default())?,
            apparmor: merged.apparmor,
            no_new_privs: required("no_new_privs", merged.no_new_privs)?,
            allow_syscalls: merged.allow_syscalls.unwrap_or_default(),
            name,
        };
        check_dirs(&tenant)?;
        if u32::from(tenant.ttys) + 1 > tenant.pts_max {
            return Err(ConfigError::new("pts_max", "it is too small for the console and the ttys"));
        }
        Ok(tenant)
    }
}

/// A key that the table of keys has a default for.
fn required<T>(key: &str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or_else(|| ConfigError::new(key, "it is required"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Signal, parse_toml};

    fn tenant(own: &str) -> Result<Tenant, ConfigError> {
        let profile = parse_toml("kind = \"shared-os\"\nimage = \"debian\"\n").unwrap();
        let name = "alice".parse().unwrap();
        let own = parse_toml(own).unwrap();
        Tenant::new(name, "shared-os".parse().unwrap(), profile, own, &DefaultLimits::default())
    }

    #[test]
    fn a_tenant_follows_the_channel_it_names_or_that_of_its_image_unless_it_is_pinned() {
        for (text, channel) in [
            ("", Some("stable")),
            ("image = \"debian:testing\"", Some("testing")),
            ("image = \"debian:testing\"\nfollow = \":edge\"", Some("edge")),
            ("image = \"debian@0123456789ab\"", None),
        ] {
            let follow = tenant(text).unwrap().follow;
            assert_eq!(follow.as_ref().map(ChannelName::as_str), channel, "{text}");
        }
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (text, key) in [
            ("hostname = \"a b\"", "hostname"),
            ("ttys = 64", "ttys"),
            ("start_priority = 1001", "start_priority"),
            ("image = \"debian@0123456789ab\"\nfollow = \":stable\"", "follow"),
            ("init = [\"sh\"]", "init"),
            ("stop_signal = \"SIGFOO\"", "stop_signal"),
            ("stop_signal = \"SIGRTMIN+99\"", "stop_signal"),
            ("stop_timeout_sec = 0", "stop_timeout_sec"),
            ("memory_high = \"2G\"\nmemory_max = \"1G\"", "memory_high"),
            ("tasks_max = 1", "tasks_max"),
            ("disk_max = \"1K\"", "disk_max"),
            ("inodes_max = 10", "inodes_max"),
            ("env.\"A=B\" = \"x\"", "env.A=B"),
            ("env.A = \"x\\ny\"", "env.A"),
            ("kind = \"os\"", "kind"),
            ("dirs.\"/proc/x\" = \"tmpfs\"", "dirs.\"/proc/x\""),
            ("dirs.\"/var/x\" = \"overlay\"", "dirs.\"/var/x\""),
            ("dirs.\"/d\" = { bind = \"x/../y\" }", "dirs.\"/d\""),
            ("dirs.\"/run\" = \"private\"", "dirs.\"/run\""),
            ("dirs.\"/run\" = \"overlay\"", "dirs.\"/run\""),
            ("dirs.\"/tmp\" = \"shared\"", "dirs.\"/tmp\""),
            ("dirs.\"/tmp\" = \"empty\"", "dirs.\"/tmp\""),
            ("shm_max = \"1K\"", "shm_max"),
            ("[[nic]]\nmode = \"routed\"\nlink = \"br0\"", "nic[0].link"),
            ("[[nic]]\nmode = \"bridge\"", "nic[0].link"),
            ("[[nic]]\nmode = \"vlan\"\nlink = \"e0\"\nvlan = 4095", "nic[0].vlan"),
            ("[[nic]]\nmode = \"routed\"\n[[nic]]\nmode = \"routed\"\nname = \"eth0\"", "nic[1].name"),
            (
                "[[nic]]\nmode = \"phys\"\nlink = \"e0\"\npool = \"p\"\naddresses = [\"10.0.0.2/24\"]",
                "nic[0].pool",
            ),
            ("ports = \"22:22,22:80\"\n[[nic]]\nmode = \"routed\"", "ports"),
            ("ports = \"22:22\"\nnic = []", "ports"),
            ("sysctl.\"kernel.panic\" = \"1\"", "sysctl.\"kernel.panic\""),
            ("sysctl.\"net.ipv4/../x\" = \"1\"", "sysctl.\"net.ipv4/../x\""),
            (
                "sysctl.\"net.netfilter.nf_hooks_lwtunnel\" = \"1\"",
                "sysctl.\"net.netfilter.nf_hooks_lwtunnel\"",
            ),
            ("drop_capabilities = [\"CAP_NOTHING\"]", "drop_capabilities"),
            ("root = \"paths\"", "paths"),
            ("paths = [\"/usr\"]", "paths"),
            ("dns_search = [\"a b\"]", "dns_search"),
        ] {
            assert_eq!(tenant(text).unwrap_err().key, key, "{text}");
        }
    }

    #[test]
    fn an_empty_file_is_a_tenant_with_the_profiles_values() {
        let tenant = tenant("").unwrap();
        assert_eq!((tenant.hostname.as_str(), tenant.ttys), ("alice", 6));
        assert_eq!(tenant.shm_max, ByteSize(256 << 20));
        assert_eq!("SIGRTMIN+3".parse::<Signal>().unwrap().number(), 37);
        assert_eq!("SIGRTMIN+3".parse::<Signal>().unwrap().to_string(), "SIGRTMIN+3");
    }

    #[test]
    fn shared_memory_follows_the_limit_of_memory() {
        for (text, size) in [
            ("memory_max = \"1G\"", 512 << 20),
            ("memory_max = \"4M\"", 2 << 20),
            ("memory_max = \"1G\"\nshm_max = \"2G\"", 2 << 30),
        ] {
            assert_eq!(tenant(text).unwrap().shm_max, ByteSize(size), "{text}");
        }
        let defaults = DefaultLimits { memory_max: Some(ByteSize(1 << 30)), tasks_max: None };
        for (text, size) in
            [("", 512 << 20), ("memory_max = \"4M\"", 2 << 20), ("memory_high = \"2G\"", 256 << 20)]
        {
            let (name, profile) = ("alice".parse().unwrap(), "kind = \"shared-os\"\nimage = \"debian\"\n");
            let (profile, own) = (parse_toml(profile).unwrap(), parse_toml(text).unwrap());
            let tenant = Tenant::new(name, "shared-os".parse().unwrap(), profile, own, &defaults).unwrap();
            assert_eq!(tenant.shm_max, ByteSize(size), "{text} on a host with a default limit");
        }
    }
}
