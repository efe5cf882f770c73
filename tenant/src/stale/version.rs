//! The files of a version in the image store, by their inodes.

use std::{
    collections::HashMap,
    ffi::{CString, OsStr},
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat};

use super::id::{Beneath, FileId};
use crate::{files::layout::Layout, kernel::openat2, model::allocation::Pinned};

/// Where the superblock of an erofs image has its UUID, bytes from the beginning; `struct erofs_super_block`.
const EROFS_UUID: usize = 1024 + 48;
/// `EROFS_SUPER_MAGIC_V1` of linux/magic.h.
const EROFS_MAGIC: u32 = 0xe0f5_e1e2;
/// Longest first line of a script that the kernel reads, bytes: `BINPRM_BUF_SIZE`.
const FIRST_LINE: u64 = 256;

/// The SHA-256 of regular files, by their paths.
pub type Sums = HashMap<PathBuf, [u8; 32]>;
/// What is known of the files of a version without reading them; nothing where nothing is.
pub type SumsOf = fn(&Layout, &Pinned) -> Sums;

/// A version, opened once for a look.
#[derive(Debug)]
pub(super) struct Version {
    pinned: Pinned,
    files: Files,
    index: OnceLock<HashMap<FileId, Vec<PathBuf>>>,
    sums: OnceLock<Sums>,
    layout: Layout,
    sums_of: SumsOf,
}

/// How its files are known.
#[derive(Debug)]
enum Files {
    /// By their inodes in the tree.
    Tree(OwnedFd),
    /// By the UUID of their filesystem, which is the version's alone, and their inodes there where it is mounted.
    Erofs { uuid: [u8; 16], mount: Option<OwnedFd> },
    /// The version has been removed.
    Gone,
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Version {
    /// The version in the store.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn open(layout: &Layout, pinned: &Pinned, sums_of: SumsOf) -> io::Result<Self> {
        let Pinned { image, digest } = pinned;
        let files = if let Some(tree) = found(open_dir(&layout.tree(image, digest)))? {
            Files::Tree(tree)
        } else if let Some(mut file) = found(File::open(layout.erofs(image, digest)))? {
            let mut head = [0; EROFS_UUID + 16];
            file.read_exact(&mut head)?;
            let mut uuid = [0; 16];
            uuid.copy_from_slice(&head[EROFS_UUID..]);
            let mount = found(open_dir(&layout.image_mount(digest)))?;
            // Where it is not mounted there is an empty directory of the host.
            let is_erofs =
                |mount: &OwnedFd| rustix::fs::fstatfs(mount).is_ok_and(|fs| fs.f_type as u32 == EROFS_MAGIC);
            Files::Erofs { uuid, mount: mount.filter(is_erofs) }
        } else {
            Files::Gone
        };
        let (index, sums) = (OnceLock::new(), OnceLock::new());
        Ok(Self { pinned: pinned.clone(), files, index, sums, layout: layout.clone(), sums_of })
    }

    /// The SHA-256 of the file at a path, if it is known.
    pub(super) fn sum(&self, path: &Path) -> Option<[u8; 32]> {
        self.sums.get_or_init(|| (self.sums_of)(&self.layout, &self.pinned)).get(path).copied()
    }

    /// Which it is.
    pub(super) fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// Whether it is not in the store any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.files, Files::Gone)
    }

    fn tree(&self) -> Option<&OwnedFd> {
        match &self.files {
            Files::Tree(tree) => Some(tree),
            Files::Erofs { mount, .. } => mount.as_ref(),
            Files::Gone => None,
        }
    }

    /// The file at a path of the version that leads over no link.
    pub(super) fn file(&self, path: &Path) -> Option<FileId> {
        let tree = self.tree()?;
        let relative = path.strip_prefix("/").unwrap_or(path);
        let (parent, name) = (relative.parent()?, relative.file_name()?);
        let name = CString::new(name.as_bytes()).ok()?;
        if parent == Path::new("") {
            return FileId::of_entry(tree, &name).ok();
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat2(tree, parent, flags, Mode::empty(), resolve).ok()?;
        FileId::of_entry(&parent, &name).ok()
    }

    /// Whether one inode may be a file of both versions: each erofs image numbers its own, so that the numbers of two are
    /// often the same.
    pub(super) fn shares_inodes(&self, other: &Self) -> bool {
        matches!((&self.files, &other.files), (Files::Tree(_), Files::Tree(_)))
    }

    /// Whether what an overlay shows can be a file of the version, by the filesystem that it is on.
    pub(super) fn may_have(&self, beneath: &Beneath) -> bool {
        match &self.files {
            Files::Tree(_) => true,
            Files::Erofs { uuid, .. } => *uuid == beneath.filesystem,
            Files::Gone => false,
        }
    }

    /// Whether a file that an overlay shows is the version's own at this path.
    pub(super) fn has(&self, path: &Path, beneath: &Beneath) -> bool {
        let is_unmounted = matches!(&self.files, Files::Erofs { mount: None, .. });
        let is_it = || self.file(path).is_some_and(|file| file == beneath.file);
        self.may_have(beneath) && (is_unmounted || is_it())
    }

    /// Every path that a file has in the version. The first question reads the whole tree, some ten thousand names.
    pub(super) fn paths(&self, beneath: &Beneath) -> &[PathBuf] {
        if !self.may_have(beneath) {
            return &[];
        }
        let index = self.index.get_or_init(|| {
            let mut index = HashMap::new();
            if let Some(dir) = self.tree().and_then(|tree| Dir::read_from(tree).ok()) {
                collect(dir, Path::new("/"), &mut index);
            }
            index
        });
        index.get(&beneath.file).map_or(&[], Vec::as_slice)
    }

    /// Where a path of the version leads to, by links too, none of which leads out of it.
    pub(super) fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let tree = self.tree()?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let file = openat2(tree, path, flags, Mode::empty(), resolve).ok()?;
        let name = |file: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
        Some(Path::new("/").join(name(&file)?.strip_prefix(name(tree)?).ok()?))
    }

    /// The beginning of a file at a path without links, as much as the kernel looks at to find the interpreter.
    pub(super) fn first_line(&self, path: &Path) -> Option<Vec<u8>> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(self.tree()?, relative, flags, Mode::empty(), resolve).ok()?;
        let mut line = Vec::new();
        File::from(file).take(FIRST_LINE).read_to_end(&mut line).ok()?;
        Some(line)
    }
}

/// The regular files of a directory and below it. What cannot be read is left out.
fn collect(mut dir: Dir, at: &Path, index: &mut HashMap<FileId, Vec<PathBuf>>) {
    let mut dirs = Vec::new();
    while let Some(Ok(entry)) = dir.read() {
        let name = entry.file_name();
        let path = || at.join(OsStr::from_bytes(name.to_bytes()));
        match entry.file_type() {
            FileType::Directory if !matches!(name.to_bytes(), b"." | b"..") => dirs.push(name.to_owned()),
            FileType::RegularFile => {
                if let Ok(file) =
                    dir.fd().map_err(io::Error::from).and_then(|dir| FileId::of_entry(dir, name))
                {
                    index.entry(file).or_default().push(path());
                }
            }
            _ => {}
        }
    }
    for name in dirs {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = dir.fd().and_then(|dir| openat(dir, &name, flags, Mode::empty()));
        if let Ok(below) = below.and_then(Dir::new) {
            collect(below, &at.join(OsStr::from_bytes(name.to_bytes())), index);
        }
    }
}
