//! One name in a tree.

use std::path::PathBuf;

use crate::{digest::ContentHash, tree::Kind};

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Path below the root of the tree, without a leading `/`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner on disk.
    pub uid: u32,
    /// Group on disk.
    pub gid: u32,
    /// Size in bytes; 0 for all but files.
    pub size: u64,
    /// SHA-256 of a file's content; none for all but files.
    pub sha256: Option<ContentHash>,
    /// SHA-256 of its extended attributes, names and values; none if it has no attributes.
    pub xattrs: Option<ContentHash>,
    /// Names of one file (hard links) have the same number; none if it has one name.
    pub inode: Option<u64>,
}
