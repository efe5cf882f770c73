//! An archive into a directory.

use std::{
    ffi::{CStr, CString, OsStr},
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Gid, RenameFlags, Timestamps, Uid},
    io::Errno,
};

use crate::{
    Dir, Keep, Reach, Tally, UnpackError, Watch,
    archive::{
        ArchiveError, Kind, Member, ReadError, Reader, Reason,
        acl::{Acl, Id},
    },
    attributes::{describe, describe_at},
    chain::Chain,
    dir::c_name,
};

/// Largest id inside a tenant.
const MAX_ID: u64 = 65_535;

/// Whose the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// As the archive says, by number.
    Kept,
    /// All of them this user's and group's.
    All(u32, u32),
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'a> {
    /// The entries below this path are unpacked, without it; the first that is not below ends the unpacking. Empty for all.
    pub prefix: &'a Path,
    /// Whose the files are.
    pub owners: Owners,
    /// Which extended attributes are set.
    pub keep: Keep,
    /// Whether the directory itself is given what the archive says of it.
    pub describes_top: bool,
    /// What the first component of every path becomes.
    pub name: Option<&'a OsStr>,
    /// The permission bits that are kept: all are `0o7777`.
    pub modes: u32,
}

impl Unpack<'_> {
    fn renamed(&self, path: &Path) -> PathBuf {
        let mut components = path.components();
        match (self.name, components.next()) {
            (Some(name), Some(_)) => Path::new(name).join(components.as_path()),
            _ => path.to_owned(),
        }
    }
}

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Entries and bytes.
    pub tally: Tally,
    /// The entry that is not below the prefix, unread; none at the end of the archive.
    pub next: Option<Member>,
}

/// Unpacks entries of an archive into `dir`. What is there is replaced by an entry of its path; a directory by none, unless
/// it is empty. A file that is replaced is there until the new one is whole.
///
/// # Errors
/// [`UnpackError`] with the entry's path; what was unpacked stays.
pub fn unpack<R: Read>(
    archive: &mut Reader<R>,
    dir: &Dir,
    how: &Unpack<'_>,
    watch: Watch<'_>,
) -> Result<Unpacked, UnpackError> {
    let top = dir.try_clone().map_err(|error| archive.error(error))?;
    let mut unpacking =
        Unpacking { chain: Chain::new(top), pending: Vec::new(), top: None, how, tally: Tally::default() };
    let mut next = None;
    while let Some(member) = archive.next_member()? {
        let whole = relative(&member.path).map_err(|reason| archive.error(reason))?;
        let Ok(path) = whole.strip_prefix(how.prefix) else {
            next = Some(member);
            break;
        };
        let path = how.renamed(path);
        unpacking.entry(archive, member, &path, watch).map_err(|fault| archive.error(fault))?;
        unpacking.tally.entries += 1;
        watch(&unpacking.tally).map_err(|error| archive.error(error))?;
    }
    unpacking.finish()?;
    Ok(Unpacked { tally: unpacking.tally, next })
}

/// The path of an entry below the top: `/` and `.` are taken off, `..` is refused.
fn relative(path: &OsStr) -> Result<PathBuf, Reason> {
    if path.is_empty() || path.as_bytes().contains(&0) {
        return Err(Reason::Name);
    }
    let mut relative = PathBuf::new();
    for part in path.as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Reason::ParentDir),
            part if part.len() > 255 => return Err(Reason::LongName),
            part => relative.push(OsStr::from_bytes(part)),
        }
    }
    Ok(relative)
}

/// What is to be said of an entry when it is whole.
struct Described {
    owner: (Uid, Gid),
    mode: u32,
    attributes: Vec<(CString, Vec<u8>)>,
    times: Timestamps,
}

impl Described {
    fn set(&self, dir: impl std::os::fd::AsFd) -> io::Result<()> {
        describe(dir, self.owner, self.mode, &self.attributes, Some(&self.times))
    }
}

struct Unpacking<'a> {
    chain: Chain,
    /// Of each level of the chain, if the archive has said something of it.
    pending: Vec<Option<Described>>,
    top: Option<Described>,
    how: &'a Unpack<'a>,
    tally: Tally,
}

/// Name of a file that is to replace another when it is whole.
const NEW: &CStr = c".tenantry-unpacked";

impl Unpacking<'_> {
    fn entry<R: Read>(
        &mut self,
        archive: &mut Reader<R>,
        member: Member,
        path: &Path,
        watch: Watch<'_>,
    ) -> Result<(), ReadError> {
        let Some(name) = path.file_name() else {
            if member.kind != Kind::Directory {
                return Err(Reason::Root.into());
            }
            self.go_to(Path::new(""))?;
            if self.how.describes_top {
                self.top = Some(self.described(&member)?);
            }
            return Ok(());
        };
        self.go_to(path.parent().unwrap_or(Path::new("")))?;
        let name = c_name(name)?;
        let described = self.described(&member)?;
        match member.kind {
            Kind::Directory => return self.directory(&name, described),
            Kind::File => self.file(archive, &member, &name, &described, watch)?,
            Kind::HardLink => {
                let target = relative(&member.link)?;
                let target = target.strip_prefix(self.how.prefix).map_err(|_| Reason::HardLink)?;
                let target = self.how.renamed(target);
                let first = c_name(target.file_name().ok_or(Reason::HardLink)?)?;
                let parent = target.parent().unwrap_or(Path::new(""));
                let parent = self.chain.top().find(parent).map_err(|_| Reason::HardLink)?;
                let here = self.chain.here()?;
                clear(here, &name)?;
                parent.link(&first, here, &name).map_err(|_| Reason::HardLink)?;
            }
            Kind::Symlink => {
                if member.link.is_empty() {
                    return Err(Reason::NoTarget.into());
                }
                let here = self.chain.here()?;
                clear(here, &name)?;
                here.symlink(&c_name(&member.link)?, &name)?;
                describe_at(here, &name, FileType::Symlink, described.owner, 0, &described.times)?;
            }
            Kind::Fifo => self.node(&name, FileType::Fifo, &described)?,
            Kind::Char(0, 0) if matches!(self.how.keep, Keep::Layer | Keep::LayerHere) => {
                self.node(&name, FileType::CharacterDevice, &described)?;
            }
            Kind::Char(..) | Kind::Block(..) => self.tally.left_out += 1,
        }
        Ok(())
    }

    /// Goes to a directory of the tree; those that the archive does not have are made.
    fn go_to(&mut self, path: &Path) -> Result<(), ReadError> {
        let wanted: Vec<CString> =
            path.components().map(|part| c_name(part.as_os_str())).collect::<io::Result<_>>()?;
        let common = self.chain.names().zip(&wanted).take_while(|(a, b)| **a == ***b).count();
        while self.pending.len() > common {
            self.leave()?;
        }
        for name in &wanted[common..] {
            match self.chain.follow(name) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let made = self.chain.here()?.make_dir(name)?;
                    rustix::fs::fchmod(&made, rustix::fs::Mode::from_raw_mode(0o755))?;
                    self.chain.follow(name)?;
                }
                Err(error) => return Err(error.into()),
            }
            self.pending.push(None);
        }
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        if let Some(Some(described)) = self.pending.pop() {
            described.set(self.chain.here()?)?;
        }
        self.chain.leave();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ArchiveError> {
        let failed = |chain: &Chain, error: io::Error| ArchiveError {
            entry: chain.path().to_string_lossy().chars().take(200).collect(),
            fault: error.into(),
        };
        while !self.pending.is_empty() {
            self.leave().map_err(|error| failed(&self.chain, error))?;
        }
        match self.top.take() {
            Some(described) => described.set(self.chain.top()).map_err(|error| failed(&self.chain, error)),
            None => Ok(()),
        }
    }

    fn directory(&mut self, name: &CStr, described: Described) -> Result<(), ReadError> {
        let here = self.chain.here()?;
        match here.stat(name) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {}
                // To a directory, where links are followed.
                FileType::Symlink if here.reach() == Reach::Confined && here.dir_or_link(name).is_ok() => {}
                _ => {
                    clear(here, name)?;
                    here.make_dir(name)?;
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => drop(here.make_dir(name)?),
            Err(error) => return Err(error.into()),
        }
        self.chain.follow(name)?;
        self.pending.push(Some(described));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        archive: &mut Reader<R>,
        member: &Member,
        name: &CStr,
        described: &Described,
        watch: Watch<'_>,
    ) -> Result<(), ReadError> {
        let here = self.chain.here()?;
        let replaces = here.has(name)?;
        let first = if replaces { NEW } else { name };
        if replaces {
            here.unlink(NEW)?;
        }
        let mut file = here.create(first, 0o600)?;
        let mut fill = || -> Result<(), ReadError> {
            let mut tally = self.tally;
            let before = tally.bytes;
            archive.copy_to_watched(member, &mut file, &mut |bytes| {
                tally.bytes = before + bytes;
                watch(&tally)
            })?;
            Ok(described.set(&file)?)
        };
        let filled = fill().and_then(|()| match replaces {
            true => replace(here, name),
            false => Ok(()),
        });
        if filled.is_err() {
            // Half of a file is nobody's. What cannot be removed is told by the failure before.
            let _ = here.unlink(first);
        }
        filled?;
        self.tally.bytes += member.stored();
        Ok(())
    }

    fn node(&mut self, name: &CStr, kind: FileType, described: &Described) -> Result<(), ReadError> {
        let here = self.chain.here()?;
        clear(here, name)?;
        here.make_node(name, kind, 0o600, 0)?;
        Ok(describe_at(here, name, kind, described.owner, described.mode, &described.times)?)
    }

    fn described(&mut self, member: &Member) -> Result<Described, ReadError> {
        let id = |id: u64| match u32::try_from(id) {
            Ok(number) if id <= MAX_ID => Ok(number),
            _ => Err(Reason::Owner { id, mapped: false }),
        };
        let (uid, gid) = match self.how.owners {
            Owners::All(uid, gid) => (uid, gid),
            Owners::Kept => (id(member.uid)?, id(member.gid)?),
        };
        let has_content = matches!(member.kind, Kind::File | Kind::Directory);
        let mut attributes = Vec::new();
        for (name, value) in &member.attributes {
            if has_content && self.how.keep.has(name.as_bytes()) {
                attributes.push((c_name(name)?, value.clone()));
            }
        }
        let lists = [(Acl::ACCESS, &member.acl), (Acl::DEFAULT, &member.default_acl)];
        for (name, acl) in lists {
            if let Some(acl) = acl
                && has_content
                && self.how.keep.has(name.as_bytes())
            {
                let bytes = acl.to_bytes(number("user"), number("group"))?;
                attributes.push((CString::new(name).map_err(io::Error::from)?, bytes));
            }
        }
        let times = Timestamps { last_access: member.mtime, last_modification: member.mtime };
        let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(Described { owner, mode: member.mode & self.how.modes, attributes, times })
    }
}

/// The number of a user or group in an access control list.
fn number(kind: &'static str) -> impl Fn(&Id) -> Result<u32, Reason> {
    move |id| match id {
        Id::Number(id) => match u32::try_from(*id) {
            Ok(number) if *id <= MAX_ID => Ok(number),
            _ => Err(Reason::Owner { id: *id, mapped: false }),
        },
        Id::Name(name) => Err(Reason::AclName { kind, name: name.clone() }),
    }
}

/// Puts the new file in the place of what is there.
fn replace(here: &Dir, name: &CStr) -> Result<(), ReadError> {
    match here.rename(NEW, here, name, RenameFlags::empty()) {
        Err(error) if error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) => {
            clear(here, name)?;
            Ok(here.rename(NEW, here, name, RenameFlags::empty())?)
        }
        other => Ok(other?),
    }
}

/// Removes what has a name; a directory only if it is empty.
fn clear(here: &Dir, name: &CStr) -> Result<(), ReadError> {
    let removed = match here.unlink(name) {
        Err(error) if error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) => here.remove_dir(name),
        other => other,
    };
    match removed {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Err(Reason::NotEmpty.into()),
        Err(error) => Err(error.into()),
    }
}
