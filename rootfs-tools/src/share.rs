//! Versions share what did not change: a file of a staged tree that an earlier version has as well becomes a hard link to
//! that one, before the new version is published. Both are then one inode: its blocks are on the disk once, and its pages
//! in memory once, also while tenants of both versions are running.
//!
//! A published file is never written to, whatever it is shared with: every change of a tree happens in the staging
//! directory, by new files that replace old ones ([`crate::rootdir::RootDir::write`]), and a version is removed name by
//! name. So an inode may have names in any number of versions, and in the cache of builds.
//!
//! What stays as it is:
//! - The digest of the tree. It says which names are one file, so an inode takes part in a tree as one file at most.
//! - What a tenant may look at the link count of, see [`DIRS`].

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map},
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use serde::Serialize;
use tenant::{
    Layout,
    files::file_error::FileError,
    model::{
        ids::Digest,
        image::{ImageFormat, ImageName, Manifest},
    },
};

use crate::{
    Store,
    digest::ContentHash,
    inventory,
    progress::Progress,
    rootdir::RootDir,
    staging::Staging,
    tree::{Entry, Kind},
};

/// Directories whose files may have names outside their tree. A tenant sees the link count of a file, and cron,
/// logrotate and mail servers refuse a file of `/etc` or `/var` with more than one.
pub const DIRS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Whether the file at `path` may have names outside its tree.
pub fn may_be_shared(path: &Path) -> bool {
    DIRS.iter().any(|dir| path.starts_with(dir))
}

/// How much of a version is shared with earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Number of files, each counted once however many names it has.
    pub files: u64,
    /// Size of them, bytes.
    pub bytes: u64,
}

/// What must be equal for two files to become one; their times need not, see [`is_same_time`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    sha256: ContentHash,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    xattrs: Option<ContentHash>,
}

/// Where a file of an earlier version may become one of the staged tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At its own path.
    Same,
    /// Anywhere.
    Any,
}

/// A file of the staged tree.
struct Wanted<'a> {
    /// Its names, in order.
    names: Vec<&'a Entry>,
    inode: (u64, u64),
    size: u64,
}

/// Replaces files of the staged tree by links to equal files of versions in the store: those of `image` first, the newest
/// first, then those of other images. A file that cannot be linked (too many links, another disk, no space) stays a copy.
/// `entries` and `contents` are those of the staged tree.
///
/// # Errors
/// A prepared link that cannot be put in its place; the staged tree is not to be published then.
pub fn share(
    layout: &Layout,
    staging: &Staging,
    image: &ImageName,
    verity: bool,
    (entries, contents): (&[Entry], &[Option<ContentHash>]),
    progress: &Progress,
) -> Result<Shared, FileError> {
    let mut sharing = Sharing::of(staging, entries, contents);
    for (image, digest, manifest) in sources(layout, image, verity) {
        if sharing.pending.is_empty() {
            break;
        }
        progress.step(&format!("sharing files with {image}@{}", digest.short()));
        // A version that cannot be read is not shared with.
        let Ok(inventory) = inventory::of_version(layout, &image, &digest, &manifest) else { continue };
        let Ok(root) = RootDir::open(&layout.tree(&image, &digest)) else { continue };
        // First each file with the one of its own path, so that of several equal files none takes another's place: what
        // a tenant of the earlier version has in memory is what it would have of this one.
        for place in [Place::Same, Place::Any] {
            for item in inventory.items().iter().filter(|item| may_be_shared(&item.path)) {
                let Some(sha256) = item.sha256 else { continue };
                let &inventory::Item { size, mode, uid, gid, xattrs, .. } = item;
                sharing.offer(&Key { sha256, size, mode, uid, gid, xattrs }, &root, &item.path, place)?;
            }
        }
    }
    sharing.restore_times()?;
    Ok(sharing.shared)
}

/// Versions that are stored as trees, with or without verified blocks as wanted, in the order they are asked.
fn sources(layout: &Layout, image: &ImageName, verity: bool) -> Vec<(ImageName, Digest, Manifest)> {
    let store = Store::new(layout.clone());
    let mut sources = Vec::new();
    for other in store.images().unwrap_or_default() {
        for digest in store.versions(&other).unwrap_or_default() {
            // One whose manifest cannot be read is not shared with.
            let Ok(manifest) = store.manifest(&other, &digest) else { continue };
            if manifest.format == ImageFormat::Tree && manifest.verity.is_some() == verity {
                sources.push((other.clone(), digest, manifest));
            }
        }
    }
    sources.sort_by(|(a, _, older), (b, _, newer)| {
        (a != image).cmp(&(b != image)).then_with(|| newer.created.cmp(&older.created))
    });
    sources
}

struct Sharing<'a> {
    tree: PathBuf,
    /// Where links are prepared.
    scratch: PathBuf,
    /// Files that are not shared yet.
    pending: HashMap<Key, Vec<Wanted<'a>>>,
    /// Inodes that are in the staged tree.
    used: HashSet<(u64, u64)>,
    /// Times of directories in which a name was replaced.
    times: BTreeMap<PathBuf, Timestamps>,
    shared: Shared,
}

impl<'a> Sharing<'a> {
    fn of(staging: &Staging, entries: &'a [Entry], contents: &[Option<ContentHash>]) -> Self {
        let mut files: BTreeMap<(u64, u64), (Key, Wanted<'a>)> = BTreeMap::new();
        for (entry, sha256) in entries.iter().zip(contents) {
            let (Kind::File, Some(sha256)) = (&entry.kind, sha256) else { continue };
            let &Entry { size, mode, uid, gid, inode, .. } = entry;
            let xattrs = inventory::hash_xattrs(&entry.xattrs);
            let key = Key { sha256: *sha256, size, mode, uid, gid, xattrs };
            let new = || (key, Wanted { names: Vec::new(), inode, size });
            files.entry(inode).or_insert_with(new).1.names.push(entry);
        }
        let mut pending: HashMap<Key, Vec<Wanted<'a>>> = HashMap::new();
        for (key, wanted) in files.into_values() {
            if wanted.size > 0 && wanted.names.iter().all(|entry| may_be_shared(&entry.path)) {
                pending.entry(key).or_default().push(wanted);
            }
        }
        Self {
            tree: staging.tree(),
            scratch: staging.scratch().to_owned(),
            pending,
            used: entries.iter().map(|entry| entry.inode).collect(),
            times: BTreeMap::new(),
            shared: Shared::default(),
        }
    }

    /// Takes the file at `path` below `root` for one that is pending, if there is one it equals.
    fn offer(&mut self, key: &Key, root: &RootDir, path: &Path, place: Place) -> Result<(), FileError> {
        let Some(pending) = self.pending.get_mut(key) else { return Ok(()) };
        let is_here =
            |wanted: &Wanted<'_>| place == Place::Any || wanted.names.iter().any(|entry| entry.path == path);
        if !pending.iter().any(is_here) {
            return Ok(());
        }
        let Ok(file) = open(root, path) else { return Ok(()) };
        let Ok(meta) = file.metadata() else { return Ok(()) };
        let inode = (meta.dev(), meta.ino());
        let fits = |wanted: &Wanted<'_>| {
            is_here(wanted)
                && (wanted.inode == inode
                    || (!self.used.contains(&inode)
                        && wanted.inode.0 == inode.0
                        && is_equal(&file, &meta, &self.tree, wanted, key).unwrap_or(false)))
        };
        let Some(index) = pending.iter().position(fits) else { return Ok(()) };
        let wanted = &pending[index];
        let is_shared = wanted.inode == inode || self.replace(&file, index, key)?;
        if is_shared {
            let pending = self.pending.get_mut(key).expect("it was there");
            let wanted = pending.swap_remove(index);
            if pending.is_empty() {
                self.pending.remove(key);
            }
            self.used.insert(inode);
            self.shared.files += 1;
            self.shared.bytes += wanted.size;
        }
        Ok(())
    }

    /// Replaces all names of a pending file by links to `file` and says whether that was possible. Either all names change
    /// or none does: otherwise one file of the tree would have become two.
    fn replace(&mut self, file: &File, index: usize, key: &Key) -> Result<bool, FileError> {
        let wanted = &self.pending[key][index];
        let source = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let links: Vec<_> = (0..wanted.names.len()).map(|n| self.scratch.join(format!("link-{n}"))).collect();
        for (made, link) in links.iter().enumerate() {
            if rustix::fs::linkat(CWD, &source, CWD, link, AtFlags::SYMLINK_FOLLOW).is_err() {
                // Too many links, another disk, no space, or a file that may not be linked to.
                for link in &links[..made] {
                    fs::remove_file(link).map_err(FileError::when("remove", link))?;
                }
                return Ok(false);
            }
        }
        for (entry, link) in wanted.names.iter().zip(&links) {
            let name = self.tree.join(&entry.path);
            let dir = name.parent().expect("a file lies in a directory").to_owned();
            if let btree_map::Entry::Vacant(unknown) = self.times.entry(dir) {
                let dir = unknown.key();
                let meta = fs::symlink_metadata(dir).map_err(FileError::when("read", dir))?;
                unknown.insert(times(&meta));
            }
            fs::rename(link, &name).map_err(FileError::when("replace", &name))?;
        }
        Ok(true)
    }

    /// Directories get back the times that they were built with: caches such as fontconfig's compare them.
    fn restore_times(&self) -> Result<(), FileError> {
        for (dir, times) in &self.times {
            rustix::fs::utimensat(CWD, dir, times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| FileError::new("change the times of", dir, e))?;
        }
        Ok(())
    }
}

fn times(meta: &fs::Metadata) -> Timestamps {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    }
}

/// Opens a file of a version; no link leads out of its tree, and the last component is not followed.
fn open(root: &RootDir, path: &Path) -> io::Result<File> {
    let (parent, name): (OwnedFd, OsString) = root.parent(path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(parent, &name, flags, Mode::empty())?))
}

/// Whether a file of a version has the same content and metadata as one of the staged tree. Its inventory says so
/// already; but a file that is damaged on the disk must not get into another version.
fn is_equal(
    file: &File,
    meta: &fs::Metadata,
    tree: &Path,
    wanted: &Wanted<'_>,
    key: &Key,
) -> io::Result<bool> {
    let staged = File::open(tree.join(&wanted.names[0].path))?;
    let of_staged = staged.metadata()?;
    let what = |meta: &fs::Metadata| (meta.is_file(), meta.mode(), meta.uid(), meta.gid(), meta.len());
    Ok(what(meta) == what(&of_staged)
        && wanted.names.iter().all(|entry| is_same_time(&entry.path, meta, &of_staged))
        && xattrs(file)? == key.xattrs
        && is_same_content(file, &staged)?)
}

/// Whether the times of two equal files do not prevent that they become one, with the time of the older version.
///
/// Two builds of the same packages give most files other times, and no program may care; except that a `.pyc` file contains
/// the time of its `.py` file in seconds, and Python compiles the source again, at each start, where they differ.
fn is_same_time(path: &Path, a: &fs::Metadata, b: &fs::Metadata) -> bool {
    path.extension().is_none_or(|extension| extension != "py") || a.mtime() == b.mtime()
}

fn xattrs(file: &File) -> io::Result<Option<ContentHash>> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut all = BTreeMap::new();
    for name in xattr::list_deref(&path)? {
        if let Some(value) = xattr::get_deref(&path, &name)? {
            all.insert(name, value);
        }
    }
    Ok(inventory::hash_xattrs(&all))
}

fn is_same_content(a: &File, b: &File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    loop {
        let len = a.read_at(&mut left, at)?;
        if len == 0 {
            return Ok(b.read_at(&mut right[..1], at)? == 0);
        }
        if let Err(e) = b.read_exact_at(&mut right[..len], at) {
            return if e.kind() == io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(e) };
        }
        if left[..len] != right[..len] {
            return Ok(false);
        }
        at += len as u64;
    }
}
