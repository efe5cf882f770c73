//! The files of versions that were asked for last, by their inventories.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use rootfs_tools::{
    Store as ImageStore,
    inventory::{self, Inventory},
};
use tenant::{Layout, model::allocation::Pinned};

use super::{StoreError, guard::held};

/// Inventories of versions that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Inventories(Mutex<VecDeque<(Pinned, Arc<Inventory>)>>);

impl Inventories {
    /// So many are kept: those of the versions that tenants move between, some MiB each.
    const MOST: usize = 4;

    /// The inventory of a version.
    ///
    /// # Errors
    /// The version is not there, or cannot be read.
    pub(crate) fn of(&self, layout: &Layout, version: &Pinned) -> Result<Arc<Inventory>, StoreError> {
        let Pinned { image, digest } = version;
        // It may have been removed since.
        let manifest = ImageStore::new(layout.clone()).manifest(image, digest)?;
        if let Some((_, known)) = held(&self.0).iter().find(|(known, _)| known == version) {
            return Ok(known.clone());
        }
        let read = inventory::of_version(layout, image, digest, &manifest);
        let read = Arc::new(read.map_err(|error| StoreError::Compare(error.into()))?);
        let mut known = held(&self.0);
        known.truncate(Self::MOST - 1);
        known.push_front((version.clone(), read.clone()));
        Ok(read)
    }
}
