//! Merged fragments to a valid tenant.

use std::{fmt, str::FromStr, time::Duration};

use super::{Fragment, Nic, NicMode, Policy, RootMode, Tenant};
use crate::{image::ProfileName, limits::ByteSize, name::TenantName};

/// A signal number with its name, e.g. `SIGRTMIN+3`; see signal(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// glibc keeps the first two real-time signals of the kernel (32, 33) to itself.
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;

    /// The signal's number on this architecture.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = || ConfigError::new("stop_signal", format!("{text:?} is not the name of a signal"));
        if let Some(offset) = text.strip_prefix("SIGRTMIN+") {
            let offset: i32 = offset.parse().map_err(|_| refuse())?;
            return (0..=Self::RTMAX - Self::RTMIN)
                .contains(&offset)
                .then_some(Self(Self::RTMIN + offset))
                .ok_or_else(refuse);
        }
        nix::sys::signal::Signal::from_str(text).map(|signal| Self(signal as i32)).map_err(|_| refuse())
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
    fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
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

fn in_range<T: PartialOrd + fmt::Display>(key: &str, value: T, min: T, max: T) -> Result<T, ConfigError> {
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
        return Err(ConfigError::new(key, "it has a control character"));
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

fn nics(fragments: Option<Vec<super::NicFragment>>) -> Result<Vec<Nic>, ConfigError> {
    let mut nics: Vec<Nic> = Vec::new();
    for fragment in fragments.unwrap_or_default() {
        if fragment.mode == NicMode::None {
            continue;
        }
        let key = format!("nic[{}]", nics.len());
        let name = fragment.name.unwrap_or_else(|| format!("eth{}", nics.len()));
        let good = (1..=15).contains(&name.len())
            && name != "lo"
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && name != "."
            && name != "..";
        if !good {
            return Err(ConfigError::new(key, format!("{name:?} is not a name for an interface")));
        }
        if nics.iter().any(|nic| nic.name == name) {
            return Err(ConfigError::new(key, format!("two interfaces are named {name:?}")));
        }
        let mtu = in_range(&key, fragment.mtu.unwrap_or(1500), 1280, 65_535)?;
        nics.push(Nic { mode: fragment.mode, name, mtu });
    }
    if nics.iter().filter(|nic| nic.mode == NicMode::Routed).count() > 1 {
        return Err(ConfigError::new("nic", "a tenant has one routed interface, because it has one address"));
    }
    Ok(nics)
}

fn check_dirs(tenant: &Tenant) -> Result<(), ConfigError> {
    for (path, policy) in &tenant.dirs {
        let key = || format!("dirs.\"{path}\"");
        if matches!(path.top(), "proc" | "sys" | "dev") {
            return Err(ConfigError::new(key(), "it lies in a directory that every tenant gets fresh"));
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
                return Err(ConfigError::new(
                    key(),
                    "below the top level only \"tmpfs\" and a bind are possible",
                ));
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty
                if tenant.root == RootMode::Overlay =>
            {
                return Err(ConfigError::new(
                    key(),
                    "with root = \"overlay\" only tmpfs and binds are possible",
                ));
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty => {}
        }
    }
    Ok(())
}

impl Tenant {
    /// A tenant from its profile and its own file.
    ///
    /// # Errors
    /// The first key whose value is out of range, missing or at odds with another.
    pub fn new(
        name: TenantName,
        profile_name: ProfileName,
        profile: Fragment,
        own: Fragment,
    ) -> Result<Self, ConfigError> {
        if own.kind.is_some() {
            return Err(ConfigError::new("kind", "only a profile has it; choose another `profile`"));
        }
        let merged = profile.overlaid(own);
        let limits = merged.limits();
        let image =
            merged.image.ok_or_else(|| ConfigError::new("image", "neither tenant nor profile has it"))?;
        let kind = merged.kind.ok_or_else(|| ConfigError::new("kind", "the profile does not say it"))?;
        let host = merged.hostname.unwrap_or_else(|| name.as_str().to_owned());
        hostname(&host)?;
        for (key, value) in &merged.env {
            let dotted = format!("env.{key}");
            clean_text(&dotted, value, 4096)?;
            let good = !key.is_empty()
                && !key.starts_with(|c: char| c.is_ascii_digit())
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                return Err(ConfigError::new(dotted, "it is not the name of an environment variable"));
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
        let tenant = Self {
            profile: profile_name,
            kind,
            image,
            hostname: host,
            autostart: merged.autostart.unwrap_or(false),
            init: argv("init", merged.init)?,
            env: merged.env,
            stop_signal: merged.stop_signal.map(|signal| signal.parse()).transpose()?,
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
            root: merged.root.unwrap_or(RootMode::Skeleton),
            dirs: merged.dirs,
            limits,
            cgroups_max: in_range("cgroups_max", merged.cgroups_max.unwrap_or(1024), 8, 65_536)?,
            nics: nics(merged.nic)?,
            name,
        };
        check_dirs(&tenant)?;
        if u32::from(tenant.ttys) + 1 > tenant.pts_max {
            return Err(ConfigError::new("pts_max", "it leaves no room for the console and the ttys"));
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
        Tenant::new(name, "shared-os".parse().unwrap(), profile, parse_toml(own).unwrap())
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (text, key) in [
            ("hostname = \"a b\"", "hostname"),
            ("ttys = 64", "ttys"),
            ("init = [\"sh\"]", "init"),
            ("stop_signal = \"SIGFOO\"", "stop_signal"),
            ("stop_signal = \"SIGRTMIN+99\"", "stop_signal"),
            ("stop_timeout_sec = 0", "stop_timeout_sec"),
            ("memory_high = \"2G\"\nmemory_max = \"1G\"", "memory_high"),
            ("tasks_max = 1", "tasks_max"),
            ("env.\"A=B\" = \"x\"", "env.A=B"),
            ("env.A = \"x\\ny\"", "env.A"),
            ("kind = \"os\"", "kind"),
            ("dirs.\"/proc/x\" = \"tmpfs\"", "dirs.\"/proc/x\""),
            ("dirs.\"/var/x\" = \"overlay\"", "dirs.\"/var/x\""),
            ("dirs.\"/d\" = { bind = \"x/../y\" }", "dirs.\"/d\""),
            ("[[nic]]\nmode = \"routed\"\nname = \"a/b\"", "nic[0]"),
            ("[[nic]]\nmode = \"routed\"\n[[nic]]\nmode = \"routed\"", "nic"),
        ] {
            assert_eq!(tenant(text).unwrap_err().key, key, "{text}");
        }
    }

    #[test]
    fn an_empty_file_is_a_tenant_with_the_profiles_values() {
        let tenant = tenant("").unwrap();
        assert_eq!((tenant.hostname.as_str(), tenant.ttys), ("alice", 6));
        assert_eq!("SIGRTMIN+3".parse::<Signal>().unwrap().number(), 37);
        assert_eq!("SIGRTMIN+3".parse::<Signal>().unwrap().to_string(), "SIGRTMIN+3");
    }
}
