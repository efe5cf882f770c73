//! `import`: a tar archive (plain, gzip, xz, zstd) or a directory becomes a tree.
//!
//! The archive is hostile until shown otherwise. Names are made relative and may not hold `..`; each
//! parent resolves inside the tree ([`RootDir`]), so no link leads out of it; device nodes, attributes that
//! steer overlay filesystems or security modules, owners a tenant cannot have, and bombs are refused or
//! left out.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use serde::Serialize;
use tar::{Archive, EntryType};
use tenant::file_error::FileError;

use crate::{
    explain::{Explain, Outcome},
    progress::Progress,
    rootdir::{RootDir, remove_at},
    tool::{CP, ToolError},
    tree::MAX_DEPTH,
};

/// What an archive may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 2_000_000, bytes: 64 << 30 }
    }
}

/// Largest dictionary of an xz stream, bytes.
const XZ_MEMORY: u64 = 256 << 20;
/// Longest path of an entry, bytes: leaves room for the staging directory's below PATH_MAX.
const MAX_PATH: usize = 3 << 10;

/// What was done besides copying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries of the archive.
    pub entries: u64,
    /// Device nodes that were left out.
    pub devices: u64,
    /// Attributes that were left out.
    pub attributes: u64,
}

/// Why something cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is neither a directory nor an archive.
    #[error("{0:?} is neither a directory nor a tar archive (plain, gzip, xz or zstd)")]
    Unknown(PathBuf),
    /// An entry that no honest archive has.
    #[error("the archive's entry {entry:?} {reason}")]
    Hostile {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// cp(1) failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl Explain for ImportError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(source) if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or use --root DIR on another disk".to_owned())
            }
            Self::Hostile { .. } => {
                Some("nothing was imported; look into the archive with tar -tvf".to_owned())
            }
            Self::Unknown(_) => {
                Some("make one with: tar -C DIR --numeric-owner --xattrs -czf FILE .".to_owned())
            }
            Self::Tool(e) => e.help(),
            Self::File(_) => None,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::File(source) if source.kind() == io::ErrorKind::NotFound => Outcome::NotFound,
            _ => Outcome::Failed,
        }
    }
}

/// Unpacks the archive, or copies the directory, `from` to `tree`, which must not exist.
///
/// # Errors
/// [`ImportError`]; the tree may be there in part then, and is the staging directory's to remove.
pub fn import(from: &Path, tree: &Path, limits: Limits, progress: &Progress) -> Result<Report, ImportError> {
    let meta = fs::metadata(from).map_err(FileError::when("read", from))?;
    if meta.is_dir() {
        progress.step("copying the directory");
        let options = ["-a", "--reflink=auto", "--one-file-system", "--"].map(OsStr::new);
        CP.run(options.into_iter().chain([from.as_os_str(), tree.as_os_str()]), |_| {})?;
        return Ok(Report::default());
    }
    progress.step("unpacking the archive");
    let file = File::open(from).map_err(FileError::when("open", from))?;
    let reader = decompressed(BufReader::with_capacity(128 << 10, file))
        .map_err(FileError::when("read", from))?
        .ok_or_else(|| ImportError::Unknown(from.to_owned()))?;
    fs::create_dir(tree).map_err(FileError::when("make", tree))?;
    unpack(reader, tree, limits)
}

/// The tar stream in `reader`, whatever packs it; `None` if there is none.
fn decompressed<'a>(mut reader: impl BufRead + 'a) -> io::Result<Option<Box<dyn Read + 'a>>> {
    let start = reader.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Some(Box::new(flate2::bufread::MultiGzDecoder::new(reader))));
    }
    if start.starts_with(b"\xfd7zXZ\0") {
        let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
        return Ok(Some(Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Some(Box::new(zstd::Decoder::with_buffer(reader)?)));
    }
    let is_tar = start.get(257..262) == Some(b"ustar");
    Ok(is_tar.then(|| Box::new(reader) as Box<dyn Read + 'a>))
}

/// Unpacks a tar stream into the existing directory `tree`.
///
/// # Errors
/// [`ImportError`].
pub fn unpack(reader: impl Read, tree: &Path, limits: Limits) -> Result<Report, ImportError> {
    let failed = FileError::when("unpack into", tree);
    let mut unpacker = Unpacker {
        root: RootDir::open(tree).map_err(failed)?,
        limits,
        left: limits.bytes,
        report: Report::default(),
        directories: Vec::new(),
    };
    let mut archive = Archive::new(reader);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name: String = String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect();
        unpacker.entry(&mut entry).map_err(|e| match e {
            Refusal::Hostile(reason) => ImportError::Hostile { entry: name, reason },
            Refusal::Io(source) => FileError::new("unpack", name, source).into(),
        })?;
    }
    Ok(unpacker.finish().map_err(failed)?)
}

enum Refusal {
    Hostile(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<rustix::io::Errno> for Refusal {
    fn from(e: rustix::io::Errno) -> Self {
        Self::Io(e.into())
    }
}

struct Unpacker {
    root: RootDir,
    limits: Limits,
    left: u64,
    report: Report,
    /// Modes of directories are set last, so that a read-only one can be filled.
    directories: Vec<(PathBuf, u32, u64)>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Refusal> {
        self.report.entries += 1;
        if self.report.entries > self.limits.entries {
            return Err(Refusal::Hostile("is one too many"));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = relative(OsStr::from_bytes(&entry.path_bytes()))?;
        let header = entry.header();
        let (mode, mtime) = (header.mode()? & 0o7777, header.mtime()?);
        let (uid, gid) = (owner(header.uid()?)?, owner(header.gid()?)?);
        if path.as_os_str().is_empty() {
            if kind != EntryType::Directory {
                return Err(Refusal::Hostile("replaces the root directory"));
            }
            self.directories.push((path, mode, mtime));
            return Ok(());
        }
        let parent = self.root.mkdir_all(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().expect("a path that is not empty ends in a name").to_owned();
        match kind {
            EntryType::Directory => self.directory(&parent, &name, &path, mode, mtime)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &parent, &name)?
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(Refusal::Hostile("is a link to nowhere"))?;
                remove_at(&parent, &name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, &name)?;
            }
            EntryType::Link => return self.hard_link(entry, &parent, &name),
            EntryType::Fifo => {
                remove_at(&parent, &name)?;
                rustix::fs::mknodat(&parent, &name, FileType::Fifo, Mode::from_raw_mode(mode), 0)?;
            }
            EntryType::Char | EntryType::Block => {
                self.report.devices += 1;
                return Ok(());
            }
            _ => return Err(Refusal::Hostile("is of a type that a root filesystem has no use for")),
        }
        self.attributes(entry, &parent, &name, kind, (uid, gid), mode, mtime)
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        mode: u32,
        mtime: u64,
    ) -> Result<(), Refusal> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) => {
                remove_at(parent, name)?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
            }
            Err(_) => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?,
        }
        self.directories.push((path.to_owned(), mode, mtime));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), Refusal> {
        if entry.size() > self.left {
            return Err(Refusal::Hostile("makes the image larger than an image may be"));
        }
        remove_at(parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        let written = io::copy(&mut entry.take(self.left), &mut file)?;
        self.left -= written;
        Ok(())
    }

    fn hard_link<R: Read>(
        &self,
        entry: &tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), Refusal> {
        let target = entry.link_name_bytes().ok_or(Refusal::Hostile("is a link to nowhere"))?;
        let target = relative(OsStr::from_bytes(&target))?;
        let (target_parent, target_name) = self
            .root
            .parent(&target)
            .map_err(|_| Refusal::Hostile("is a hard link to a file that is not there"))?;
        remove_at(parent, name)?;
        rustix::fs::linkat(&target_parent, &target_name, parent, name, AtFlags::empty())
            .map_err(|_| Refusal::Hostile("is a hard link to a file that is not there"))
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it from one tar header")]
    fn attributes<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        kind: EntryType,
        (uid, gid): (u32, u32),
        mode: u32,
        mtime: u64,
    ) -> Result<(), Refusal> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd())).join(name);
        let extensions = entry.pax_extensions()?;
        for extension in extensions.into_iter().flatten() {
            let extension = extension?;
            let Some(key) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
            if is_harmless(key) && kind != EntryType::Symlink {
                xattr::set(&path, OsStr::from_bytes(key), extension.value_bytes())?;
            } else {
                self.report.attributes += 1;
            }
        }
        if kind != EntryType::Symlink && kind != EntryType::Directory {
            // After the owner: chown(2) clears setuid.
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn finish(self) -> io::Result<Report> {
        for (path, mode, mtime) in self.directories.iter().rev() {
            // A directory that a later entry replaced is skipped.
            let Some(stat) = (if path.as_os_str().is_empty() { None } else { self.root.stat(path)? }) else {
                if path.as_os_str().is_empty() {
                    let root = format!("/proc/self/fd/{}", self.root.fd().as_raw_fd());
                    rustix::fs::chmod(&*root, Mode::from_raw_mode(*mode))?;
                }
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            let (parent, name) = self.root.parent(path)?;
            rustix::fs::chmodat(&parent, &name, Mode::from_raw_mode(*mode), AtFlags::empty())?;
            rustix::fs::utimensat(&parent, &name, &times(*mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(self.report)
    }
}

fn times(mtime: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn owner(id: u64) -> Result<u32, Refusal> {
    u16::try_from(id).map(u32::from).map_err(|_| Refusal::Hostile("has an owner or group above 65535"))
}

/// File capabilities and what users set themselves; nothing that an overlay or a security module obeys.
fn is_harmless(key: &[u8]) -> bool {
    key == b"security.capability" || (key.starts_with(b"user.") && !key.starts_with(b"user.overlay."))
}

/// The path of an entry below the root: `/` and `.` are taken off, `..` is refused.
fn relative(path: &OsStr) -> Result<PathBuf, Refusal> {
    if path.len() > MAX_PATH || path.as_bytes().contains(&0) {
        return Err(Refusal::Hostile("has a name that is too long or holds a NUL"));
    }
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) if name.len() <= 255 => relative.push(name),
            Component::Normal(_) => return Err(Refusal::Hostile("has a name of more than 255 bytes")),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Refusal::Hostile("leads out of the image by \"..\""));
            }
        }
    }
    if relative.components().count() > MAX_DEPTH {
        return Err(Refusal::Hostile("lies too many directories deep"));
    }
    Ok(relative)
}
