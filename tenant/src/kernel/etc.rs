//! A tenant's own `/etc`, which it may have made into anything: no link is followed, nothing that is
//! mounted there is entered, and only plain small files are read.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, fchmod, fchown, fstat, fsync, openat, renameat,
    unlinkat,
};

use super::openat2;
use crate::model::identity::{EtcFile, OwnNames};

/// Most bytes that are read of a file.
const MAX_SIZE: u64 = 64 << 10;

/// Where a new `/etc/hosts` is written first.
const NEW_HOSTS: &str = ".hosts.new";

/// The directory.
#[derive(Debug)]
pub struct Etc(OwnedFd);

impl Etc {
    /// Opens it, at a path below `root`.
    ///
    /// # Errors
    /// Those of openat2(2); `ELOOP` where the path leads through a link.
    pub fn open(root: impl AsFd, path: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(Self(openat2(root, path, flags, Mode::empty(), resolve)?))
    }

    /// A plain file of it with its owner and mode; none if it is absent or something else.
    fn open_file(&self, name: &str) -> Option<File> {
        // Should it be a FIFO, opening does not wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = File::from(openat2(&self.0, name, flags, Mode::empty(), resolve).ok()?);
        let meta = file.metadata().ok()?;
        (meta.is_file() && meta.len() <= MAX_SIZE).then_some(file)
    }

    fn read(&self, name: &str) -> Option<EtcFile> {
        let file = self.open_file(name)?;
        let modified = file.metadata().ok()?.modified().ok()?;
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
        Some(EtcFile { text, modified })
    }

    /// What it says about the tenant's name. What cannot be read says nothing.
    pub fn names(&self) -> OwnNames {
        OwnNames {
            hostname: self.read("hostname"),
            machine_id: self.read("machine-id"),
            hosts: self.read("hosts"),
        }
    }

    /// Replaces `hosts`, which keeps its owner and mode.
    pub(crate) fn write_hosts(&self, text: &str) -> io::Result<()> {
        let old = self.open_file("hosts").ok_or(io::ErrorKind::NotFound)?;
        self.remove(NEW_HOSTS);
        let written = self.write_new_hosts(&fstat(&old)?, text);
        if written.is_err() {
            self.remove(NEW_HOSTS);
        }
        written
    }

    fn write_new_hosts(&self, old: &Stat, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut new = File::from(openat(&self.0, NEW_HOSTS, flags, Mode::from_raw_mode(0o600))?);
        new.write_all(text.as_bytes())?;
        fchown(&new, Some(Uid::from_raw(old.st_uid)), Some(Gid::from_raw(old.st_gid)))?;
        fchmod(&new, Mode::from_raw_mode(old.st_mode & 0o7777))?;
        fsync(&new)?;
        Ok(renameat(&self.0, NEW_HOSTS, &self.0, "hosts")?)
    }

    /// Removes a file. One that is not there, or cannot be removed, is left for the next boot.
    pub(crate) fn remove(&self, name: &str) {
        let _stays = unlinkat(&self.0, name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn only_plain_files_of_the_directory_itself_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let open = || Etc::open(fs::File::open(dir.path()).unwrap(), "etc").unwrap();
        fs::write(dir.path().join("secret"), "host\n").unwrap();
        symlink("../secret", etc.join("hostname")).unwrap();
        symlink("/dev/zero", etc.join("hosts")).unwrap();
        rustix::fs::mknodat(
            fs::File::open(&etc).unwrap(),
            "machine-id",
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let names = open().names();
        assert!(names.hostname.is_none() && names.hosts.is_none() && names.machine_id.is_none());
        fs::remove_file(etc.join("hostname")).unwrap();
        fs::write(etc.join("hostname"), "x".repeat(100_000)).unwrap();
        assert!(open().names().hostname.is_none(), "too large");
        fs::write(etc.join("hostname"), "box\n").unwrap();
        assert_eq!(open().names().hostname.unwrap().text, "box\n");
        symlink("etc", dir.path().join("link")).unwrap();
        assert!(Etc::open(fs::File::open(dir.path()).unwrap(), "link").is_err());
    }

    #[test]
    fn hosts_is_replaced_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hosts");
        fs::write(&file, "old\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(dir.path().join(NEW_HOSTS), "left by a crash").unwrap();
        let etc = Etc::open(fs::File::open(dir.path()).unwrap(), ".").unwrap();
        etc.write_hosts("new\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::remove_file(&file).unwrap();
        symlink("elsewhere", &file).unwrap();
        assert!(etc.write_hosts("new\n").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
