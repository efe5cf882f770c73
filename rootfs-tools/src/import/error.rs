//! Why something cannot be imported.

use std::{io, path::PathBuf};

use filetree::archive::{ArchiveError, ReadError, Reason};
use tenant::files::file_error::FileError;

use super::foreign::Foreign;
use crate::{
    explain::{Explain, Outcome},
    tool::ToolError,
    tree::TreeError,
};

/// Why something cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It is neither a directory nor an archive.
    #[error("{0:?} is neither a directory nor a tar archive (plain, gzip, xz or zstd)")]
    Unknown(PathBuf),
    /// It is something else.
    #[error("{path:?} is {name}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is.
        name: &'static str,
        /// What to do with it.
        remedy: &'static str,
    },
    /// An entry that cannot be in an image, or cannot be read.
    #[error("the {what} {entry:?} {reason}")]
    Entry {
        /// What it is: an entry of an archive, or a file.
        what: &'static str,
        /// Its name.
        entry: String,
        /// What is wrong with it.
        reason: Reason,
    },
    /// The directory that should be the root filesystem is empty or missing.
    #[error("it contains nothing below {0:?}")]
    NoPrefix(PathBuf),
    /// It is not a root filesystem.
    #[error("{kind}")]
    Foreign {
        /// The archive or directory.
        from: PathBuf,
        /// What it is.
        kind: Foreign,
    },
    /// It is in use.
    #[error("{path:?} is the root directory of {user}: its files would change during the import")]
    Live {
        /// The directory.
        path: PathBuf,
        /// The process whose root directory it is.
        user: String,
    },
    /// It contains the image store.
    #[error("{0:?} contains the image store")]
    Around(PathBuf),
    /// cp(1) failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl From<ArchiveError> for ImportError {
    fn from(ArchiveError { entry, fault }: ArchiveError) -> Self {
        match fault {
            ReadError::Io(source) => Self::File(FileError::new("unpack", entry, source)),
            ReadError::Refused(reason) => Self::Entry { what: "archive's entry", entry, reason },
        }
    }
}

impl Explain for ImportError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(source) if source.kind() == io::ErrorKind::Unsupported => Some(
                "the store's filesystem does not support such attributes; use --root DIR on ext4, xfs or btrfs"
                    .to_owned(),
            ),
            Self::Entry { reason, .. } => Some(reason.help()),
            Self::Unknown(_) => {
                Some("create one with: tar -C DIR --numeric-owner --xattrs -czf FILE .".to_owned())
            }
            Self::Format { remedy, .. } => Some((*remedy).to_owned()),
            Self::Foreign { from, kind } => Some(kind.help(from)),
            Self::NoPrefix(_) => Some("inspect it with tar -tf".to_owned()),
            Self::Live { .. } => Some("stop its processes first, or import a snapshot".to_owned()),
            Self::Around(_) => Some("name the root filesystem itself".to_owned()),
            Self::Tool(e) => e.help(),
            Self::Tree(e) => e.help(),
            Self::File(_) => None,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::File(source) if source.kind() == io::ErrorKind::NotFound => Outcome::NotFound,
            Self::Live { .. } | Self::Foreign { .. } | Self::Around(_) => Outcome::Refused,
            Self::Entry { reason: Reason::Owner { .. }, .. } => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}
