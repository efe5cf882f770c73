//! The image store, as hostd uses it: from a reference to the version a tenant boots, and that version's files.

use rootfs_tools::{
    Store as ImageStore,
    diff::{self, Changes},
};
use tenant::{
    Layout,
    kernel::image::Contents,
    model::{
        allocation::Pinned,
        host::HostConfig,
        image::{ImageRef, ImageSource, Manifest, VersionRef},
    },
};

use super::StoreError;

/// The version that a reference means now; the caller holds [`rootfs_tools::store::Lock::shared`]. On a host that
/// requires signatures it has one, and a channel leads to no version that is older than one which it led to before.
///
/// # Errors
/// No such image, channel or version, more than one version, or one that is not trusted.
pub fn resolve(layout: &Layout, reference: &ImageRef, config: &HostConfig) -> Result<Pinned, StoreError> {
    let store = ImageStore::new(layout.clone());
    let digest = store.resolve(reference)?;
    if config.require_signature {
        let channel = match &reference.version {
            VersionRef::Channel(channel) => Some(channel),
            VersionRef::Prefix(_) => None,
        };
        store.check_signature(&reference.image, &digest, channel)?;
    }
    Ok(Pinned { image: reference.image.clone(), digest })
}

/// The files of a version.
///
/// # Errors
/// They cannot be mounted.
pub fn contents(layout: &Layout, manifest: &Manifest) -> Result<Contents, StoreError> {
    Ok(Contents::open(&ImageSource::of(layout, manifest))?)
}

/// What changed from one version to another.
///
/// # Errors
/// A version is not there, or cannot be read.
pub fn changes(layout: &Layout, old: &Pinned, new: &Pinned) -> Result<Changes, StoreError> {
    let store = ImageStore::new(layout.clone());
    let content = |version: &Pinned| store.content(&version.image, &version.digest);
    let (old, new) = (content(old).map_err(StoreError::Compare)?, content(new).map_err(StoreError::Compare)?);
    Ok(diff::changes(&old, &new))
}
