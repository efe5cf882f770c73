//! What differs between two versions in the directories that a running tenant keeps until its next start.

use rootfs_tools::diff::{Change, Changes, PackageChange};

use super::upper::Upper;
use crate::drift::area::Area;

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

/// What of the changes between two versions a tenant with these overlays does not see before its next start: those below
/// them. Packages are all.
pub fn of(areas: &[Area], changes: Changes) -> Differences {
    let mut files = Vec::new();
    for area in areas {
        let upper = Upper::open(&area.dirs, &area.upper).ok();
        for difference in changes.below(&area.dir) {
            let Some(inside) = area.inside(&difference.path) else { continue };
            if inside.as_os_str().is_empty() {
                continue;
            }
            let path = format!("/{}", difference.path.display());
            let hider = upper.as_ref().and_then(|upper| upper.hider(inside).ok().flatten());
            files.push(FileDifference { path, change: difference.change, is_hidden: hider.is_some() });
        }
    }
    Differences { packages: changes.packages, files }
}
