//! The image store, as hostd uses it: from a reference to the version a tenant boots, and that version's files.

use rootfs_tools::Store as ImageStore;
use tenant::{
    Layout,
    kernel::image::Contents,
    model::{
        allocation::Pinned,
        image::{ImageRef, ImageSource, Manifest},
    },
};

use super::StoreError;

/// The version that a reference means now; the caller holds [`rootfs_tools::store::Lock::shared`].
///
/// # Errors
/// No such image, channel or version, or more than one version.
pub fn resolve(layout: &Layout, reference: &ImageRef) -> Result<Pinned, StoreError> {
    let digest = ImageStore::new(layout.clone()).resolve(reference)?;
    Ok(Pinned { image: reference.image.clone(), digest })
}

/// The files of a version.
///
/// # Errors
/// They cannot be mounted.
pub fn contents(layout: &Layout, manifest: &Manifest) -> Result<Contents, StoreError> {
    Ok(Contents::open(&ImageSource::of(layout, manifest))?)
}
