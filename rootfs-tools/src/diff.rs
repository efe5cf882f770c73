//! What changed between two versions, from what the store knows of them: no tree is read.

use std::{
    cmp::Ordering,
    collections::HashMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tenant::model::{
    ids::Digest,
    image::{ImageName, ImageSource},
};

pub use crate::installed::PackageChange;
use crate::{
    Store,
    installed::Packages,
    inventory::{Inventory, InventoryError, Item},
    rootdir::RootDir,
    store::StoreError,
    tree::Kind,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How.
    pub change: Change,
    /// Path below the root.
    pub path: PathBuf,
    /// For a changed entry: `type`, `content`, `mode`, `owner`, `target`, `attributes`, `links`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<&'static str>,
    /// New size minus old size, bytes.
    pub size: i64,
}

/// What a version contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its files.
    pub inventory: Inventory,
    /// Its packages.
    pub packages: Packages,
}

/// What changed from one version to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Packages, sorted by name.
    pub packages: Vec<PackageChange>,
    /// Files, sorted by path.
    pub files: Vec<Difference>,
}

impl Changes {
    /// Changed files below a directory of the image, for example `etc`.
    pub fn below<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a Difference> {
        self.files.iter().filter(move |difference| difference.path.starts_with(dir))
    }

    /// Number of files that are new, gone and changed.
    pub fn count(&self) -> [usize; 3] {
        [Change::Added, Change::Removed, Change::Changed]
            .map(|change| self.files.iter().filter(|difference| difference.change == change).count())
    }
}

/// What changes from `old` to `new`. It is pure, and costs a few milliseconds for an image of ten thousand files.
pub fn changes(old: &Content, new: &Content) -> Changes {
    Changes { packages: old.packages.changes(&new.packages), files: files(&old.inventory, &new.inventory) }
}

/// Why the content of a version is not known.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// No such version.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its tree cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl crate::Explain for ContentError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.help(),
            Self::Inventory(e) => e.help(),
        }
    }

    fn outcome(&self) -> crate::Outcome {
        match self {
            Self::Store(e) => e.outcome(),
            Self::Inventory(e) => e.outcome(),
        }
    }
}

impl Store {
    /// What a version contains. A version of an earlier release is read once, and what was found is kept.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn content(&self, image: &ImageName, digest: &Digest) -> Result<Content, ContentError> {
        let manifest = self.manifest(image, digest)?;
        let inventory = crate::inventory::of_version(self.layout(), image, digest, &manifest)?;
        Ok(Content { inventory, packages: self.packages(image, digest)? })
    }

    /// The packages of a version.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn packages(&self, image: &ImageName, digest: &Digest) -> Result<Packages, ContentError> {
        let dir = self.layout().version(image, digest);
        if let Some(packages) = Packages::read(&dir).map_err(InventoryError::from)? {
            return Ok(packages);
        }
        let manifest = self.manifest(image, digest)?;
        let source = ImageSource::of(self.layout(), &manifest);
        let opened = tenant::kernel::image::Contents::open(&source).map_err(InventoryError::from)?;
        let path = opened.path();
        let read = RootDir::open(&path).and_then(|root| Packages::of_tree(&root));
        let failed = tenant::files::file_error::FileError::when("read the packages of", &path);
        let packages = read.map_err(|e| InventoryError::from(failed(e)))?;
        // A reader without the right to write it reads the tree each time.
        let _ = packages.write(&dir);
        Ok(packages)
    }
}

/// Entries that differ between two inventories, sorted by path.
pub fn files(old: &Inventory, new: &Inventory) -> Vec<Difference> {
    let (first_old, first_new) = (first_names(old), first_names(new));
    let (mut a, mut b) = (old.items().iter().peekable(), new.items().iter().peekable());
    let mut differences = Vec::new();
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return differences,
            (Some(a), Some(b)) => a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let left = a.next_if(|_| order != Ordering::Greater);
        let right = b.next_if(|_| order != Ordering::Less);
        let (change, what) = match (left, right) {
            (Some(_), None) => (Change::Removed, Vec::new()),
            (None, _) => (Change::Added, Vec::new()),
            (Some(left), Some(right)) => {
                let mut what = aspects(left, right);
                if first_old.get(&left.inode) != first_new.get(&right.inode) {
                    what.push("links");
                }
                if what.is_empty() {
                    continue;
                }
                (Change::Changed, what)
            }
        };
        let size = |item: Option<&Item>| item.map_or(0, |item| item.size as i64);
        let path = right.or(left).expect("one of them is there").path.clone();
        differences.push(Difference { change, path, what, size: size(right) - size(left) });
    }
}

/// The first name of each file with several names.
fn first_names(inventory: &Inventory) -> HashMap<Option<u64>, &Path> {
    let mut first = HashMap::new();
    for item in inventory.items().iter().filter(|item| item.inode.is_some()) {
        first.entry(item.inode).or_insert(item.path.as_path());
    }
    first
}

/// In what two files differ, each by itself: `type`, `content`, `target`, `mode`, `owner`, `attributes`.
pub fn aspects(a: &Item, b: &Item) -> Vec<&'static str> {
    use Kind::{Block, Char, Symlink};
    let mut what = Vec::new();
    match (&a.kind, &b.kind) {
        (Symlink(old), Symlink(new)) if old != new => what.push("target"),
        (Char(old), Char(new)) | (Block(old), Block(new)) if old != new => what.push("type"),
        (old, new) if std::mem::discriminant(old) != std::mem::discriminant(new) => what.push("type"),
        _ if a.sha256 != b.sha256 => what.push("content"),
        _ => {}
    }
    let more = [
        (a.mode != b.mode, "mode"),
        ((a.uid, a.gid) != (b.uid, b.gid), "owner"),
        (a.xattrs != b.xattrs, "attributes"),
    ];
    what.extend(more.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name));
    what
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{digest, tree};

    fn inventory(root: &Path) -> Inventory {
        let entries = tree::walk(root).unwrap();
        Inventory::of(&entries, &digest::contents(root, &entries).unwrap())
    }

    #[test]
    fn a_diff_names_what_changed() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, files) in [(&old, ["a", "b", "c"]), (&new, ["b", "c", "d"])] {
            for file in files {
                fs::write(dir.path().join(file), "x").unwrap();
            }
        }
        fs::write(new.path().join("b"), "longer").unwrap();
        fs::hard_link(old.path().join("c"), old.path().join("e")).unwrap();
        fs::write(new.path().join("e"), "x").unwrap();
        let old = Content { inventory: inventory(old.path()), packages: Packages::parse("p 1\n") };
        let new = Content { inventory: inventory(new.path()), packages: Packages::parse("p 2\n") };
        let found = changes(&old, &new);
        let named: Vec<_> = found
            .files
            .iter()
            .map(|d| (d.change, d.path.to_string_lossy().into_owned(), d.what.clone(), d.size))
            .collect();
        let expected = [
            (Change::Removed, "a".to_owned(), vec![], -1),
            (Change::Changed, "b".to_owned(), vec!["content"], 5),
            (Change::Changed, "c".to_owned(), vec!["links"], 0),
            (Change::Added, "d".to_owned(), vec![], 1),
            (Change::Changed, "e".to_owned(), vec!["links"], 0),
        ];
        assert_eq!(named, expected);
        assert_eq!((found.count(), found.packages.len()), ([1, 1, 3], 1));
        assert_eq!(changes(&new, &new), Changes::default());
    }
}
