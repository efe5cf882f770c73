//! Where a version is assembled before it becomes visible.
//!
//! A staging directory lies on the filesystem of the image store, so that publishing is one rename(2).
//! Its `lock` file is held while its creator lives: a directory without a held lock was left by a crash, and
//! the next build removes it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tenant::{Layout, files::record};

use crate::explain::{Explain, Outcome};

/// A staging directory of this process; dropping it removes it.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    _lock: File,
}

/// A staging directory that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the staging directory {path:?}")]
pub struct StagingError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Explain for StagingError {
    fn help(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => Some("run it as root".to_owned()),
            _ => None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

impl Staging {
    /// Makes an empty staging directory and removes those that crashed builds left.
    ///
    /// # Errors
    /// [`StagingError`].
    pub fn new(layout: &Layout) -> Result<Self, StagingError> {
        let base = layout.staging();
        let failed = |source| StagingError { verb: "make", path: base.clone(), source };
        record::make_dirs(&base).map_err(failed)?;
        // Setuid programs of images must be out of reach of the host's users.
        fs::set_permissions(layout.images(), Permissions::from_mode(0o700)).map_err(failed)?;
        sweep(layout)?;
        let dir = tempfile::Builder::new().prefix("build-").tempdir_in(&base).map_err(failed)?.keep();
        let made = || -> io::Result<File> {
            let lock = File::create_new(dir.join("lock"))?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            // The tools inherit it: a killed rootfsctl must not lose its directory while they still run.
            rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;
            fs::create_dir(dir.join("version"))?;
            Ok(lock)
        };
        match made() {
            Ok(lock) => Ok(Self { dir, _lock: lock }),
            Err(source) => {
                let _ = fs::remove_dir_all(&dir);
                Err(failed(source))
            }
        }
    }

    /// The directory that will become the version.
    pub fn version(&self) -> PathBuf {
        self.dir.join("version")
    }

    /// The tree that is being built; the caller makes it.
    pub fn tree(&self) -> PathBuf {
        self.version().join("tree")
    }

    /// A directory for files that must not be published.
    pub fn scratch(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes staging directories that no living process holds, and returns their number.
///
/// # Errors
/// [`StagingError`].
pub fn sweep(layout: &Layout) -> Result<usize, StagingError> {
    let base = layout.staging();
    let entries = match fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(StagingError { verb: "read", path: base, source }),
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let dir = entry.path();
        if !is_abandoned(&dir) {
            continue;
        }
        fs::remove_dir_all(&dir).map_err(|source| StagingError { verb: "remove", path: dir, source })?;
        removed += 1;
    }
    Ok(removed)
}

fn is_abandoned(dir: &Path) -> bool {
    match File::open(dir.join("lock")) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        // A creator that has not taken its lock yet is younger than a minute.
        Err(_) => fs::metadata(dir)
            .and_then(|meta| meta.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age.as_secs() > 60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashed_build_is_taken_away_and_a_living_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let living = Staging::new(&layout).unwrap();
        let crashed = layout.staging().join("build-crashed");
        fs::create_dir_all(crashed.join("version/tree/usr")).unwrap();
        File::create(crashed.join("lock")).unwrap();

        assert_eq!(sweep(&layout).unwrap(), 1);
        assert!(living.version().is_dir() && !crashed.exists());
        let dir = living.scratch().to_owned();
        drop(living);
        assert!(!dir.exists());
    }
}
