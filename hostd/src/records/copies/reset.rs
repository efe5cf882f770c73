//! Directories of a tenant's own as its image has them.

use std::{ffi::CString, fs};

use filetree::Dir;
use rustix::fs::RenameFlags;
use tenant::{
    TenantName,
    files::{file_error::FileError, sources},
};

use super::{CopyError, stores::own_dirs, swap};
use crate::{
    dirs::seed::{Identity, Unsynced, ensure_stores, write_identity},
    records::{Store, StoreError, images},
};

impl Store {
    /// Makes directories of a tenant that is down as a new tenant's are: those at these paths inside, or all. What they
    /// are; each is exchanged at once.
    ///
    /// # Errors
    /// The tenant has no such directory of its own; a new one cannot be made. Nothing is changed then.
    pub fn reset(&self, tenant: &TenantName, dirs: &[String]) -> Result<Vec<String>, StoreError> {
        let (_, plan) = self.plan(tenant, None)?;
        let own = own_dirs(&plan);
        let named = |at: &str| format!("/{at}");
        let mut chosen = Vec::new();
        for dir in dirs {
            let wanted = dir.trim_matches('/');
            let found = own.iter().find(|own| own.at == wanted);
            chosen.push(found.ok_or_else(|| CopyError::NoDir {
                tenant: tenant.to_string(),
                dir: dir.clone(),
                own: own.iter().map(|own| named(&own.at)).collect::<Vec<_>>().join(", "),
            })?);
        }
        if dirs.is_empty() {
            chosen = own.iter().collect();
        }
        let record = self.ready(tenant)?;
        let manifest = sources::load_manifest(&self.layout, &record.pinned, &self.host_config()?)?;
        let image = images::contents(&self.layout, &manifest)?;
        let work = swap::begin(&self.layout, tenant)?;
        let exchange = || -> Result<(), StoreError> {
            let failed = FileError::when("make", &work);
            let (image, new) = (Dir::open(&image.path()).map_err(failed)?, Dir::open(&work).map_err(failed)?);
            let mut unsynced = Unsynced::default();
            ensure_stores(&plan, &image, &new, &mut unsynced).map_err(failed)?;
            let identity = Identity { host_name: &self.facts.hostname };
            write_identity(&plan, identity, &image, &new, &mut unsynced).map_err(failed)?;
            unsynced.flush().map_err(failed)?;
            let path = self.layout.dirs(tenant);
            let failed = FileError::when("reset", &path);
            let old = Dir::open(&path).map_err(failed)?;
            for own in &chosen {
                let name = CString::new(own.store.as_str()).map_err(|error| failed(error.into()))?;
                let flags = if old.has(&name).map_err(failed)? {
                    RenameFlags::EXCHANGE
                } else {
                    RenameFlags::NOREPLACE
                };
                new.rename(&name, &old, &name, flags).map_err(failed)?;
            }
            fs::File::open(&path).and_then(|dir| dir.sync_all()).map_err(failed)?;
            Ok(())
        };
        let exchanged = exchange();
        let ended = swap::end(&self.layout, tenant);
        exchanged?;
        ended?;
        Ok(chosen.iter().map(|own| named(&own.at)).collect())
    }
}
