//! What happens to a directory.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, sync::Arc};

use super::tree::{Id, Inode, Names};

/// What was done to a directory.
#[derive(Debug)]
pub struct Recording {
    pub(super) top: Id,
    pub(super) names: Names,
    pub(super) inodes: HashMap<Id, Arc<Inode>>,
    pub(super) events: Vec<Event>,
}

/// Something that happened to the directory.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A file or directory is there, or is another one than before; not by which name.
    Inode(Id, Arc<Inode>),
    /// Names that one call changed.
    Names(Vec<Name>),
    /// What is in a file, or which names are in a directory, has been written out.
    Synced(Id),
    /// Everything has.
    AllSynced,
}

/// What one name in one directory was, and is.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) dir: Id,
    pub(super) name: OsString,
    pub(super) before: Option<Id>,
    pub(super) after: Option<Id>,
    /// For people.
    pub(super) path: PathBuf,
}
