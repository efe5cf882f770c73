//! Why an operation of the store failed.

use std::{io, path::PathBuf};

use tenant::{
    TenantName,
    files::file_error::FileError,
    kernel::signature::SignatureError,
    model::{allocation::AllocationError, ids::Digest, image::ManifestError},
};

use crate::explain::{Explain, Outcome};

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such image.
    #[error("image {0:?} does not exist")]
    NoImage(String),
    /// No such channel.
    #[error("image {image:?} has no channel {channel:?}")]
    NoChannel {
        /// The image.
        image: String,
        /// The channel.
        channel: String,
    },
    /// No version starts with these digits.
    #[error("image {image:?} has no version \"sha256:{prefix}…\"")]
    NoVersion {
        /// The image.
        image: String,
        /// The hex digits that were given.
        prefix: String,
    },
    /// More than one version starts with these digits.
    #[error("image {image:?} has {count} versions that start with \"sha256:{prefix}\"")]
    Ambiguous {
        /// The image.
        image: String,
        /// The hex digits that were given.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// Tenants boot it.
    #[error("version {} of image {image:?} is in use by {}", digest.short(), tenants(.users))]
    InUse {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
        /// The tenants that pin it.
        users: Vec<TenantName>,
    },
    /// Channels point at it.
    #[error("version {} of image {image:?} is the target of channel {}", digest.short(), .channels.join(", "))]
    InChannel {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
        /// The channels.
        channels: Vec<String>,
    },
    /// A manifest that cannot be used.
    #[error("cannot read the manifest {path:?}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ManifestError,
    },
    /// An allocation that cannot be read: which version its tenant boots is unknown.
    #[error("cannot determine the version that tenant {tenant:?} boots")]
    Allocation {
        /// The tenant.
        tenant: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Who made a version is not known, or is not trusted.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

fn tenants(users: &[TenantName]) -> String {
    let named: Vec<_> = users.iter().take(3).map(TenantName::as_str).collect();
    match users.len() {
        0..=3 => named.join(", "),
        more => format!("{} and {} more", named.join(", "), more - 3),
    }
}

impl Explain for StoreError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoImage(_) => {
                "rootfsctl list shows the images; rootfsctl build debian builds one".to_owned()
            }
            Self::NoChannel { image, .. } | Self::NoVersion { image, .. } => {
                format!("rootfsctl list {image}")
            }
            Self::Ambiguous { .. } => "write more digits".to_owned(),
            Self::InUse { .. } => "first destroy the tenants or set them to another version".to_owned(),
            Self::InChannel { image, channels, .. } => {
                format!("move the channel first: rootfsctl channel {image} {} VERSION", channels[0])
            }
            Self::Allocation { source, .. }
                if source.downcast_ref().is_some_and(AllocationError::is_newer) =>
            {
                "install the release again that has written it".to_owned()
            }
            Self::Allocation { .. } => "repair or remove the tenant's allocation.toml".to_owned(),
            Self::File(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root".to_owned()
            }
            Self::Signature(source) => return source.help().map(str::to_owned),
            Self::Manifest { source, .. } => return source.help().map(str::to_owned),
            Self::File(_) => return None,
        })
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::NoImage(_) | Self::NoChannel { .. } | Self::NoVersion { .. } => Outcome::NotFound,
            Self::InUse { .. }
            | Self::InChannel { .. }
            | Self::Ambiguous { .. }
            | Self::Allocation { .. } => Outcome::Refused,
            Self::Signature(source) if source.is_refusal() => Outcome::Refused,
            Self::Manifest { .. } | Self::Signature(_) | Self::File(_) => Outcome::Failed,
        }
    }
}
