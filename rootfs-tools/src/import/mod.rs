//! `import`: a tar archive (plain, gzip, xz, zstd) or a directory becomes a tree.
//!
//! ```text
//! FILE ─packed──▶ bytes ─archive::Reader──▶ members ─unpack──▶ ┐
//! DIR  ─cp(1)───────────────────────────────────── put_right──▶ ┴─ tree ─▶ foreign::recognize
//! ```
//!
//! The archive is untrusted. Names are made relative and may not contain `..`; each
//! parent resolves inside the tree ([`crate::rootdir::RootDir`]), so no link leads out of it; device nodes, attributes
//! that control overlayfs or security modules, owners a tenant cannot have, and bombs are refused or
//! left out.

mod attributes;
mod directory;
mod foreign;
mod idmap;
mod names;
mod packed;
mod unpack;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tenant::files::file_error::FileError;

pub use directory::copy;
pub use foreign::Foreign;
pub use idmap::{IdMap, IdRange, InvalidRange, OverlappingRanges};
pub use unpack::unpack;

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
        Ok(Self { strip_prefix: Some(unpack::relative(prefix.as_os_str())?), ..self })
    }
}

/// What was done in addition to copying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries of the archive.
    pub entries: u64,
    /// Device nodes that were left out.
    pub devices: u64,
    /// Attributes, and keys of extended headers, that were left out.
    pub attributes: u64,
    /// The same by name.
    pub names: BTreeMap<String, u64>,
    /// Entries outside the directory that was asked for.
    pub outside: u64,
}

impl Report {
    /// What was skipped, as text; none if nothing was.
    pub fn left_out(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.devices > 0 {
            parts.push(format!("{} device nodes", self.devices));
        }
        if self.attributes > 0 {
            let names: Vec<_> = self.names.iter().map(|(name, count)| format!("{name} {count}")).collect();
            parts.push(format!("{} attributes ({})", self.attributes, names.join(", ")));
        }
        if self.outside > 0 {
            parts.push(format!("{} entries outside of --strip-prefix", self.outside));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

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
            Fault::Io(source) => Self::File(FileError::new("unpack", entry, source)),
            Fault::Refused(reason) => Self::Entry { what: "archive's entry", entry, reason },
        }
    }
}

impl Explain for ImportError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(source) if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or use --root DIR on another disk".to_owned())
            }
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

/// Unpacks the archive, or copies the directory, `from` to `tree`, which must not exist.
///
/// # Errors
/// [`ImportError`]; the tree may be there in part then, and is the staging directory's to remove.
pub fn import(
    from: &Path,
    tree: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<Report, ImportError> {
    let meta = fs::metadata(from).map_err(FileError::when("read", from))?;
    let report = if meta.is_dir() {
        let root = match &options.strip_prefix {
            Some(prefix) if !prefix.as_os_str().is_empty() => directory::below(from, prefix)?,
            _ => from.to_owned(),
        };
        copy(&root, tree, progress)?;
        progress.step("looking at the files");
        directory::put_right(tree, &directory::walk(tree)?, &options.idmap)?
    } else {
        progress.step("unpacking the archive");
        let reader = packed::open(from)?;
        fs::create_dir(tree).map_err(FileError::when("make", tree))?;
        unpack(reader, tree, options)?
    };
    recognize(from, tree, options.strip_prefix.is_some())?;
    Ok(report)
}

/// Refuses a tree that is no root filesystem.
///
/// # Errors
/// [`ImportError::Foreign`].
pub fn recognize(from: &Path, tree: &Path, as_it_is: bool) -> Result<(), ImportError> {
    match Foreign::recognize(&directory::walk(tree)?, as_it_is) {
        Some(kind) => Err(ImportError::Foreign { from: from.to_owned(), kind }),
        None => Ok(()),
    }
}
