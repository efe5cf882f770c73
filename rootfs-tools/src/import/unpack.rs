//! Members of an archive to files of a tree.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use filetree::archive::{ArchiveError, Kind, Member, ReadError, Reader, Reason, acl::Acl};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use tenant::files::file_error::FileError;

use super::{
    attributes::{self, Keep},
    error::ImportError,
    idmap::IdMap,
    layer::{self, Mark},
    names::Names,
    options::{Options, relative},
    report::Report,
};
use crate::rootdir::RootDir;

/// Maximum number of device nodes and hard links to them; a host's /dev has some hundred.
const MAX_DEVICES: usize = 1 << 16;

/// Unpacks a tar stream into the existing directory `tree`.
///
/// # Errors
/// [`ImportError`].
pub fn unpack(reader: impl Read, tree: &Path, options: &Options) -> Result<Report, ImportError> {
    let failed = FileError::when("unpack into", tree);
    let mut archive = Reader::new(reader);
    let mut unpacker = Unpacker::new(RootDir::open(tree).map_err(failed)?, options);
    while let Some(member) = archive.next_member()? {
        unpacker.entry(&mut archive, member).map_err(|fault| archive.error(fault))?;
    }
    unpacker.finish()
}

/// Unpacks the layers of an image, each a tar stream, into the existing directory `tree`: files of a later one replace
/// and remove those of the ones before it.
///
/// # Errors
/// [`ImportError`].
pub fn unpack_layers<R: Read>(
    layers: impl IntoIterator<Item = Result<R, ImportError>>,
    tree: &Path,
    options: &Options,
) -> Result<Report, ImportError> {
    let failed = FileError::when("unpack into", tree);
    let mut unpacker = Unpacker::new(RootDir::open(tree).map_err(failed)?, options);
    for layer in layers {
        unpacker.layer = Some(HashSet::new());
        let mut archive = Reader::new(layer?);
        while let Some(member) = archive.next_member()? {
            unpacker.entry(&mut archive, member).map_err(|fault| archive.error(fault))?;
        }
    }
    unpacker.finish()
}

/// A file by its directory and its name in it.
struct Place {
    parent: OwnedFd,
    name: OsString,
}

impl Place {
    fn stat(&self) -> Result<Option<Stat>, Errno> {
        match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Sets an attribute; of a link its own.
    fn set_attribute(&self, name: &OsStr, value: &[u8]) -> Result<(), Errno> {
        let parent = PathBuf::from(format!("/proc/self/fd/{}", self.parent.as_raw_fd()));
        rustix::fs::lsetxattr(parent.join(&self.name), name, value, XattrFlags::empty())
    }

    fn set_owner(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&self.parent, &self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        rustix::fs::chmodat(&self.parent, &self.name, Mode::from_raw_mode(mode), AtFlags::empty())
    }

    fn set_times(&self, time: Timespec) -> Result<(), Errno> {
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(&self.parent, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// What is set after everything is unpacked: on directories, because files are still added to them, and on
/// files whose ACL names users that may follow later.
struct Deferred {
    path: PathBuf,
    inode: u64,
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Timespec,
    acl: Option<Acl>,
    default_acl: Option<Acl>,
}

struct Unpacker<'a> {
    root: RootDir,
    options: &'a Options,
    /// Bytes that may still come.
    left: u64,
    report: Report,
    /// By inode.
    deferred: HashMap<u64, Deferred>,
    /// Device nodes that were left out.
    devices: HashSet<PathBuf>,
    names: Names,
    /// What the present layer has added, if it is one.
    layer: Option<HashSet<PathBuf>>,
    /// Whether an entry below the wanted prefix was seen.
    found: bool,
}

impl<'a> Unpacker<'a> {
    fn new(root: RootDir, options: &'a Options) -> Self {
        Self {
            root,
            options,
            left: options.limits.bytes,
            report: Report::default(),
            deferred: HashMap::new(),
            devices: HashSet::new(),
            names: Names::default(),
            layer: None,
            found: false,
        }
    }

    fn idmap(&self) -> &'a IdMap {
        &self.options.idmap
    }

    fn prefix(&self) -> &'a Path {
        self.options.strip_prefix.as_deref().unwrap_or(Path::new(""))
    }

    fn entry<R: Read>(&mut self, archive: &mut Reader<R>, member: Member) -> Result<(), ReadError> {
        self.report.entries += 1;
        if self.report.entries > self.options.limits.entries {
            return Err(Reason::TooMany.into());
        }
        self.left = self.left.checked_sub(member.size).ok_or(Reason::TooLarge)?;
        let whole = relative(&member.path)?;
        let Ok(path) = whole.strip_prefix(self.prefix()) else {
            if !self.prefix().starts_with(&whole) {
                self.report.outside += 1;
            }
            return Ok(());
        };
        self.found = true;
        if let Some(added) = &self.layer
            && let Some(mark) = Mark::of(path)?
        {
            return Ok(mark.apply(&self.root, added)?);
        }
        attributes::check_layer(path, &member)?;
        self.names.learn(&member);
        let uid = self.idmap().user(member.uid).ok_or_else(|| self.owner(member.uid))?;
        let gid = self.idmap().group(member.gid).ok_or_else(|| self.owner(member.gid))?;
        if path.as_os_str().is_empty() && member.kind != Kind::Directory {
            return Err(Reason::Root.into());
        }
        self.place(archive, member, path, (uid, gid))?;
        if let Some(added) = &mut self.layer {
            // So are the directories above it, whose own entries may be missing.
            let mut at = Some(path);
            while let Some(path) = at.filter(|path| added.insert((*path).to_owned())) {
                at = path.parent();
            }
        }
        Ok(())
    }

    fn owner(&self, id: u64) -> Reason {
        Reason::Owner { id, mapped: !self.idmap().is_empty() }
    }

    /// The parent of `path`, created if needed, and its name; for the root, the root and `.`.
    fn at(&self, path: &Path) -> Result<Place, ReadError> {
        let Some(name) = path.file_name() else {
            return Ok(Place { parent: self.root.mkdir_all("")?, name: ".".into() });
        };
        let parent = self.root.mkdir_all(path.parent().unwrap_or(Path::new("")))?;
        Ok(Place { parent, name: name.to_owned() })
    }

    fn place<R: Read>(
        &mut self,
        archive: &mut Reader<R>,
        member: Member,
        path: &Path,
        owner: (u32, u32),
    ) -> Result<(), ReadError> {
        let at = self.at(path)?;
        match member.kind {
            Kind::Directory => self.directory(&at, path)?,
            Kind::File => {
                self.clear(&at)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&at.parent, &at.name, flags, Mode::from_raw_mode(0o600))?;
                archive.copy_to(&member, &mut File::from(file))?;
            }
            Kind::Symlink if member.link.is_empty() => return Err(Reason::NoTarget.into()),
            Kind::Symlink => {
                self.clear(&at)?;
                rustix::fs::symlinkat(member.link.as_os_str(), &at.parent, &at.name)?;
            }
            Kind::HardLink => return self.hard_link(&member, &at, path),
            Kind::Fifo => {
                self.clear(&at)?;
                let mode = Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(&at.parent, &at.name, FileType::Fifo, mode, 0)?;
            }
            Kind::Char(..) | Kind::Block(..) => return self.leave_out(path),
        }
        self.devices.remove(path);
        self.describe(member, &at, path, owner)
    }

    fn directory(&mut self, at: &Place, path: &Path) -> Result<(), ReadError> {
        let kind = at.stat()?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Some(FileType::Directory) {
            // What a layer says of a directory is all that there is to say of it.
            return match self.layer.as_ref().is_some_and(|added| !added.contains(path)) {
                true => Ok(layer::plain(&at.parent, &at.name)?),
                false => Ok(()),
            };
        }
        self.clear(at)?;
        Ok(rustix::fs::mkdirat(&at.parent, &at.name, Mode::from_raw_mode(0o700))?)
    }

    /// Removes an earlier entry: the later one wins, as for tar(1), which does not remove a non-empty directory either.
    fn clear(&mut self, at: &Place) -> Result<(), ReadError> {
        let Some(stat) = at.stat()? else { return Ok(()) };
        if self.layer.is_some() {
            return Ok(layer::clear(&at.parent, &at.name)?);
        }
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&at.parent, &at.name, flags) {
            Err(Errno::NOTEMPTY) => return Err(Reason::NotEmpty.into()),
            other => other?,
        }
        if is_directory || stat.st_nlink == 1 {
            self.deferred.remove(&stat.st_ino);
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &Path) -> Result<(), ReadError> {
        self.report.devices += 1;
        if self.devices.len() == MAX_DEVICES {
            return Err(Reason::TooMany.into());
        }
        self.devices.insert(path.to_owned());
        Ok(())
    }

    fn hard_link(&mut self, member: &Member, at: &Place, path: &Path) -> Result<(), ReadError> {
        if member.link.is_empty() {
            return Err(Reason::NoTarget.into());
        }
        let target = relative(&member.link)?;
        let target = target.strip_prefix(self.prefix()).map_err(|_| Reason::HardLink)?;
        if self.devices.contains(target) {
            return self.leave_out(path);
        }
        let (parent, name) = self.root.parent(target).map_err(|_| Reason::HardLink)?;
        let target = Place { parent, name };
        let found = target.stat()?.ok_or(Reason::HardLink)?;
        if at.stat()?.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        self.clear(at)?;
        rustix::fs::linkat(&target.parent, &target.name, &at.parent, &at.name, AtFlags::empty())
            .map_err(|_| Reason::HardLink)?;
        self.devices.remove(path);
        Ok(())
    }

    /// Sets owner, attributes, mode and times of what was just created.
    fn describe(
        &mut self,
        member: Member,
        at: &Place,
        path: &Path,
        (uid, gid): (u32, u32),
    ) -> Result<(), ReadError> {
        // Writing and chown(2) take capabilities and setuid away, so they come first.
        at.set_owner(uid, gid)?;
        if self.layer.is_some()
            && let Some(stat) = at.stat()?
        {
            // The number of a directory that this layer has replaced may be this file's now.
            self.deferred.remove(&stat.st_ino);
        }
        let is_directory = member.kind == Kind::Directory;
        for (name, value) in &member.attributes {
            match attributes::keep(name, value, member.kind, self.idmap())? {
                Keep::As(value) => at.set_attribute(name, &value)?,
                Keep::Not => self.left_out(&name.to_string_lossy()),
            }
        }
        for key in &member.unknown {
            self.left_out(key);
        }
        let (mut acl, mut default_acl) = (member.acl, member.default_acl);
        if matches!(member.kind, Kind::Symlink) && acl.take().is_some() {
            self.left_out(Acl::ACCESS);
        }
        if !is_directory && default_acl.take().is_some() {
            self.left_out(Acl::DEFAULT);
        }
        if is_directory || acl.as_ref().is_some_and(Acl::has_names) {
            let stat = at.stat()?.ok_or(Errno::NOENT)?;
            let (mode, mtime) = (member.mode, member.mtime);
            let inode = stat.st_ino;
            let deferred = Deferred { path: path.to_owned(), inode, uid, gid, mode, mtime, acl, default_acl };
            self.deferred.insert(inode, deferred);
            return Ok(());
        }
        if let Some(acl) = &acl {
            self.set_acl(at, Acl::ACCESS, acl)?;
        }
        if member.kind != Kind::Symlink {
            at.set_mode(member.mode)?;
        }
        Ok(at.set_times(member.mtime)?)
    }

    fn left_out(&mut self, name: &str) {
        self.report.attributes += 1;
        *self.report.names.entry(name.chars().take(64).collect()).or_default() += 1;
        // The archive chooses the names of its attributes freely.
        if self.report.names.len() > 64 {
            self.report.names.pop_last();
        }
    }

    fn set_acl(&self, at: &Place, name: &str, acl: &Acl) -> Result<(), ReadError> {
        let bytes =
            acl.to_bytes(|id| self.names.user(id, self.idmap()), |id| self.names.group(id, self.idmap()))?;
        at.set_attribute(OsStr::new(name), &bytes).map_err(|errno| match errno {
            Errno::INVAL => Reason::Acl("the kernel refuses it").into(),
            errno => ReadError::from(errno),
        })
    }

    fn finish(mut self) -> Result<Report, ImportError> {
        if !self.found && !self.prefix().as_os_str().is_empty() {
            return Err(ImportError::NoPrefix(self.prefix().to_owned()));
        }
        self.names.look_up(&self.root, Path::new("/"));
        let mut deferred: Vec<Deferred> = std::mem::take(&mut self.deferred).into_values().collect();
        deferred.sort_by(|a, b| a.path.cmp(&b.path));
        for deferred in &deferred {
            self.settle(deferred).map_err(|fault| ArchiveError {
                entry: deferred.path.to_string_lossy().chars().take(200).collect(),
                fault,
            })?;
        }
        Ok(self.report)
    }

    fn settle(&self, deferred: &Deferred) -> Result<(), ReadError> {
        let at = match deferred.path.file_name() {
            None => self.at(&deferred.path)?,
            Some(_) => match self.root.parent(&deferred.path) {
                Ok((parent, name)) => Place { parent, name },
                // A later layer has removed the directory that it was in.
                Err(_) if self.layer.is_some() => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        };
        if at.stat()?.is_none_or(|stat| stat.st_ino != deferred.inode) {
            if self.layer.is_some() {
                return Ok(());
            }
            return Err(Reason::Replaced.into());
        }
        at.set_owner(deferred.uid, deferred.gid)?;
        if let Some(acl) = &deferred.acl {
            self.set_acl(&at, Acl::ACCESS, acl)?;
        }
        if let Some(acl) = &deferred.default_acl {
            self.set_acl(&at, Acl::DEFAULT, acl)?;
        }
        at.set_mode(deferred.mode)?;
        Ok(at.set_times(deferred.mtime)?)
    }
}
