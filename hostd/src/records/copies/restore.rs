//! A tenant's directories as a snapshot has them.

use std::fs;

use filetree::{Dir, Keep, Tally, Watch, copy, settle};
use rootfs_tools::store::Lock as ImagesLock;
use tenant::{Allocation, TenantName, files::file_error::FileError, model::allocation::Pinned};

use super::{CopyError, swap};
use crate::records::{Store, StoreError, images};

impl Store {
    /// Puts the files of a snapshot in the place of those of a tenant that is down. They lie over the version that they
    /// were taken from then; with `keep_base` over the one that the tenant has.
    ///
    /// # Errors
    /// There is no such snapshot, or its version is not here; a file cannot be copied. Nothing is changed then.
    pub fn restore(
        &self,
        tenant: &TenantName,
        (name, keep_base): (&str, bool),
        watch: Watch<'_>,
    ) -> Result<(Allocation, Tally), StoreError> {
        let record = self.ready(tenant)?;
        let snapshot = self.snapshot(tenant, name)?;
        let pinned = if keep_base { record.pinned.clone() } else { snapshot.pinned };
        // Held until the record says it: a version that is pinned is not removed.
        let _images = (pinned != record.pinned).then(|| ImagesLock::shared(&self.layout)).transpose()?;
        self.find_base(&pinned, "put the files over the version that the tenant has: --keep-base")?;
        let from = self.layout.snapshot(tenant, &snapshot.name).join("dirs");
        let work = swap::begin(&self.layout, tenant)?;
        let mut prepare = || -> Result<Tally, StoreError> {
            let new = work.join("dirs");
            fs::create_dir(&new).map_err(FileError::when("make", &new))?;
            let open = |path| Dir::open(path).map_err(FileError::when("open", path));
            let (from, to) = (open(&from)?, open(&new)?);
            let tally = copy(&from, &to, Keep::LayerHere, &|_| false, watch)
                .map_err(|source| CopyError::Tree { tenant: tenant.to_string(), source })?;
            settle(&to).map_err(FileError::when("write", &new))?;
            Ok(tally)
        };
        let tally = match prepare() {
            Ok(tally) => tally,
            Err(error) => {
                swap::end(&self.layout, tenant)?;
                return Err(error);
            }
        };
        let _writing = self.writing(tenant);
        let record = swap::commit(&self.layout, record, pinned)?;
        self.put(record.clone());
        Ok((record, tally))
    }

    /// Looks whether a version is on this host, and may be used.
    pub(super) fn find_base(&self, pinned: &Pinned, without: &'static str) -> Result<(), StoreError> {
        let config = self.host_config()?;
        images::resolve(&self.layout, &pinned.reference(), &config).map(drop).map_err(|error| {
            match error.code() {
                wire::Code::NoImage => CopyError::NoBase {
                    image: pinned.image.to_string(),
                    version: pinned.digest.to_string(),
                    without,
                }
                .into(),
                _ => error,
            }
        })
    }
}
