//! The lock of the store.

use std::{
    fs::{self, File},
    io,
};

use rustix::fs::{FlockOperation, flock};
use tenant::{
    Layout,
    files::{file_error::FileError, record},
};

use super::error::StoreError;

/// The lock of the store, held as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] Option<File>);

impl Lock {
    /// Waits for the lock under which no version is removed and no channel moves. A host without a store has nothing
    /// to lock.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn shared(layout: &Layout) -> Result<Self, StoreError> {
        match fs::metadata(layout.images()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self(None)),
            _ => Self::take(layout, FlockOperation::LockShared),
        }
    }

    /// Waits for the lock that publishing, moving a channel and removing need.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn exclusive(layout: &Layout) -> Result<Self, StoreError> {
        Self::take(layout, FlockOperation::LockExclusive)
    }

    fn take(layout: &Layout, operation: FlockOperation) -> Result<Self, StoreError> {
        let path = layout.images_lock();
        let lock = || {
            record::make_dirs(&layout.images())?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            flock(&file, operation)?;
            Ok(Self(Some(file)))
        };
        Ok(lock().map_err(FileError::when("lock", &path))?)
    }
}
