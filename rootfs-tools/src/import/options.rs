//! How something is imported.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use filetree::archive::Reason;

use super::idmap::IdMap;
use crate::tree::MAX_DEPTH;

/// Longest path of an entry, bytes: with the staging directory's it stays below PATH_MAX.
const MAX_PATH: usize = 3 << 10;

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
        Ok(Self { strip_prefix: Some(relative(prefix.as_os_str())?), ..self })
    }
}

/// The path of an entry below the root: `/` and `.` are taken off, `..` is refused.
pub(super) fn relative(path: &OsStr) -> Result<PathBuf, Reason> {
    if path.is_empty() || path.len() > MAX_PATH || path.as_bytes().contains(&0) {
        return Err(Reason::Name);
    }
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) if name.len() <= 255 => relative.push(name),
            Component::Normal(_) => return Err(Reason::LongName),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Reason::ParentDir),
        }
    }
    if relative.components().count() > MAX_DEPTH {
        return Err(Reason::TooDeep);
    }
    Ok(relative)
}
