//! The file of a version that a file in an upper directory was copied from. overlayfs notes it, where no tenant can.

use std::{io, path::Path};

use super::{comparison::Versions, id::Beneath, version::Sums};
use crate::{files::layout::Layout, model::allocation::Pinned};

/// The file of a version that a tenant's own was copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Beneath);

impl Origin {
    /// The extended attribute that has it, see `ovl_set_origin` in fs/overlayfs/copy_up.c.
    pub const ATTRIBUTE: &str = "trusted.overlay.origin";

    /// What the attribute says; none where it says nothing, as of a file that has several names in its version.
    pub fn parse(value: &[u8]) -> Option<Self> {
        Beneath::of_attribute(value).map(Self)
    }
}

impl Versions {
    /// Whether a version has that very file at a path.
    ///
    /// # Errors
    /// The version is there and cannot be read.
    pub fn have(&self, layout: &Layout, version: &Pinned, path: &Path, origin: &Origin) -> io::Result<bool> {
        // Contents are not asked for.
        Ok(self.version(layout, version, |_, _| Sums::new())?.has(path, &origin.0))
    }
}
