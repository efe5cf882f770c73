//! What went wrong with a file: the error that is the same wherever files are handled.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A system call on a file or directory that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path:?}")]
pub struct FileError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    /// What could not be done (an infinitive, as in "cannot read"), to which file, and why.
    pub fn new(verb: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { verb, path: path.into(), source: source.into() }
    }

    /// The same for `map_err`.
    pub fn when(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::new(verb, path, source)
    }

    /// The kind of I/O error behind it.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// The remedy where something is full, whatever was to be written there; see ENOSPC and EDQUOT in errno(3). mount(2)
/// says the same where there are too many mounts.
pub fn full(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "free space or inodes on that filesystem (df, df -i) and try again; for a mount, check fs.mount-max as well",
        ),
        _ => None,
    }
}
