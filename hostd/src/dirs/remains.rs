//! What is left of a removed tenant.

use std::{io, path::PathBuf};

/// What is left of a removed tenant, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Remains {
    /// Where it lies.
    pub path: PathBuf,
    /// The tenant it was of, or the name of the directory.
    pub tenant: String,
    /// The kind of the error.
    pub kind: io::ErrorKind,
    /// What the kernel said, with the path of the entry.
    pub reason: String,
    /// The remedy.
    pub help: String,
}
