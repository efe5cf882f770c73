//! Differences between two versions.

use std::{
    cmp::Ordering,
    collections::HashMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    digest,
    tree::{self, Entry, TreeError},
};

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only in the new version.
    Added,
    /// Only in the old version.
    Removed,
    /// In both, with the listed differences.
    Changed,
}

/// One entry that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// How.
    pub change: Change,
    /// Path below the root.
    pub path: PathBuf,
    /// For a changed entry: `type`, `content`, `mode`, `owner`, `target`, `attributes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<&'static str>,
    /// New size minus old size, bytes.
    pub size: i64,
}

/// A Debian package whose version differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// The package.
    pub package: String,
    /// Its old version.
    pub from: Option<String>,
    /// Its new version.
    pub to: Option<String>,
}

/// Entries that differ between the trees `old` and `new`, sorted by path.
///
/// # Errors
/// A tree cannot be read.
pub fn trees(old: &Path, new: &Path) -> Result<Vec<Difference>, TreeError> {
    let (a, b) = (tree::walk(old)?, tree::walk(new)?);
    let (hash_a, hash_b) = (digest::contents(old, &a)?, digest::contents(new, &b)?);
    let mut differences = Vec::new();
    let only = |change, entry: &Entry| Difference {
        change,
        path: entry.path.clone(),
        what: Vec::new(),
        size: if change == Change::Added { entry.size as i64 } else { -(entry.size as i64) },
    };
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let order = match (a.get(i), b.get(j)) {
            (Some(a), Some(b)) => a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => {
                differences.push(only(Change::Removed, &a[i]));
                i += 1;
            }
            Ordering::Greater => {
                differences.push(only(Change::Added, &b[j]));
                j += 1;
            }
            Ordering::Equal => {
                let what = aspects(&a[i], &b[j], hash_a[i] == hash_b[j]);
                if !what.is_empty() {
                    let size = b[j].size as i64 - a[i].size as i64;
                    differences.push(Difference {
                        change: Change::Changed,
                        path: b[j].path.clone(),
                        what,
                        size,
                    });
                }
                i += 1;
                j += 1;
            }
        }
    }
    Ok(differences)
}

fn aspects(a: &Entry, b: &Entry, same_content: bool) -> Vec<&'static str> {
    use crate::tree::Kind::{Block, Char, Symlink};
    let mut what = Vec::new();
    match (&a.kind, &b.kind) {
        (Symlink(old), Symlink(new)) if old != new => what.push("target"),
        (Char(old), Char(new)) | (Block(old), Block(new)) if old != new => what.push("type"),
        (old, new) if std::mem::discriminant(old) != std::mem::discriminant(new) => what.push("type"),
        _ if !same_content => what.push("content"),
        _ => {}
    }
    if a.mode != b.mode {
        what.push("mode");
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        what.push("owner");
    }
    if a.xattrs != b.xattrs {
        what.push("attributes");
    }
    what
}

/// Packages that differ between two texts of `/var/lib/dpkg/status`, sorted by name.
pub fn packages(old: &str, new: &str) -> Vec<PackageChange> {
    let (old, new) = (installed(old), installed(new));
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| PackageChange {
            package: (*name).to_owned(),
            from: old.get(name).map(|v| (*v).to_owned()),
            to: new.get(name).map(|v| (*v).to_owned()),
        })
        .collect()
}

fn installed(status: &str) -> HashMap<&str, &str> {
    status
        .split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            Some((field("Package:")?, field("Version:")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_diff_names_what_changed() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, files) in [(&old, ["a", "b", "c"]), (&new, ["b", "c", "d"])] {
            for file in files {
                fs::write(dir.path().join(file), "x").unwrap();
            }
        }
        fs::write(new.path().join("b"), "longer").unwrap();
        let changes: Vec<_> = trees(old.path(), new.path())
            .unwrap()
            .into_iter()
            .map(|d| (d.change, d.path.to_string_lossy().into_owned(), d.what, d.size))
            .collect();
        let expected = [
            (Change::Removed, "a".to_owned(), vec![], -1),
            (Change::Changed, "b".to_owned(), vec!["content"], 5),
            (Change::Added, "d".to_owned(), vec![], 1),
        ];
        assert_eq!(changes, expected);
    }

    #[test]
    fn packages_are_compared_by_version() {
        let old = "Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n";
        let new = "Package: a\nVersion: 2\n\nPackage: c\nVersion: 1\n";
        let names: Vec<_> = packages(old, new).into_iter().map(|p| (p.package, p.from, p.to)).collect();
        let v = |version: &str| Some(version.to_owned());
        assert_eq!(
            names,
            [("a".into(), v("1"), v("2")), ("b".into(), v("1"), None), ("c".into(), None, v("1"))]
        );
    }
}
