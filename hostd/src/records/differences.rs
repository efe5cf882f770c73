//! What differs between two versions in the directories that a running tenant keeps until its next start.

use std::{fs::File, path::Path};

use rootfs_tools::diff::{Change, Changes, PackageChange};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat},
    io::Errno,
};
use tenant::{Plan, files::record, kernel::openat2, model::path::TenantPath, plan::RootStep};

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

/// What of the changes between two versions a tenant with this plan does not see before its next start: those below its
/// overlays. Packages are all.
pub fn of(plan: &Plan, changes: Changes) -> Differences {
    let nested: Vec<&TenantPath> = plan.root.iter().filter_map(shared).collect();
    let mut files = Vec::new();
    for step in &plan.root {
        let RootStep::Overlay { at, store } = step else { continue };
        let upper = record::open_dir(&plan.dirs.join(store).join("upper")).ok();
        let dir = Path::new(at.relative());
        for difference in changes.below(dir) {
            let Ok(below) = difference.path.strip_prefix(dir) else { continue };
            if below.as_os_str().is_empty() {
                continue;
            }
            let path = format!("/{}", difference.path.display());
            let is_shared = |dir: &&TenantPath| Path::new(&path).starts_with(dir.as_str());
            if !nested.iter().any(is_shared) {
                let is_hidden = upper.as_ref().is_some_and(|upper| hides(upper, below));
                files.push(FileDifference { path, change: difference.change, is_hidden });
            }
        }
    }
    Differences { packages: changes.packages, files }
}

fn shared(step: &RootStep) -> Option<&TenantPath> {
    match step {
        RootStep::Shared { at } => Some(at),
        _ => None,
    }
}

/// Whether something in a tenant's own layer stands in for a file of the image. The tenant may have put anything there:
/// no link is followed.
fn hides(upper: &File, path: &Path) -> bool {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat2(upper, path, flags, Mode::empty(), resolve) {
        Ok(found) => {
            fstat(&found).is_ok_and(|meta| FileType::from_raw_mode(meta.st_mode) != FileType::Directory)
        }
        // A directory on the way is none any more.
        Err(error) => matches!(error, Errno::NOTDIR | Errno::LOOP),
    }
}
