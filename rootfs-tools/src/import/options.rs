//! How something is imported.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tenant::files::file_error::FileError;

use super::{idmap::IdMap, path};
use crate::{
    archive::{ArchiveError, Fault, Reason},
    explain::{Explain, Outcome},
    progress::Progress,
    tool::ToolError,
    tree::TreeError,
};

/// What an archive may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 2_000_000, bytes: 64 << 30 }
    }
}

/// How something is imported.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What an archive may hold at most.
    pub limits: Limits,
    /// Map of owners on disk to ids inside.
    pub idmap: IdMap,
    /// The directory in it that is the root filesystem; empty for everything, without looking for one.
    pub strip_prefix: Option<PathBuf>,
}

impl Options {
    /// Takes a prefix as it is written: `./rootfs/`, `/rootfs` and `rootfs` are one.
    ///
    /// # Errors
    /// It is too long, or has `..` in it.
    pub fn with_prefix(self, prefix: &Path) -> Result<Self, Reason> {
        Ok(Self { strip_prefix: Some(path::relative(prefix.as_os_str())?), ..self })
    }
}
