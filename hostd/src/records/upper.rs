//! What lies in the upper directory of an overlay of a tenant's.
//!
//! A tenant has put there what it likes. It is looked at by names that its image has, and by no others: what else is in a
//! directory, and how much, costs nothing. Each name is opened with `O_PATH` below the directory, over no link and into no
//! mount; nothing but a regular file is ever opened to be read. Owners on the disk are those inside, see
//! [`tenant::Layout::dirs`].

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::{PermissionsExt as _, chown},
        },
    },
    path::{Path, PathBuf},
};

use filetree::{Dir, Reach, openat2};
use rootfs_tools::{
    digest,
    inventory::{Item, hash_xattrs},
    tree::Kind,
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, statx},
    io::Errno,
};
use tenant::stale::Origin;

use crate::drift::own::{Found, Own};

const BENEATH: ResolveFlags = Reach::Beneath.resolve();
/// What overlayfs says of a directory that hides the one beneath, and of one that lies over another one.
pub(super) const NOT_MERGED: [&str; 2] = ["trusted.overlay.opaque", "trusted.overlay.redirect"];
/// Longest list of names of attributes, and longest attribute, bytes: `XATTR_LIST_MAX` of linux/limits.h.
const MAX_ATTRIBUTE: usize = 64 << 10;

/// An upper directory.
#[derive(Debug)]
pub(super) struct Upper {
    dir: OwnedFd,
}

/// A name in it.
#[derive(Debug)]
pub(super) struct Entry {
    file: OwnedFd,
    kind: Kind,
}

impl Upper {
    /// The upper directory at this path below a tenant's directories.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn open(dirs: &Path, upper: &Path) -> io::Result<Self> {
        Ok(Self { dir: Dir::open(dirs)?.find(upper)?.into() })
    }

    /// What has a name in it; none where nothing has, or a part of the path is no directory.
    ///
    /// # Errors
    /// Those of openat2(2); `CrossesDevices` where the host has mounted something there.
    pub(super) fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(&self.dir, path, flags, Mode::empty(), BENEATH) {
            Ok(file) => Ok(Some(Entry::of(file)?)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory that a name is in, to change it there.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub(super) fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat2(&self.dir, parent, flags, Mode::empty(), BENEATH)?)
    }

    /// The path by which something in it hides what the image has at `path`: the path itself, or that of a directory on the
    /// way which is none of the image's any more. None where nothing hides it, or only its owner and mode.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub(super) fn hider(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let mut prefix = PathBuf::new();
        for component in path.components() {
            prefix.push(component);
            match self.entry(&prefix)? {
                None => return Ok(None),
                Some(entry) if entry.own(&prefix)?.is_whole() => return Ok(Some(prefix)),
                Some(_) => {}
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn of(file: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&file)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&file, "", Vec::new())?;
                Kind::Symlink(OsString::from_vec(target.into_bytes()).into())
            }
            FileType::CharacterDevice => Kind::Char(stat.st_rdev),
            FileType::BlockDevice => Kind::Block(stat.st_rdev),
            FileType::Fifo => Kind::Fifo,
            _ => Kind::Socket,
        };
        Ok(Self { file, kind })
    }

    /// A path that leads to it, whatever has its name by now, and opens nothing.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// What it is.
    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What it is to the image's file; a file's content is not read.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn own(&self, path: &Path) -> io::Result<Own> {
        if self.kind == Kind::Char(0) {
            return Ok(Own::Removed);
        }
        let stat = rustix::fs::fstat(&self.file)?;
        let size = if self.kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let mut attributes = BTreeMap::new();
        let mut is_merged = true;
        for name in self.attributes()? {
            let overlays = name.as_bytes().starts_with(b"trusted.");
            is_merged &= !NOT_MERGED.iter().any(|not| name == *not) || self.kind != Kind::Dir;
            if !overlays && name != "security.selinux" {
                let value = self.attribute(&name)?;
                attributes.extend(value.map(|value| (name, value)));
            }
        }
        let item = Item {
            path: path.to_owned(),
            kind: self.kind.clone(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            sha256: None,
            xattrs: hash_xattrs(&attributes),
            inode: None,
        };
        Ok(if is_merged { Own::There(item) } else { Own::Replaced(item) })
    }

    /// What it is, and what tells where it comes from.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn found(&self, path: &Path) -> io::Result<Found> {
        let own = self.own(path)?;
        let asked = StatxFlags::BTIME | StatxFlags::CTIME;
        let stat = statx(&self.file, "", AtFlags::EMPTY_PATH, asked)?;
        let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        let made = if has_birth { stat.stx_btime } else { stat.stx_ctime };
        let seconds = u64::try_from(made.tv_sec).unwrap_or(0);
        let made_ms = seconds.saturating_mul(1000) + u64::from(made.tv_nsec) / 1_000_000;
        let origin = match own.is_whole() && own != Own::Removed {
            true => self.attribute(Origin::ATTRIBUTE.as_ref())?.and_then(|value| Origin::parse(&value)),
            false => None,
        };
        Ok(Found { own, made_ms, origin })
    }

    /// A regular file, to be read from.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn open(&self) -> io::Result<File> {
        match self.kind {
            // The file that was looked at, not what has its name by now.
            Kind::File => File::open(self.path()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// SHA-256 of a file's first `size` bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn hash(&self, size: u64) -> io::Result<digest::ContentHash> {
        digest::hash(self.open()?.take(size))
    }

    fn attributes(&self) -> io::Result<Vec<OsString>> {
        let mut names = vec![0_u8; MAX_ATTRIBUTE];
        let length = match rustix::fs::listxattr(self.path(), &mut names[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
    }

    fn attribute(&self, name: &std::ffi::OsStr) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0_u8; MAX_ATTRIBUTE];
        match rustix::fs::getxattr(self.path(), name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes away what keeps the image's directory from being seen together with this one.
    ///
    /// # Errors
    /// Those of removexattr(2).
    pub(super) fn merge(&self) -> io::Result<()> {
        for name in NOT_MERGED {
            match rustix::fs::removexattr(self.path(), name) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Gives it the owner and mode of another file.
    ///
    /// # Errors
    /// Those of chown(2) and chmod(2).
    pub(super) fn own_as(&self, item: &Item) -> io::Result<()> {
        chown(self.path(), Some(item.uid), Some(item.gid))?;
        fs::set_permissions(self.path(), fs::Permissions::from_mode(item.mode))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn upper() -> (tempfile::TempDir, Upper) {
        let dir = tempfile::tempdir().unwrap();
        let upper = Upper::open(dir.path(), Path::new("")).unwrap();
        (dir, upper)
    }

    #[test]
    fn a_hostile_upper_is_looked_at_and_nothing_in_it_is_opened() {
        let (dir, upper) = upper();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("/etc", at("etc")).unwrap();
        symlink("/etc/shadow", at("shadow")).unwrap();
        fs::write(at("file"), "text").unwrap();
        let kind = |path: &str| upper.entry(Path::new(path)).unwrap().map(|entry| entry.kind().clone());
        assert_eq!(kind("fifo"), Some(Kind::Fifo));
        assert_eq!(kind("shadow"), Some(Kind::Symlink("/etc/shadow".into())));
        assert_eq!(kind("etc"), Some(Kind::Symlink("/etc".into())));
        for path in ["etc/passwd", "file/below", "absent", "absent/below", "fifo/x"] {
            assert_eq!(kind(path), None, "{path}");
        }
        for path in ["fifo", "shadow", "etc"] {
            let entry = upper.entry(Path::new(path)).unwrap().unwrap();
            assert!(entry.open().is_err() && entry.hash(10).is_err(), "{path}");
            entry.found(Path::new(path)).unwrap();
        }
        // One that is exchanged after it was looked at is not what is read.
        let entry = upper.entry(Path::new("file")).unwrap().unwrap();
        fs::remove_file(at("file")).unwrap();
        nix::unistd::mkfifo(&at("file"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(entry.hash(4).unwrap(), digest::hash(&b"text"[..]).unwrap());
        assert!(upper.entry(Path::new("../x")).is_err() || kind("../x").is_none());
    }

    #[test]
    fn what_hides_a_path_is_found_on_the_way_to_it() {
        let (dir, upper) = upper();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        symlink("elsewhere", at("a/link")).unwrap();
        for (path, hider) in [
            ("a/b/file", Some("a/b/file")),
            ("a/b/file/below", Some("a/b/file")),
            ("a/link/x/y", Some("a/link")),
            ("a/b", None),
            ("a/b/other", None),
            ("c", None),
        ] {
            assert_eq!(upper.hider(Path::new(path)).unwrap(), hider.map(PathBuf::from), "{path}");
        }
        fs::set_permissions(at("a/b/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        let Own::There(item) =
            upper.entry(Path::new("a/b/file")).unwrap().unwrap().own(Path::new("x")).unwrap()
        else {
            panic!("it is there")
        };
        assert_eq!((item.mode, item.size, item.kind), (0o4711, 0, Kind::File));
    }
}
