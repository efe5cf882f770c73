//! What was fetched before: `/var/cache/tenantry/oci`.
//!
//! ```text
//! oci/.lock                 flock(2) while an image is pulled
//! oci/blobs/sha256/HEX      blobs of all images that were pulled
//! oci/pull-XXXXXX/          the index of the image that is being pulled
//! ```
//!
//! Its blobs may be removed at any time: they are fetched again.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tenant::files::file_error::FileError;

use super::{
    error::RegistryError,
    layout::{Descriptor, Layout},
};

/// How long a blob is kept after it was used last.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The blobs of images that were pulled, and a layout over them for one more.
#[derive(Debug)]
pub struct Cache {
    blobs: PathBuf,
    pull: TempDir,
    _lock: File,
}

impl Cache {
    /// Opens it, after any other pull.
    ///
    /// # Errors
    /// A file cannot be made or locked.
    pub fn open(layout: &tenant::Layout) -> Result<Self, RegistryError> {
        let dir = layout.cache().join("oci");
        let blobs = dir.join("blobs");
        let open = || -> io::Result<Self> {
            fs::create_dir_all(blobs.join("sha256"))?;
            fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
            let lock = File::options().create(true).truncate(false).write(true).open(dir.join(".lock"))?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // skopeo inherits it: it may outlive a killed rootfsctl.
            rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with("pull-") {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            let pull = tempfile::Builder::new().prefix("pull-").tempdir_in(&dir)?;
            Ok(Self { blobs: blobs.clone(), pull, _lock: lock })
        };
        Ok(open().map_err(FileError::when("open the cache", &dir))?)
    }

    /// Where skopeo(1) puts the index.
    pub fn pull(&self) -> &Path {
        self.pull.path()
    }

    /// Where it puts the blobs.
    pub fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// Notes that these blobs were used, and removes those that were not for long.
    pub fn used(&self, layout: &Layout, blobs: &[Descriptor]) {
        let now = SystemTime::now();
        for blob in blobs {
            let touched = File::open(layout.blob(&blob.digest)).and_then(|file| file.set_modified(now));
            // It would only be fetched again sooner.
            drop(touched);
        }
        for entry in fs::read_dir(self.blobs.join("sha256")).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|meta| meta.modified());
            if modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
