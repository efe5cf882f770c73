//! What differs between two versions in the directories that a running tenant keeps until its next start.

use std::{
    io,
    path::{Path, PathBuf},
};

use rootfs_tools::{
    diff::{self, Change, PackageChange},
    rootdir::RootDir,
    tree::{self, TreeError},
};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat},
    io::Errno,
};
use tenant::{
    Plan,
    files::record,
    kernel::{image::Contents, openat2},
    model::path::TenantPath,
    plan::RootStep,
};

use super::StoreError;

/// Largest database of packages that is read, bytes.
const MAX_STATUS: u64 = 64 << 20;

/// What differs between two versions.
#[derive(Debug)]
pub struct Differences {
    /// Debian packages, by name.
    pub packages: Vec<PackageChange>,
    /// Files below the directories that were asked for, sorted by path.
    pub files: Vec<FileDifference>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    /// Its absolute path.
    pub path: String,
    /// How.
    pub change: Change,
    /// Whether the tenant has a file of its own there, or has removed it: the new one is not seen.
    pub is_hidden: bool,
}

/// Compares two versions: their packages, and the files below the overlays of a plan.
///
/// # Errors
/// A version cannot be read.
pub fn compare(plan: &Plan, old: &Contents, new: &Contents) -> Result<Differences, StoreError> {
    let (old, new) = (old.path(), new.path());
    let packages = diff::packages(&status(&old)?, &status(&new)?);
    let nested: Vec<&TenantPath> = plan.root.iter().filter_map(shared).collect();
    let mut files = Vec::new();
    for step in &plan.root {
        let RootStep::Overlay { at, store } = step else { continue };
        let upper = plan.dirs.join(store).join("upper");
        for (path, change) in below(&old, &new, at)? {
            let is_hidden = hides(&upper, &path);
            let path = format!("{at}/{}", path.display());
            let is_shared = |dir: &&TenantPath| Path::new(&path).starts_with(dir.as_str());
            if !nested.iter().any(is_shared) {
                files.push(FileDifference { path, change, is_hidden });
            }
        }
    }
    Ok(Differences { packages, files })
}

fn shared(step: &RootStep) -> Option<&TenantPath> {
    match step {
        RootStep::Shared { at } => Some(at),
        _ => None,
    }
}

/// What differs below a directory. One that a version lacks is empty.
fn below(old: &Path, new: &Path, at: &TenantPath) -> Result<Vec<(PathBuf, Change)>, StoreError> {
    let (old, new) = (old.join(at.relative()), new.join(at.relative()));
    let all = |dir: &Path, change| -> Result<_, TreeError> {
        let entries = tree::walk(dir)?.into_iter();
        Ok(entries.filter(|entry| entry.path.as_os_str() != "").map(|entry| (entry.path, change)).collect())
    };
    let found = match (old.is_dir(), new.is_dir()) {
        (true, true) => diff::trees(&old, &new)
            .map(|found| found.into_iter().map(|difference| (difference.path, difference.change)).collect()),
        (true, false) => all(&old, Change::Removed),
        (false, true) => all(&new, Change::Added),
        (false, false) => Ok(Vec::new()),
    };
    found.map_err(|error| StoreError::Compare(io::Error::other(error)))
}

fn status(root: &Path) -> Result<String, StoreError> {
    let read = RootDir::open(root).and_then(|root| root.text_up_to("var/lib/dpkg/status", MAX_STATUS));
    Ok(read.map_err(|error| StoreError::Compare(io::Error::other(error)))?.unwrap_or_default())
}

/// Whether something in a tenant's own layer stands in for a file of the image. The tenant may have put anything there:
/// no link is followed.
fn hides(upper: &Path, path: &Path) -> bool {
    let Ok(upper) = record::open_dir(upper) else { return false };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(&upper, path, flags, Mode::empty(), resolve) {
        Ok(found) => {
            fstat(&found).is_ok_and(|meta| FileType::from_raw_mode(meta.st_mode) != FileType::Directory)
        }
        // A directory on the way is none any more.
        Err(error) => matches!(error, Errno::NOTDIR | Errno::LOOP),
    }
}
