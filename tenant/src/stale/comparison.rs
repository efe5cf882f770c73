//! A tenant's present version against those that it had before.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    id::Beneath,
    version::{SumsOf, Version},
};
use crate::{files::layout::Layout, model::allocation::Pinned};

/// Of which version a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The present one has it, at this path.
    Present(PathBuf),
    /// An earlier one, and the present one has another file at this path, or none.
    Earlier {
        /// Its path in the version.
        path: PathBuf,
        /// The version.
        version: Pinned,
    },
    /// It is no file of any of them.
    Foreign,
}

/// The present version and the earlier ones, in the directories that change.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) present: Arc<Version>,
    /// The latest first.
    pub(super) earlier: Vec<Arc<Version>>,
    /// The shared directories, e.g. `/usr`.
    tops: Vec<PathBuf>,
    known: Mutex<HashMap<Beneath, Verdict>>,
}

impl Comparison {
    /// Whether a path of a version is in a directory that changes.
    pub(super) fn changes(&self, path: &Path) -> bool {
        self.tops.iter().any(|top| path.starts_with(top))
    }

    /// Where in a version a file may be that a mount namespace calls `path`: there, or, for a mount that is not attached
    /// any more, below one of the directories.
    pub(super) fn places(&self, path: &Path) -> Vec<PathBuf> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let below = self.tops.iter().map(|top| top.join(relative));
        Some(path.to_owned()).into_iter().filter(|path| self.changes(path)).chain(below).collect()
    }

    /// Of which version a file is. Its name only tells where to look first: it is known by its inode.
    pub(super) fn verdict(&self, name: &Path, beneath: &Beneath) -> Verdict {
        let known = |known: &Mutex<HashMap<_, Verdict>>| {
            known.lock().unwrap_or_else(PoisonError::into_inner).get(beneath).cloned()
        };
        if let Some(verdict) = known(&self.known) {
            return verdict;
        }
        let verdict = self.decide(name, beneath);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(beneath.clone(), verdict.clone());
        verdict
    }

    fn decide(&self, name: &Path, beneath: &Beneath) -> Verdict {
        let places = self.places(name);
        if let Some(path) = places.iter().find(|path| self.present.has(path, beneath)) {
            return Verdict::Present(path.clone());
        }
        let stale = |path: &Path, version: &Version| match self.is_unchanged(path, version) {
            true => Verdict::Present(path.to_owned()),
            false => Verdict::Earlier { path: path.to_owned(), version: version.pinned().clone() },
        };
        for version in &self.earlier {
            if let Some(path) = places.iter().find(|path| version.has(path, beneath)) {
                return stale(path, version);
            }
        }
        // It has another name: it is mounted elsewhere, or seen from a root of its own.
        for version in &self.earlier {
            let mut paths = version.paths(beneath).iter().filter(|path| self.changes(path)).peekable();
            if let Some(first) = paths.peek().copied() {
                return match paths.find(|path| self.present.has(path, beneath)) {
                    Some(path) => Verdict::Present(path.clone()),
                    None => stale(first, version),
                };
            }
        }
        Verdict::Foreign
    }

    /// Whether the present version has the same file at a path as an earlier one: the same inode, or the same content in
    /// another one. An erofs image shares no inodes with others, and a tree none where the store could not make a link.
    pub(super) fn is_unchanged(&self, path: &Path, version: &Version) -> bool {
        let same_file = || version.file(path).is_some_and(|file| self.present.file(path) == Some(file));
        if version.shares_inodes(&self.present) && same_file() {
            return true;
        }
        version.sum(path).is_some_and(|sum| self.present.sum(path) == Some(sum))
    }

    /// An earlier version that is not in the store any more: its files are not known.
    pub(super) fn gone(&self) -> Option<&Pinned> {
        self.earlier.iter().find(|version| version.is_gone()).map(|version| version.pinned())
    }
}

/// What several looks have in common: each version is opened once, each file compared once.
#[derive(Debug, Default)]
pub struct Versions {
    opened: Mutex<HashMap<Pinned, Arc<Version>>>,
    compared: Mutex<HashMap<Key, Arc<Comparison>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    present: Pinned,
    earlier: Vec<Pinned>,
    tops: Vec<PathBuf>,
}

impl Versions {
    pub(super) fn version(
        &self,
        layout: &Layout,
        pinned: &Pinned,
        sums_of: SumsOf,
    ) -> std::io::Result<Arc<Version>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = opened.get(pinned) {
            return Ok(version.clone());
        }
        let version = Arc::new(Version::open(layout, pinned, sums_of)?);
        opened.insert(pinned.clone(), version.clone());
        Ok(version)
    }

    /// The comparison of a present version with earlier ones, the latest first, in some directories of the top level.
    ///
    /// # Errors
    /// A version cannot be read, or the present one is not in the store.
    pub(super) fn compare(
        &self,
        layout: &Layout,
        present: &Pinned,
        earlier: &[Pinned],
        tops: Vec<PathBuf>,
        sums_of: SumsOf,
    ) -> std::io::Result<Arc<Comparison>> {
        let key = Key { present: present.clone(), earlier: earlier.to_vec(), tops };
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(comparison) = compared.get(&key) {
            return Ok(comparison.clone());
        }
        let version = self.version(layout, present, sums_of)?;
        if version.is_gone() {
            return Err(std::io::Error::other(format!("version {present} is not in the store")));
        }
        let earlier = earlier.iter().map(|pinned| self.version(layout, pinned, sums_of));
        let comparison = Arc::new(Comparison {
            present: version,
            earlier: earlier.collect::<std::io::Result<_>>()?,
            tops: key.tops.clone(),
            known: Mutex::default(),
        });
        compared.insert(key, comparison.clone());
        Ok(comparison)
    }
}
