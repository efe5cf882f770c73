//! What is read again only when its file is another one.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// By what a file is known not to have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
    /// Whether every change of it is an event of its directory: it is a file, and not by another name in another directory.
    is_told: bool,
}

impl Stamp {
    /// Of the file at a path, where there is one.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut meta = fs::symlink_metadata(path).ok()?;
        let is_told = meta.is_file() && meta.nlink() == 1;
        if meta.is_symlink() {
            meta = fs::metadata(path).ok()?;
        }
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Self { inode: meta.ino(), length: meta.len(), changed, is_told })
    }

    /// Whether a change of the file is told by inotify(7) to one that watches its directory. That it comes to be is,
    /// unless its name is a link already.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }
}
