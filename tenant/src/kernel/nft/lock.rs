//! The lock over the tables of one host.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    kernel::{KernelError, Result},
    model::filter::HostFilter,
};

/// The lock over the tables of one host.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// For a change of the elements of one tenant.
    pub(super) fn shared(host: &HostFilter) -> Result<Self> {
        Self::take(host, FlockOperation::LockShared)
    }

    /// For a look at everything, or for loading the rules.
    pub(super) fn alone(host: &HostFilter) -> Result<Self> {
        Self::take(host, FlockOperation::LockExclusive)
    }

    fn take(host: &HostFilter, operation: FlockOperation) -> Result<Self> {
        let take = || -> io::Result<File> {
            if let Some(dir) = host.lock.parent() {
                fs::create_dir_all(dir)?;
            }
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&host.lock)?;
            flock(&file, operation)?;
            Ok(file)
        };
        take().map(Self).map_err(|error| KernelError::new("lock", host.lock.display(), error))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to the last descriptor: a process cloned meanwhile has one too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
