//! What a tenant has of its own at a path of its image.

use rootfs_tools::{inventory::Item, tree::Kind};
use tenant::stale::Origin;

/// What lies in the upper directory at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// A whiteout: the tenant has removed what the image has there.
    Removed,
    /// A directory beneath which nothing of the image's directory is seen.
    Replaced(Item),
    /// A file, or a directory that is seen together with the image's. The content of a file has no hash where it has not
    /// been read.
    There(Item),
}

impl Own {
    /// What is there.
    pub fn item(&self) -> Option<&Item> {
        match self {
            Self::Removed => None,
            Self::Replaced(item) | Self::There(item) => Some(item),
        }
    }

    /// Whether it hides all that the image has at the path and below; a directory that is seen together with the image's
    /// hides only its owner, mode and extended attributes.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::There(Item { kind: Kind::Dir, .. }))
    }
}

/// What lies at a path, and what tells where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub own: Own,
    /// When it was made, milliseconds since 1970 UTC.
    pub made_ms: u64,
    /// Of which file it is a copy, where the kernel has noted that.
    pub origin: Option<Origin>,
}
