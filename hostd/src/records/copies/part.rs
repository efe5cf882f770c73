//! Directories that are to be a new tenant's, and are no tenant's yet.

use std::{
    fs,
    path::{Path, PathBuf},
};

use filetree::Dir;
use tenant::files::{file_error::FileError, record};

use crate::{
    assign::holding::Holding,
    dirs::{quota, trash::Item},
    records::{Store, StoreError, create::PART, stamp::random_uuid},
};

/// A directory with `dirs` in it. One that no tenant gets is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    store: &'a Store,
    path: PathBuf,
    is_taken: bool,
}

impl<'a> Part<'a> {
    /// Makes an empty one.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn begin(store: &'a Store) -> Result<Self, StoreError> {
        let tenants = store.layout.tenants();
        let path = tenants.join(format!("{PART}{}", random_uuid()?));
        let failed = FileError::when("make", &path);
        // What lies below holds setuid files of tenants: only root may reach them.
        record::make_private_dirs(&tenants).map_err(failed)?;
        quota::make_dir(&path, 0).map_err(failed)?;
        let part = Self { store, path, is_taken: false };
        fs::create_dir(part.path.join("dirs")).map_err(FileError::when("make", &part.path))?;
        Ok(part)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its `dirs`.
    ///
    /// # Errors
    /// They cannot be opened.
    pub(crate) fn dirs(&self) -> Result<Dir, StoreError> {
        let path = self.path.join("dirs");
        Ok(Dir::open(&path).map_err(FileError::when("open", &path))?)
    }

    /// Says that a tenant has it now.
    pub(crate) fn taken(&mut self) {
        self.is_taken = true;
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            let item = Item { path: self.path.clone(), tenant: None, holding: Holding::default() };
            // What cannot be removed is told by who removes it, and goes at the next start of hostd.
            drop(self.store.trash.add(item));
        }
    }
}
