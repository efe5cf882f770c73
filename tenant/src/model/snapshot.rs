//! What was kept of a tenant's directories at one moment: `snapshot.toml`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{allocation::Pinned, image::Format};

/// The name of a snapshot of a tenant, unique among that tenant's: 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

/// Why a string is not the name of a snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not the name of a snapshot")]
pub struct InvalidSnapshotName(String);

impl InvalidSnapshotName {
    /// What a valid name looks like, for the `help:` line.
    pub const HELP: &'static str =
        "use 1 to 64 characters of a-z, A-Z, 0-9, '-', '_' and '.', starting with a letter or digit";
}

impl SnapshotName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotName {
    type Err = InvalidSnapshotName;

    fn from_str(name: &str) -> Result<Self, InvalidSnapshotName> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let bytes = name.as_bytes();
        let begins = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        match begins && bytes.len() <= 64 && bytes.iter().all(allowed) {
            true => Ok(Self(name.to_owned())),
            false => Err(InvalidSnapshotName(name.chars().take(80).collect())),
        }
    }
}

super::text::text_form!(SnapshotName, InvalidSnapshotName);

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// Its name.
    pub name: SnapshotName,
    /// When it was taken, RFC 3339 in UTC.
    pub taken: String,
    /// What it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Files, directories and links in it.
    pub entries: u64,
    /// Bytes of its files, holes not counted.
    pub bytes: u64,
    /// Whether the tenant was running and was not frozen while it was taken: each file is as it was at a moment of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// The version that the tenant had.
    pub pinned: Pinned,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its record is none.
    #[error("the record of the snapshot is malformed")]
    Malformed(#[from] toml::de::Error),
    /// Written by a newer release.
    #[error("the record of the snapshot has format_version {0}, but this release supports only 1")]
    Version(u32),
}

impl Snapshot {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;
    /// Name of its record.
    pub const FILE: &str = "snapshot.toml";

    /// Parses `snapshot.toml`.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn parse(text: &str) -> Result<Self, SnapshotError> {
        match toml::from_str::<Format>(text)?.format_version {
            Self::FORMAT_VERSION => Ok(toml::from_str(text)?),
            other => Err(SnapshotError::Version(other)),
        }
    }

    /// The text of `snapshot.toml`.
    pub fn render(&self) -> String {
        toml::to_string(self).expect("a snapshot has only types that TOML can hold")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_of_a_path() {
        for good in ["a", "20261129-071736", "before.upgrade_2", &"x".repeat(64)] {
            good.parse::<SnapshotName>().unwrap();
        }
        for bad in ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "ä", &"x".repeat(65)] {
            bad.parse::<SnapshotName>().unwrap_err();
        }
    }

    #[test]
    fn what_is_written_is_read_and_a_newer_format_is_refused() {
        let text = "format_version = 1\nname = \"a\"\ntaken = \"2026-01-02T03:04:05Z\"\nentries = 2\nbytes = 3\n\n\
                    [pinned]\nimage = \"debian\"\n\
                    digest = \"sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"\n";
        assert_eq!(Snapshot::parse(text).unwrap().render(), text);
        assert!(matches!(Snapshot::parse(&text.replace("= 1", "= 2")), Err(SnapshotError::Version(2))));
        assert!(matches!(Snapshot::parse("x"), Err(SnapshotError::Malformed(_))));
    }
}
