//! What goes wrong with a tree.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::archive::{ArchiveError, ReadError, Reason};

/// What could not be done, and to what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path:?}")]
pub struct TreeError {
    /// What was to be done.
    pub verb: &'static str,
    /// The entry, below the top of the tree; at most 400 characters of it.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl TreeError {
    /// An error of an entry.
    pub(crate) fn new(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let shown = path.to_string_lossy();
        let path = match shown.char_indices().nth(400) {
            Some((end, _)) => PathBuf::from(format!("{}…", &shown[..end])),
            None if path.as_os_str().is_empty() => PathBuf::from("."),
            None => path.to_owned(),
        };
        Self { verb, path, source: source.into() }
    }

    /// [`TreeError::new`], for `map_err`.
    pub(crate) fn when(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |error| Self::new(verb, path, error)
    }
}

impl From<TreeError> for io::Error {
    fn from(error: TreeError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It has an entry that cannot be read, or is refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file cannot be made.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl UnpackError {
    /// Whether the archive ends too early: who wrote it may know why.
    pub fn is_cut_off(&self) -> bool {
        let Self::Archive(error) = self else { return false };
        matches!(error.fault, ReadError::Refused(Reason::Truncated | Reason::NoEnd))
    }

    /// The kind of what the kernel said.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Tree(error) => error.source.kind(),
            Self::Archive(error) => match &error.fault {
                ReadError::Io(error) => error.kind(),
                ReadError::Refused(_) => io::ErrorKind::InvalidData,
            },
        }
    }
}
