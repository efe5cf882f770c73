//! What is checked, and how bad it can be.

use serde::Serialize;

use crate::{rootdir::RootDir, tree::Entry};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// The image works, but not well.
    Warning,
    /// Tenants would break, or share what must be theirs alone.
    Error,
}

/// A tree with everything that the rules inspect.
#[derive(Debug)]
pub struct Image {
    /// Its root.
    pub root: RootDir,
    /// Its entries, as [`walk`](crate::tree::walk) lists them.
    pub entries: Vec<Entry>,
}
