//! Merged fragments to a valid tenant.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use super::{Attachment, Features, Fragment, Nic, Policy, RootMode, Tenant};
use crate::model::{
    image::ProfileName,
    label::MOST_LABELS,
    limits::{ByteSize, DefaultLimits, DiskLimits},
    name::TenantName,
    net::Forward,
    path::TenantPath,
};

/// A signal number with its name, e.g. `SIGRTMIN+3`; see signal(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// glibc keeps the first two real-time signals of the kernel (32, 33) to itself.
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    /// Asks a program to end.
    pub const SIGTERM: Self = Self(libc::SIGTERM);
    /// Asks busybox's init to power off.
    pub const SIGUSR2: Self = Self(libc::SIGUSR2);
    /// `SIGRTMIN+3`, which asks systemd to halt.
    pub const SIGRTMIN_3: Self = Self(Self::RTMIN + 3);

    /// The signal's number on this architecture.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// A word that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a signal")]
pub struct InvalidSignal(String);

impl InvalidSignal {
    /// What a signal looks like.
    pub const HELP: &'static str = "e.g. SIGHUP, HUP, 1 or SIGRTMIN+4; see signal(7)";
}

impl FromStr for Signal {
    type Err = InvalidSignal;

    /// Takes what kill(1) takes: the name, with or without `SIG`, or the number.
    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let refuse = || InvalidSignal(text.to_owned());
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let real_time = |number: i32| (Self::RTMIN..=Self::RTMAX).contains(&number).then_some(Self(number));
        if let Ok(number) = name.parse::<i32>() {
            let known = nix::sys::signal::Signal::try_from(number).ok().map(|signal| Self(signal as i32));
            return known.or_else(|| real_time(number)).ok_or_else(refuse);
        }
        if let Some(offset) = name.strip_prefix("RTMIN") {
            let offset = if offset.is_empty() { "+0" } else { offset };
            let offset = offset.strip_prefix('+').and_then(|offset| offset.parse::<u8>().ok());
            return offset.and_then(|offset| real_time(Self::RTMIN + i32::from(offset))).ok_or_else(refuse);
        }
        nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
            .map(|signal| Self(signal as i32))
            .map_err(|_| refuse())
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "SIGRTMIN+{}", self.0 - Self::RTMIN),
        }
    }
}

/// `start_priority` of a tenant that does not say one.
pub const DEFAULT_START_PRIORITY: u16 = 500;

/// A configuration that parses and makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("key `{key}`: {reason}")]
pub struct ConfigError {
    /// The key at fault.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

fn seconds(key: &str, value: Option<u32>, default: u32) -> Result<Duration, ConfigError> {
    let value = value.unwrap_or(default);
    if (1..=3600).contains(&value) {
        Ok(Duration::from_secs(value.into()))
    } else {
        Err(ConfigError::new(key, format!("{value} is outside 1 to 3600 seconds")))
    }
}

pub(super) fn in_range<T: PartialOrd + fmt::Display>(
    key: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    if value < min || value > max {
        return Err(ConfigError::new(key, format!("{value} is outside {min} to {max}")));
    }
    Ok(value)
}

fn clean_text(key: &str, text: &str, longest: usize) -> Result<(), ConfigError> {
    if text.len() > longest {
        return Err(ConfigError::new(key, format!("it is longer than {longest} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(ConfigError::new(key, "it contains a control character"));
    }
    Ok(())
}

fn argv(key: &str, argv: Option<Vec<String>>) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(argv) = argv else { return Ok(None) };
    match argv.first() {
        Some(program) if program.starts_with('/') => {}
        _ => return Err(ConfigError::new(key, "it needs an absolute path as its first element")),
    }
    in_range(key, argv.len(), 1, 64)?;
    argv.iter().try_for_each(|argument| clean_text(key, argument, 4096))?;
    Ok(Some(argv))
}

fn hostname(text: &str) -> Result<(), ConfigError> {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(());
    }
    Err(ConfigError::new("hostname", format!("{text:?} is not a host name of at most 64 bytes")))
}

fn domains(key: &str, domains: Vec<String>) -> Result<Vec<String>, ConfigError> {
    in_range(key, domains.len(), 0, 6)?;
    for domain in &domains {
        let good = (1..=253).contains(&domain.len())
            && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !domain.starts_with('-');
        if !good {
            return Err(ConfigError::new(key, format!("{domain:?} is not a domain")));
        }
    }
    Ok(domains)
}

/// Files below `/proc/sys/net` that every network namespace has and that are the whole host's, and why. Which they are
/// is found by a test that writes all that a tenant can.
pub const HOST_SYSCTLS: [(&str, &str); 1] =
    [("net/netfilter/nf_hooks_lwtunnel", "it permanently enables hooks of the host's packet filter")];

/// Keys of the network namespace alone: every other sysctl(8) key is the host's or read-only inside.
fn sysctl(table: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (key, value) in table {
        let dotted = format!("sysctl.\"{key}\"");
        let good = key.len() <= 128
            && key.split('.').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/'))
            })
            && key.split(['.', '/']).all(|part| !part.is_empty());
        if !good || !key.starts_with("net.") {
            return Err(ConfigError::new(dotted, "a tenant can set only keys below \"net.\""));
        }
        // As in sysctl(8): a dot in a name of an interface is written as a slash.
        let path = key.replace('.', "/");
        if let Some((_, reason)) = HOST_SYSCTLS.iter().find(|(file, _)| *file == path) {
            return Err(ConfigError::new(dotted, format!("it applies to the whole host: {reason}")));
        }
        clean_text(&dotted, value, 256)?;
    }
    Ok(())
}

fn capabilities(names: Vec<String>) -> Result<Vec<String>, ConfigError> {
    for name in &names {
        if name.parse::<caps::Capability>().is_err() {
            let reason = format!("{name:?} is not the name of a capability, e.g. CAP_SYS_BOOT");
            return Err(ConfigError::new("drop_capabilities", reason));
        }
    }
    Ok(names)
}

fn forwards(merged: Option<crate::model::net::Forwards>, nics: &[Nic]) -> Result<Vec<Forward>, ConfigError> {
    let forwards = merged.map(|list| list.0).unwrap_or_default();
    for (number, forward) in forwards.iter().enumerate() {
        let port =
            |other: &Forward| (other.protocol, other.host_port) == (forward.protocol, forward.host_port);
        if forwards[..number].iter().any(port) {
            let reason =
                format!("port {}/{} of the host is forwarded twice", forward.host_port, forward.protocol);
            return Err(ConfigError::new("ports", reason));
        }
    }
    if !forwards.is_empty() && !nics.iter().any(|nic| matches!(nic.attachment, Attachment::Routed { .. })) {
        return Err(ConfigError::new("ports", "port forwards need a routed interface"));
    }
    Ok(forwards)
}

fn paths(root: RootMode, paths: Option<Vec<TenantPath>>) -> Result<Vec<TenantPath>, ConfigError> {
    match (root, paths) {
        (RootMode::Paths, Some(paths)) if !paths.is_empty() => {
            in_range("paths", paths.len(), 1, 256)?;
            Ok(paths)
        }
        (RootMode::Paths, _) => Err(ConfigError::new("paths", "root = \"paths\" needs at least one path")),
        (_, Some(_)) => Err(ConfigError::new("paths", "it can be used only with root = \"paths\"")),
        (_, None) => Ok(Vec::new()),
    }
}

fn check_dirs(tenant: &Tenant) -> Result<(), ConfigError> {
    for (path, policy) in &tenant.dirs {
        let key = || format!("dirs.\"{path}\"");
        if matches!(path.top(), "proc" | "sys" | "dev") {
            return Err(ConfigError::new(key(), "it is inside a directory that is created for every tenant"));
        }
        let unfit = match (path.as_str(), policy) {
            ("/run", Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty) => {
                Some("it must be empty at each boot: use tmpfs or a bind")
            }
            ("/tmp", Policy::Shared | Policy::Empty) => {
                Some("programs write there: use tmpfs, \"overlay\", \"private\" or a bind")
            }
            _ => None,
        };
        if let Some(reason) = unfit {
            return Err(ConfigError::new(key(), reason));
        }
        match policy {
            Policy::Tmpfs { size } => {
                in_range(&key(), *size, ByteSize(64 << 10), ByteSize(1 << 40))?;
            }
            Policy::Bind { source, .. } => {
                let text = source.to_string_lossy();
                let normal = source.is_absolute()
                    && source.components().all(|part| {
                        matches!(part, std::path::Component::Normal(_) | std::path::Component::RootDir)
                    });
                if !normal {
                    return Err(ConfigError::new(
                        key(),
                        format!("{text:?} is not an absolute, normalized path"),
                    ));
                }
                clean_text(&key(), &text, 4096)?;
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty if path.depth() > 1 => {
                return Err(ConfigError::new(key(), "below the top level use tmpfs or a bind"));
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty
                if tenant.root == RootMode::Overlay =>
            {
                return Err(ConfigError::new(key(), "with root = \"overlay\" use tmpfs or a bind"));
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty => {}
        }
    }
    Ok(())
}

/// Of `/dev/shm`: half of the memory that a tenant may have, as tmpfs(5) has half of the machine's. Without a limit
/// of memory there is nothing to take half of.
fn shm(max: Option<ByteSize>, memory_max: Option<ByteSize>) -> Result<ByteSize, ConfigError> {
    const WITHOUT_LIMIT: ByteSize = ByteSize(256 << 20);
    match max {
        Some(max) => in_range("shm_max", max, ByteSize(64 << 10), ByteSize(1 << 40)),
        None => Ok(memory_max.map_or(WITHOUT_LIMIT, |memory| ByteSize(memory.0 / 2))),
    }
}

/// A tenant that cannot hold its own `/etc` would not start.
fn disk(max: Option<ByteSize>, inodes: Option<u64>) -> Result<DiskLimits, ConfigError> {
    Ok(DiskLimits {
        max: max.map(|max| in_range("disk_max", max, ByteSize(1 << 20), ByteSize(1 << 50))).transpose()?,
        inodes: inodes.map(|inodes| in_range("inodes_max", inodes, 256, 1 << 32)).transpose()?,
    })
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
        defaults: &DefaultLimits,
    ) -> Result<Self, ConfigError> {
        if own.kind.is_some() {
            return Err(ConfigError::new(
                "kind",
                "it can be set only in a profile; select another `profile`",
            ));
        }
        let merged = profile.overlaid(own);
        let mut limits = merged.limits();
        let image = merged
            .image
            .ok_or_else(|| ConfigError::new("image", "it is set neither by the tenant nor by its profile"))?;
        let kind = merged.kind.ok_or_else(|| ConfigError::new("kind", "the profile does not set it"))?;
        let host = merged.hostname.unwrap_or_else(|| name.as_str().to_owned());
        hostname(&host)?;
        for (key, value) in &merged.env {
            let dotted = format!("env.{key}");
            clean_text(&dotted, value, 4096)?;
            let good = !key.is_empty()
                && !key.starts_with(|c: char| c.is_ascii_digit())
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                return Err(ConfigError::new(dotted, "it is not a valid name of an environment variable"));
            }
        }
        if let Some(tasks) = limits.tasks_max {
            in_range("tasks_max", tasks, 8, 4_194_304)?;
        }
        if let (Some(high), Some(max)) = (limits.memory_high, limits.memory_max)
            && high > max
        {
            return Err(ConfigError::new("memory_high", format!("{high} is above memory_max, {max}")));
        }
        if let Some(max) = limits.memory_max {
            in_range("memory_max", max, ByteSize(4 << 20), ByteSize(1 << 50))?;
        }
        limits.fill(defaults);
        sysctl(&merged.sysctl)?;
        in_range("labels", merged.labels.len(), 0, MOST_LABELS)?;
        in_range("dns", merged.dns.as_ref().map_or(0, Vec::len), 0, 3)?;
        let nics = super::nic::nics(merged.nic.unwrap_or_default())?;
        let root = merged.root.unwrap_or(RootMode::Skeleton);
        let tenant = Self {
            profile: profile_name,
            kind,
            labels: merged.labels,
            image,
            hostname: host,
            autostart: merged.autostart.unwrap_or(false),
            restart: merged.restart.unwrap_or_default(),
            start_priority: in_range(
                "start_priority",
                merged.start_priority.unwrap_or(DEFAULT_START_PRIORITY),
                0,
                1000,
            )?,
            init: argv("init", merged.init)?,
            env: merged.env,
            stop_signal: merged
                .stop_signal
                .map(|signal| signal.parse())
                .transpose()
                .map_err(|error: InvalidSignal| ConfigError::new("stop_signal", error.to_string()))?,
            stop_timeout: seconds("stop_timeout_sec", merged.stop_timeout_sec, 90)?,
            start_timeout: seconds("start_timeout_sec", merged.start_timeout_sec, 90)?,
            ready: merged.ready,
            ttys: in_range("ttys", merged.ttys.unwrap_or(6), 0, 63)?,
            pts_max: in_range("pts_max", merged.pts_max.unwrap_or(256), 16, 4096)?,
            getty: argv("getty", merged.getty)?,
            console_log: in_range(
                "console_log",
                merged.console_log.unwrap_or(ByteSize(128 << 10)),
                ByteSize(4 << 10),
                ByteSize(64 << 20),
            )?
            .0,
            console_journal: merged.console_journal.unwrap_or(true),
            root,
            paths: paths(root, merged.paths)?,
            dirs: merged.dirs,
            shm_max: shm(merged.shm_max, limits.memory_max)?,
            limits,
            disk: disk(merged.disk_max, merged.inodes_max)?,
            cgroups_max: in_range("cgroups_max", merged.cgroups_max.unwrap_or(1024), 8, 65_536)?,
            forwards: forwards(merged.ports, &nics)?,
            nics,
            group: merged.group,
            net_rate: merged.net_rate,
            dns: merged.dns,
            dns_search: domains("dns_search", merged.dns_search.unwrap_or_default())?,
            sysctl: merged.sysctl,
            devices: merged.devices,
            features: Features {
                tun: merged.tun.unwrap_or(false),
                fuse: merged.fuse.unwrap_or(false),
                wireguard: merged.wireguard.unwrap_or(false),
            },
            drop_capabilities: capabilities(merged.drop_capabilities.unwrap_or_default())?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_toml;

    fn tenant(own: &str) -> Result<Tenant, ConfigError> {
        let profile = parse_toml("kind = \"shared-os\"\nimage = \"debian\"\n").unwrap();
        let name = "alice".parse().unwrap();
        let own = parse_toml(own).unwrap();
        Tenant::new(name, "shared-os".parse().unwrap(), profile, own, &DefaultLimits::default())
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (text, key) in [
            ("hostname = \"a b\"", "hostname"),
            ("ttys = 64", "ttys"),
            ("start_priority = 1001", "start_priority"),
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
    fn a_signal_is_spelled_as_for_kill() {
        for (text, number) in [
            ("SIGKILL", 9),
            ("KILL", 9),
            ("kill", 9),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("RTMIN+4", 38),
            ("SIGRTMIN+30", 64),
            ("37", 37),
        ] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "SIG", "SIGNOTHING", "0", "-9", "65", "32", "SIGRTMIN+31", "RTMIN-1", "RTMIN+-1"] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is not a signal"));
        }
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
