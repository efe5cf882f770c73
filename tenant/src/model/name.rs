//! The name of a tenant.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A tenant's name: an RFC 1123 label in lower case that starts with a letter, 1 to 48 bytes.
///
/// It is used, unescaped, as a host name, a unit instance (`tenant@NAME`), a directory, a cgroup and
/// an interface altname (`ve-NAME`), so it admits only what all of them admit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantName(String);

/// Why a string is not a tenant name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name:?} is not a tenant name: {reason}")]
pub struct InvalidName {
    name: String,
    reason: &'static str,
}

impl InvalidName {
    /// What a valid name looks like, for the `help:` line.
    pub const HELP: &'static str =
        "use 1 to 48 characters of a-z, 0-9 and '-', starting with a letter and not ending in '-'";
}

impl TenantName {
    /// Longest name in bytes.
    pub const MAX: usize = 48;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let refuse = |reason| {
            let name: String = name.chars().take(64).collect();
            Err(InvalidName { name, reason })
        };
        let bytes = name.as_bytes();
        match bytes {
            [] => return refuse("it is empty"),
            [first, ..] if !first.is_ascii_lowercase() => {
                return refuse("it does not start with a lower-case letter");
            }
            [.., b'-'] => return refuse("it ends in '-'"),
            _ => {}
        }
        if bytes.len() > Self::MAX {
            return refuse("it is longer than 48 bytes");
        }
        let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        if !bytes.iter().all(allowed) {
            return refuse("it contains a character other than a-z, 0-9 and '-'");
        }
        Ok(Self(name.to_owned()))
    }
}

super::text::text_form!(TenantName, InvalidName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_every_place_it_is_used_in() {
        for good in ["a", "alice", "web-01", &"a".repeat(48)] {
            assert_eq!(good.parse::<TenantName>().unwrap().as_str(), good);
        }
        for bad in ["", "Alice", "1a", "-a", "a-", "a_b", "a.b", "a/b", "a\n", "ä", "..", &"a".repeat(49)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad:?} was accepted");
        }
    }
}
