//! The image store, as hostd uses it: from a reference to the version a tenant boots, and that version's files.

use std::path::Path;

use rootfs_tools::{
    Store as ImageStore,
    diff::{self, Changes},
    inventory::Inventory,
    store::{Lock, Way},
};
use tenant::{
    Layout,
    kernel::image::Contents,
    model::{
        allocation::Pinned,
        host::HostConfig,
        image::{ImageRef, ImageSource, Manifest, VersionRef},
    },
    stale::Sums,
};

use super::{Store, StoreError};

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

impl Store {
    /// [`resolve`] for what no record says yet.
    ///
    /// # Errors
    /// As there.
    pub fn version_meant(&self, reference: &ImageRef) -> Result<Pinned, StoreError> {
        let _images = Lock::shared(&self.layout)?;
        resolve(&self.layout, reference, &self.host_config()?)
    }

    /// Where a channel may lead on this host; with `back` also to an older version.
    ///
    /// # Errors
    /// The host's settings cannot be read.
    pub fn channel_way(&self, back: bool) -> Result<Way, StoreError> {
        Ok(Way::of(&self.host_config()?, back))
    }
}

/// The SHA-256 of the files of a version, by its inventory; nothing where it has none.
pub fn sums(layout: &Layout, version: &Pinned) -> Sums {
    let found = Inventory::read(&layout.version(&version.image, &version.digest));
    let inventory = found.unwrap_or_else(|error| {
        log::warn!("what did not change in version {version} is not known: {}", wire::chain(&error));
        None
    });
    let items = inventory.iter().flat_map(|inventory| inventory.items());
    items.filter_map(|item| Some((Path::new("/").join(&item.path), item.sha256?))).collect()
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
