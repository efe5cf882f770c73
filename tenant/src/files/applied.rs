//! `carried.toml`: which state of a tenant's file has been carried to its unit and its directories.
//!
//! hostd writes it, after it has made the directories that the file asks for and set the unit's properties to
//! the file's limits. A supervisor that systemd starts compares it with the file: where an admin has edited
//! that by hand since, it asks hostd to carry it first.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::{ids::Digest, limits::Limits},
};

/// The contents of `carried.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedConfig {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// Digest of the file's text.
    pub file: Digest,
    /// The limits that followed from it.
    #[serde(default)]
    pub limits: Limits,
}

impl AppliedConfig {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// What is to be written once a file's text has been carried.
    pub fn new(text: &str, limits: Limits) -> Self {
        Self { format_version: Self::FORMAT_VERSION, file: digest(text), limits }
    }

    /// Whether this very text has been carried.
    pub fn is_of(&self, text: &str) -> bool {
        self.file == digest(text)
    }

    /// Reads `carried.toml`; none where nothing was carried, or by a release with another format.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        match record::read(path) {
            Ok(text) => Ok(toml::from_str(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces `carried.toml`.
    ///
    /// # Errors
    /// What [`record::write`] says.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let text = toml::to_string(self).expect("it has only types that TOML can hold");
        record::write(path, text.as_bytes(), Durability::Durable)
    }
}

fn digest(text: &str) -> Digest {
    Digest::from_bytes(Sha256::digest(text.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_applied_file_is_known_by_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("carried.toml");
        assert_eq!(AppliedConfig::read(&path).unwrap(), None);
        let mut limits = Limits::default();
        limits.set("tasks_max", 7);
        let applied = AppliedConfig::new("tasks_max = 7\n", limits);
        applied.write(&path).unwrap();
        let read = AppliedConfig::read(&path).unwrap().unwrap();
        assert_eq!(read, applied);
        assert!(read.is_of("tasks_max = 7\n") && !read.is_of("tasks_max = 8\n"));
    }
}
