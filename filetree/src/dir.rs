//! A directory that others write into.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, Stat},
    io::Errno,
};

use crate::openat2;

/// How far a name may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Host code in a directory of a tenant's: over no link, into no mount, out of nothing.
    Beneath,
    /// A process that sees nothing but the tenant's own: over links and into mounts, but over no magic link of
    /// `/proc`.
    Confined,
}

impl Reach {
    /// The flags of openat2(2) that say so.
    pub const fn resolve(self) -> ResolveFlags {
        match self {
            Self::Beneath => ResolveFlags::BENEATH
                .union(ResolveFlags::NO_XDEV)
                .union(ResolveFlags::NO_MAGICLINKS)
                .union(ResolveFlags::NO_SYMLINKS),
            Self::Confined => ResolveFlags::NO_MAGICLINKS,
        }
    }
}

/// So much of a directory is read at once, bytes.
const BUFFER: usize = 16 << 10;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory. Names given to it are of one component; `..` and what has a `/` in it are refused.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    reach: Reach,
}

fn check(name: &CStr) -> io::Result<()> {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(io::ErrorKind::InvalidInput.into()),
        bytes if bytes.contains(&b'/') => Err(io::ErrorKind::InvalidInput.into()),
        _ => Ok(()),
    }
}

impl Dir {
    /// Opens a directory of the host's own, by a path that no tenant can bend, to reach what is beneath it.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::openat(CWD, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { fd, reach: Reach::Beneath })
    }

    /// A directory that is open already; its descriptor is one to read.
    pub fn new(fd: OwnedFd, reach: Reach) -> Self {
        Self { fd, reach }
    }

    /// The same directory once more.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, reach: self.reach })
    }

    /// How far names lead.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    fn open_at(&self, name: &CStr, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        check(name)?;
        let flags = flags | OFlags::CLOEXEC;
        Ok(openat2(&self.fd, name, flags, Mode::from_raw_mode(mode), self.reach.resolve())?)
    }

    /// The directory of this name, which is no link.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn dir(&self, name: &CStr) -> io::Result<Self> {
        let fd = self.open_at(name, DIRECTORY | OFlags::NOFOLLOW, 0)?;
        Ok(Self { fd, reach: self.reach })
    }

    /// The directory of this name, or, where links may be followed, that to which a link leads.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub(crate) fn dir_or_link(&self, name: &CStr) -> io::Result<Self> {
        Ok(Self { fd: self.open_at(name, DIRECTORY, 0)?, reach: self.reach })
    }

    /// The directory at a path below this one: one component after the other.
    ///
    /// # Errors
    /// Those of openat2(2); `InvalidInput` for a path that leads up.
    pub fn find(&self, path: &Path) -> io::Result<Self> {
        let mut dir = self.try_clone()?;
        for component in path.components() {
            match component {
                Component::CurDir | Component::RootDir => {}
                Component::Normal(name) => dir = dir.dir_or_link(&c_name(name)?)?,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(dir)
    }

    /// What has this name, to be looked at and not opened (`O_PATH`).
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn entry(&self, name: &CStr) -> io::Result<OwnedFd> {
        self.open_at(name, OFlags::PATH | OFlags::NOFOLLOW, 0)
    }

    /// The regular file of this name, to be read.
    ///
    /// # Errors
    /// Those of openat2(2); `InvalidInput` where it is no regular file. A FIFO or device is not waited for.
    pub fn file(&self, name: &CStr) -> io::Result<File> {
        // A device, which is opened by being looked at, may be none of the tenant's.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file(self.stat(name)?) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = self.open_at(name, flags, 0)?;
        match is_file(rustix::fs::fstat(&file)?) {
            true => Ok(file.into()),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Makes a file of this name, which must not be there, to be written.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn create(&self, name: &CStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        Ok(self.open_at(name, flags, mode)?.into())
    }

    /// Makes a directory of this name, mode 0700, and opens it.
    ///
    /// # Errors
    /// Those of mkdirat(2) and openat2(2).
    pub fn make_dir(&self, name: &CStr) -> io::Result<Self> {
        check(name)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o700))?;
        self.dir(name)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// Those of symlinkat(2).
    pub fn symlink(&self, target: &CStr, name: &CStr) -> io::Result<()> {
        check(name)?;
        Ok(rustix::fs::symlinkat(target, &self.fd, name)?)
    }

    /// Makes a FIFO or a device node.
    ///
    /// # Errors
    /// Those of mknodat(2).
    pub fn make_node(&self, name: &CStr, kind: FileType, mode: u32, device: u64) -> io::Result<()> {
        check(name)?;
        Ok(rustix::fs::mknodat(&self.fd, name, kind, Mode::from_raw_mode(mode), device)?)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// Those of linkat(2).
    pub fn link(&self, name: &CStr, to: &Self, new: &CStr) -> io::Result<()> {
        check(name).and(check(new))?;
        Ok(rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty())?)
    }

    /// Renames; `flags` are those of renameat2(2).
    ///
    /// # Errors
    /// Those of renameat2(2).
    pub fn rename(&self, name: &CStr, to: &Self, new: &CStr, flags: RenameFlags) -> io::Result<()> {
        check(name).and(check(new))?;
        Ok(rustix::fs::renameat_with(&self.fd, name, &to.fd, new, flags)?)
    }

    /// Removes a name that is no directory's; whether there was one.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn unlink(&self, name: &CStr) -> io::Result<bool> {
        self.remove(name, AtFlags::empty())
    }

    /// Removes an empty directory; whether there was one.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn remove_dir(&self, name: &CStr) -> io::Result<bool> {
        self.remove(name, AtFlags::REMOVEDIR)
    }

    fn remove(&self, name: &CStr, flags: AtFlags) -> io::Result<bool> {
        check(name)?;
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What has this name; a link is not followed.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn stat(&self, name: &CStr) -> io::Result<Stat> {
        check(name)?;
        Ok(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Whether anything has this name.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn has(&self, name: &CStr) -> io::Result<bool> {
        match self.stat(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// Those of readlinkat(2).
    pub fn target(&self, name: &CStr) -> io::Result<CString> {
        check(name)?;
        Ok(rustix::fs::readlinkat(&self.fd, name, Vec::new())?)
    }

    /// Tells every name in it but `.` and `..`, from where this descriptor stands to the end, with its type as far as the
    /// filesystem knows it. A directory that was removed has none.
    ///
    /// # Errors
    /// Those of getdents(2), and those of `tell`.
    pub fn each<E: From<io::Error>>(
        &self,
        mut tell: impl FnMut(&CStr, FileType) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(self.fd.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            match entry {
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(io::Error::from(errno).into()),
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => tell(entry.file_name(), entry.file_type())?,
            }
        }
        Ok(())
    }

    /// Reads names from the beginning again.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn rewind(&self) -> io::Result<()> {
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0))?;
        Ok(())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.fd
    }
}

/// What is open.
///
/// # Errors
/// Those of fstat(2).
pub(crate) fn stat_of(fd: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(fd)?)
}

/// A name as the system calls take it.
///
/// # Errors
/// It has a NUL in it.
pub(crate) fn c_name(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use super::*;

    fn name(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    #[test]
    fn what_a_tenant_plants_is_not_followed_and_not_waited_for() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "host").unwrap();
        let tree = tempfile::tempdir().unwrap();
        symlink(outside.path(), tree.path().join("dir")).unwrap();
        symlink(outside.path().join("secret"), tree.path().join("file")).unwrap();
        rustix::fs::mknodat(CWD, tree.path().join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::create_dir(tree.path().join("real")).unwrap();
        fs::write(tree.path().join("real/text"), "own").unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        for planted in ["dir", "file", "fifo"] {
            assert!(dir.dir(&name(planted)).is_err() && dir.file(&name(planted)).is_err(), "{planted}");
            assert!(dir.create(&name(planted), 0o600).is_err(), "{planted}");
        }
        for up in ["", ".", "..", "real/text", "../x", "/etc"] {
            assert!(dir.entry(&name(up)).is_err() && dir.stat(&name(up)).is_err(), "{up:?}");
            assert!(dir.make_dir(&name(up)).is_err() && dir.unlink(&name(up)).is_err(), "{up:?}");
        }
        assert!(dir.find(Path::new("real/..")).is_err() && dir.find(Path::new("dir")).is_err());
        let mut text = String::new();
        let real = dir.find(Path::new("real")).unwrap();
        real.file(&name("text")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "own");
        let mut names = Vec::new();
        dir.each(|name, _| -> io::Result<()> {
            names.push(name.to_str().unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        names.sort();
        assert_eq!(names, ["dir", "fifo", "file", "real"]);
    }

    #[test]
    fn a_process_that_is_confined_follows_links_but_no_magic_ones() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("real")).unwrap();
        symlink("real", tree.path().join("link")).unwrap();
        symlink("/proc/self/cwd", tree.path().join("magic")).unwrap();
        let fd = rustix::fs::open(tree.path(), DIRECTORY, Mode::empty()).unwrap();
        let dir = Dir::new(fd, Reach::Confined);
        dir.find(Path::new("link")).unwrap();
        assert!(dir.dir(&name("link")).is_err(), "a walk goes over no link");
        assert!(dir.find(Path::new("magic")).is_err());
    }
}
