//! A root filesystem as a list of entries, for the digest, the lint rules and the diff.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use crate::explain::{Explain, Outcome};

/// Deepest directory that is walked; a real root filesystem has fewer than 30 levels.
pub const MAX_DEPTH: usize = 256;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link and where it points.
    Symlink(PathBuf),
    /// A character device and its number.
    Char(u64),
    /// A block device and its number.
    Block(u64),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// One file, directory, link or node of a tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path below the root of the tree, without a leading `/`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner on disk; 0 to 65,535 in a usable image.
    pub uid: u32,
    /// Group on disk.
    pub gid: u32,
    /// Size in bytes; 0 for all but files.
    pub size: u64,
    /// Device and inode number.
    pub inode: (u64, u64),
    /// Number of hard links.
    pub links: u64,
    /// Extended attributes, sorted by name.
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
}

/// A tree that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call failed.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("{0:?} lies more than {MAX_DEPTH} directories deep")]
    TooDeep(PathBuf),
}

impl Explain for TreeError {
    fn help(&self) -> Option<String> {
        None
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Lists everything below `root`, the root itself first, sorted by the bytes of the path. Symbolic links
/// are not followed, and neither are mounts: a tree is one filesystem.
///
/// # Errors
/// [`TreeError`] for the first file that cannot be read.
pub fn walk(root: &Path) -> Result<Vec<Entry>, TreeError> {
    let mut entries = vec![entry(root, PathBuf::new())?];
    let mut pending = vec![(PathBuf::new(), 0)];
    while let Some((dir, depth)) = pending.pop() {
        if depth > MAX_DEPTH {
            return Err(TreeError::TooDeep(dir));
        }
        let absolute = root.join(&dir);
        let failed = |source| TreeError::Read { path: absolute.clone(), source };
        for child in fs::read_dir(&absolute).map_err(failed)? {
            let path = dir.join(child.map_err(failed)?.file_name());
            let child = entry(root, path)?;
            if child.kind == Kind::Dir && child.inode.0 == entries[0].inode.0 {
                pending.push((child.path.clone(), depth + 1));
            }
            entries.push(child);
        }
    }
    entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(entries)
}

fn entry(root: &Path, path: PathBuf) -> Result<Entry, TreeError> {
    let absolute = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
    let failed = |source| TreeError::Read { path: absolute.clone(), source };
    let meta = fs::symlink_metadata(&absolute).map_err(failed)?;
    let file_type = meta.file_type();
    let kind = if file_type.is_dir() {
        Kind::Dir
    } else if file_type.is_file() {
        Kind::File
    } else if file_type.is_symlink() {
        Kind::Symlink(fs::read_link(&absolute).map_err(failed)?)
    } else if file_type.is_char_device() {
        Kind::Char(meta.rdev())
    } else if file_type.is_block_device() {
        Kind::Block(meta.rdev())
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    let mut xattrs = BTreeMap::new();
    for name in xattr::list(&absolute).map_err(failed)? {
        if let Some(value) = xattr::get(&absolute, &name).map_err(failed)? {
            xattrs.insert(name, value);
        }
    }
    Ok(Entry {
        size: if kind == Kind::File { meta.size() } else { 0 },
        path,
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        inode: (meta.dev(), meta.ino()),
        links: meta.nlink(),
        xattrs,
    })
}
