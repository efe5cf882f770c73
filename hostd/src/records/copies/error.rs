//! Why a copy cannot be made.

use std::{io, path::PathBuf};

use filetree::{TreeError, UnpackError, archive::ReadError};
use tenant::model::snapshot::{InvalidSnapshotName, SnapshotError};
use wire::{Code, ExportHead};

/// A copy that cannot be made, or used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file of a tenant's cannot be copied.
    #[error("cannot copy the files of tenant {tenant:?}")]
    Tree {
        /// The tenant.
        tenant: String,
        /// Which file, and why.
        #[source]
        source: TreeError,
    },
    /// An archive cannot be unpacked.
    #[error("cannot import tenant {tenant:?}")]
    Unpack {
        /// The name that it was to have.
        tenant: String,
        /// Which entry, and why.
        #[source]
        source: UnpackError,
    },
    /// An archive is not one of a tenant.
    #[error("it is not an exported tenant: {0}")]
    NotExported(String),
    /// An archive is of a newer release.
    #[error("it was exported by release {release}, in format {format}, which this release does not know")]
    Newer {
        /// The release.
        release: String,
        /// The format.
        format: u32,
    },
    /// An archive ends early.
    #[error("the exported tenant is not whole: its end is missing")]
    Short,
    /// The version that a copy's files lie over is not here.
    #[error("version {version} of image {image:?}, which the files lie over, is not on this host")]
    NoBase {
        /// The image.
        image: String,
        /// The version.
        version: String,
        /// How it can be done without.
        without: &'static str,
    },
    /// No such snapshot.
    #[error("tenant {tenant:?} has no snapshot {name:?}")]
    NoSnapshot {
        /// The tenant.
        tenant: String,
        /// The name.
        name: String,
    },
    /// There is one of this name.
    #[error("tenant {tenant:?} already has a snapshot {name:?}")]
    NameTaken {
        /// The tenant.
        tenant: String,
        /// The name.
        name: String,
    },
    /// No name of a snapshot.
    #[error(transparent)]
    Name(#[from] InvalidSnapshotName),
    /// The record of a snapshot cannot be used.
    #[error("cannot use {path:?}")]
    Snapshot {
        /// The record.
        path: PathBuf,
        /// Why.
        #[source]
        source: SnapshotError,
    },
    /// No directory of the tenant's own.
    #[error("tenant {tenant:?} has no directory {dir:?} of its own")]
    NoDir {
        /// The tenant.
        tenant: String,
        /// The directory.
        dir: String,
        /// Those that it has.
        own: String,
    },
}

impl CopyError {
    /// Its machine-readable kind.
    pub fn code(&self) -> Code {
        let kind = match self {
            Self::Tree { source, .. } => source.source.kind(),
            Self::Unpack { source, .. } => source.kind(),
            Self::NoBase { .. } => return Code::NoImage,
            Self::NoSnapshot { .. } => return Code::NotFound,
            Self::NameTaken { .. } => return Code::NameTaken,
            Self::NotExported(_) | Self::Short | Self::Name(_) | Self::NoDir { .. } | Self::Newer { .. } => {
                return Code::Invalid;
            }
            Self::Snapshot { .. } => return Code::Failed,
        };
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
            io::ErrorKind::InvalidData if matches!(self, Self::Unpack { .. }) => Code::Invalid,
            _ => Code::Failed,
        }
    }

    /// The remedy.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Tree { .. } | Self::Unpack { .. } if self.code() == Code::DiskFull => {
                "nothing was changed; free space or inodes on that filesystem (df, df -i), or raise the tenant's disk_max \
                 and inodes_max, and try again"
            }
            Self::Unpack { source: UnpackError::Archive(error), .. } => match &error.fault {
                ReadError::Refused(reason) => return Some(reason.help()),
                ReadError::Io(_) => return None,
            },
            Self::NotExported(_) => {
                return Some(format!(
                    "an archive of tenantctl export begins with {}; other archives become images: rootfsctl import",
                    ExportHead::NAME
                ));
            }
            Self::Newer { .. } => "import it with that release or a newer one",
            Self::Short => "nothing was imported; export it again, or copy the archive again",
            Self::NoBase { without, .. } => without,
            Self::NoSnapshot { tenant, .. } => {
                return Some(format!("list them: tenantctl snapshots {tenant}"));
            }
            Self::NameTaken { .. } => "choose another name, or remove that one: tenantctl snapshots --remove",
            Self::Name(_) => InvalidSnapshotName::HELP,
            Self::Snapshot { .. } => "remove the snapshot: tenantctl snapshots --remove",
            Self::NoDir { own, .. } => return Some(format!("name one of: {own}")),
            Self::Tree { .. } | Self::Unpack { .. } => return None,
        };
        Some(text.to_owned())
    }
}
