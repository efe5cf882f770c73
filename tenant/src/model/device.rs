//! Rules for device nodes, in the notation of the cgroup v1 devices controller, `c 136:* rw`, and drivers that are
//! given by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which device nodes a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceClass {
    /// `a`: every device.
    All,
    /// `b`: block devices.
    Block,
    /// `c`: character devices.
    Char,
}

/// One line of an allow list, see the kernel's `Documentation/admin-guide/cgroup-v1/devices.rst`.
///
/// As text: `a`, or class, major and minor number (`*` is any), and what is allowed: `r` read, `w` write,
/// `m` mknod(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceRule {
    /// Which nodes.
    pub class: DeviceClass,
    /// Major number, 0 to 4095; none is any.
    pub major: Option<u32>,
    /// Minor number, 0 to 1,048,575; none is any.
    pub minor: Option<u32>,
    /// open(2) for reading.
    pub read: bool,
    /// open(2) for writing.
    pub write: bool,
    /// mknod(2).
    pub mknod: bool,
}

/// A string that is not a rule for devices.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a device rule: {reason}; write e.g. \"c 136:* rw\"")]
pub struct InvalidDeviceRule {
    text: String,
    reason: &'static str,
}

impl FromStr for DeviceRule {
    type Err = InvalidDeviceRule;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceRule> {
        let refuse = |reason| InvalidDeviceRule { text: text.chars().take(64).collect(), reason };
        let mut words = text.split_ascii_whitespace();
        let class = match words.next() {
            Some("a") => DeviceClass::All,
            Some("b") => DeviceClass::Block,
            Some("c") => DeviceClass::Char,
            _ => return Err(refuse("it does not start with a, b or c")),
        };
        let (numbers, access) = match (words.next(), words.next(), words.next()) {
            (None, ..) if class == DeviceClass::All => ("*:*", "rwm"),
            (Some(numbers), access, None) => (numbers, access.unwrap_or("rwm")),
            _ => return Err(refuse("it does not consist of class, numbers and access")),
        };
        let (major, minor) =
            numbers.split_once(':').ok_or_else(|| refuse("its numbers do not have the form MAJOR:MINOR"))?;
        let number = |text: &str, max: u32| match text {
            "*" => Ok(None),
            _ if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
                Err(refuse("a number is neither decimal nor *"))
            }
            _ => match text.parse() {
                Ok(number) if number <= max => Ok(Some(number)),
                _ => Err(refuse("a number is too large")),
            },
        };
        if access.is_empty() || !access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm')) {
            return Err(refuse("its access contains characters other than r, w and m"));
        }
        let rule = Self {
            class,
            major: number(major, 4095)?,
            minor: number(minor, 1_048_575)?,
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        };
        if class == DeviceClass::All && (rule.major.is_some() || rule.minor.is_some()) {
            return Err(refuse("class a takes no numbers"));
        }
        Ok(rule)
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            DeviceClass::All => 'a',
            DeviceClass::Block => 'b',
            DeviceClass::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{class} {}:{} ", number(self.major), number(self.minor))?;
        for (allowed, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if allowed {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for DeviceRule {
    type Error = InvalidDeviceRule;

    fn try_from(text: String) -> Result<Self, InvalidDeviceRule> {
        text.parse()
    }
}

impl From<DeviceRule> for String {
    fn from(rule: DeviceRule) -> Self {
        rule.to_string()
    }
}

/// A driver that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Interfaces that a program is behind: `/dev/net/tun`.
    Tun,
    /// Filesystems that a program is behind: `/dev/fuse`.
    Fuse,
    /// Interfaces of the type `wireguard`.
    WireGuard,
}

impl Driver {
    /// The key of a tenant's file that asks for it, which is also the name of its module.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Fuse => "fuse",
            Self::WireGuard => "wireguard",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tun => "TUN/TAP",
            Self::Fuse => "FUSE",
            Self::WireGuard => "WireGuard",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_alike() {
        for text in ["c 136:* rw", "c 1:3 rwm", "b 8:0 r", "a *:* rwm"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        assert_eq!("a".parse::<DeviceRule>().unwrap().to_string(), "a *:* rwm");
        assert_eq!("c  5:2".parse::<DeviceRule>().unwrap().to_string(), "c 5:2 rwm");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "x 1:3 r", "c", "c 1 rw", "c 1:3 x", "c 1:-3 r", "c 4096:1 r", "a 1:3 r", "c 1:3 r w"]
        {
            assert!(text.parse::<DeviceRule>().is_err(), "{text:?} was accepted");
        }
    }
}
