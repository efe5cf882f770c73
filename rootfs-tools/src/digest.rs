//! The content digest that names a version.
//!
//! It covers what a tenant can see of a tree: path, type, mode, owner, device number, link target,
//! extended attributes, file content and which names are hard links of one file. It leaves out times,
//! inode numbers and the order on disk, so that building the same packages again gives the same name.

use std::{
    collections::HashMap,
    fs::File,
    io, iter,
    os::unix::ffi::OsStrExt as _,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread::Builder,
};

use sha2::{Digest as _, Sha256};
use tenant::model::{ids::Digest, image::ImageFormat};

use crate::tree::{Entry, Kind, TreeError};

/// First bytes of what is hashed; a change of the encoding changes it.
const MAGIC: &[u8] = b"tenantry-tree-v1\n";
/// The same for a version that is stored as one erofs file, or whose blocks are checked when they are read.
const EROFS_MAGIC: &[u8] = b"tenantry-erofs-v1\n";
const EROFS_VERITY_MAGIC: &[u8] = b"tenantry-erofs-verity-v1\n";
const TREE_VERITY_MAGIC: &[u8] = b"tenantry-tree-verity-v1\n";

/// SHA-256 of a file's content.
pub type ContentHash = [u8; 32];

/// Hashes of the regular files among `entries`, in their order; `None` for everything else.
///
/// # Errors
/// The first file that cannot be read.
pub fn contents(root: &Path, entries: &[Entry]) -> Result<Vec<Option<ContentHash>>, TreeError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, ContentHash)>, TreeError> {
        let mut hashes = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = entries.get(index) else { return Ok(hashes) };
            if entry.kind == Kind::File {
                hashes.push((index, hash_file(&root.join(&entry.path))?));
            }
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        // Where there can be no thread more, fewer do it, and this one in any case.
        let others = (1..threads).map_while(|_| Builder::new().spawn_scoped(scope, worker).ok());
        let others: Vec<_> = others.collect();
        let own = worker();
        let others =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        iter::once(own).chain(others).collect()
    });
    let mut all = vec![None; entries.len()];
    for result in results {
        for (index, hash) in result? {
            all[index] = Some(hash);
        }
    }
    Ok(all)
}

fn hash_file(path: &Path) -> Result<ContentHash, TreeError> {
    let hashed = File::open(path).and_then(hash);
    hashed.map_err(|source| TreeError::Read { path: path.to_owned(), source })
}

/// SHA-256 of what is read.
///
/// # Errors
/// It cannot be read.
pub fn hash(mut file: impl io::Read) -> io::Result<ContentHash> {
    let mut buffer = vec![0; 128 << 10];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of a tree that [`crate::tree::walk`] listed.
///
/// # Errors
/// The first file that cannot be read.
pub fn digest(root: &Path, entries: &[Entry]) -> Result<Digest, TreeError> {
    let contents = contents(root, entries)?;
    Ok(combine(entries, &contents))
}

/// The digest of a tree whose contents are hashed already.
pub fn combine(entries: &[Entry], contents: &[Option<ContentHash>]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(MAGIC);
    let mut first_names: HashMap<(u64, u64), &PathBuf> = HashMap::new();
    for (entry, content) in entries.iter().zip(contents) {
        let first = first_names.entry(entry.inode).or_insert(&entry.path);
        let linked = entry.kind != Kind::Dir && *first != &entry.path;
        let (tag, detail): (u8, &[u8]) = match &entry.kind {
            _ if linked => (b'h', first.as_os_str().as_bytes()),
            Kind::Dir => (b'd', &[]),
            Kind::File => (b'f', content.as_ref().map_or(&[], |hash| &hash[..])),
            Kind::Symlink(target) => (b'l', target.as_os_str().as_bytes()),
            Kind::Char(_) => (b'c', &[]),
            Kind::Block(_) => (b'b', &[]),
            Kind::Fifo => (b'p', &[]),
            Kind::Socket => (b's', &[]),
        };
        let rdev = if let Kind::Char(rdev) | Kind::Block(rdev) = entry.kind { rdev } else { 0 };
        hasher.update([tag]);
        field(&mut hasher, entry.path.as_os_str().as_bytes());
        for number in [entry.mode, entry.uid, entry.gid] {
            hasher.update(number.to_le_bytes());
        }
        hasher.update(rdev.to_le_bytes());
        hasher.update(entry.size.to_le_bytes());
        field(&mut hasher, detail);
        hasher.update((entry.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &entry.xattrs {
            field(&mut hasher, name.as_bytes());
            field(&mut hasher, value);
        }
    }
    Digest::from_bytes(hasher.finalize().into())
}

/// The name of the version that stores the tree of this digest in one way. Each way gives another, so that all can
/// be published side by side.
pub fn of_version(tree: &Digest, format: ImageFormat, verity: bool) -> Digest {
    let magic = match (format, verity) {
        (ImageFormat::Tree, false) => return *tree,
        (ImageFormat::Tree, true) => TREE_VERITY_MAGIC,
        (ImageFormat::Erofs, false) => EROFS_MAGIC,
        (ImageFormat::Erofs, true) => EROFS_VERITY_MAGIC,
    };
    let mut hasher = Sha256::new();
    hasher.update(magic);
    hasher.update(tree.to_string());
    Digest::from_bytes(hasher.finalize().into())
}

pub(crate) fn field(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;
    use crate::tree::walk;

    fn of(root: &Path) -> Digest {
        digest(root, &walk(root).unwrap()).unwrap()
    }

    fn sample(reverse: bool) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("usr")).unwrap();
        let mut names = ["usr/a", "usr/b", "usr/c"];
        if reverse {
            names.reverse();
        }
        for name in names {
            fs::write(root.join(name), name).unwrap();
        }
        fs::hard_link(root.join("usr/a"), root.join("usr/z")).unwrap();
        symlink("usr/a", root.join("link")).unwrap();
        dir
    }

    #[test]
    fn the_order_on_disk_and_the_times_do_not_matter() {
        assert_eq!(of(sample(false).path()), of(sample(true).path()));
    }

    #[test]
    fn everything_a_tenant_can_see_matters() {
        type Change = fn(&Path);
        let changes: &[(&str, Change)] = &[
            ("content", |root| fs::write(root.join("usr/b"), "other").unwrap()),
            ("name", |root| fs::rename(root.join("usr/b"), root.join("usr/d")).unwrap()),
            ("mode", |root| fs::set_permissions(root.join("usr/b"), Permissions::from_mode(0o4755)).unwrap()),
            ("owner", |root| std::os::unix::fs::chown(root.join("usr/b"), Some(7), None).unwrap()),
            ("root mode", |root| fs::set_permissions(root, Permissions::from_mode(0o711)).unwrap()),
            ("xattr", |root| xattr::set(root.join("usr/b"), "user.k", b"v").unwrap()),
            ("target", |root| {
                fs::remove_file(root.join("link")).unwrap();
                symlink("usr/b", root.join("link")).unwrap();
            }),
            ("hard link", |root| {
                fs::remove_file(root.join("usr/z")).unwrap();
                fs::write(root.join("usr/z"), "usr/a").unwrap();
            }),
            ("empty directory", |root| fs::create_dir(root.join("usr/e")).unwrap()),
        ];
        let before = of(sample(false).path());
        for (what, change) in changes {
            let tree = sample(false);
            change(tree.path());
            assert_ne!(of(tree.path()), before, "{what} does not change the digest");
        }
    }
}
