//! A directory of the image as the tenant's own: owners, modes, links and extended attributes are kept.
//!
//! Every step is relative to an open directory and follows nothing: an image may come from anywhere.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, XattrFlags},
    io::Errno,
};

/// Deepest directory that is copied: what a tenant starts with is small.
const MAX_DEPTH: usize = 64;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `name` in `parent`, which is not followed if it is a link.
///
/// # Errors
/// Those of openat(2).
pub(crate) fn open_dir(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?)
}

/// Makes the directory `name` in `parent` and opens it; one that exists is an error.
///
/// # Errors
/// Those of mkdirat(2) and openat(2).
pub(crate) fn make_dir(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
    open_dir(parent, name)
}

/// Gives `to` the owner, mode and extended attributes of `from`.
///
/// # Errors
/// Those of the system calls involved.
pub(crate) fn copy_metadata(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(&from)?;
    let (uid, gid) = owner(&stat);
    // chown(2) takes setuid bits and file capabilities away, so it comes first.
    rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)
}

fn owner(stat: &Stat) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid))
}

fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::flistxattr(&from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Those of overlayfs describe layers of the host, not the file.
        if name.starts_with(b"trusted.") || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::fgetxattr(&from, name, &mut value[..])?;
        rustix::fs::fsetxattr(&to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// Copies what is in the directory `from` into the directory `to`, and its own metadata. `sync` is
/// called with every file and directory that is complete.
///
/// Devices and sockets are left out: a tenant could not use them.
///
/// # Errors
/// The first file that cannot be copied.
pub(crate) fn copy_dir(from: OwnedFd, to: OwnedFd, sync: &mut dyn FnMut(OwnedFd)) -> io::Result<()> {
    copy_level(from, to, sync, 0)
}

fn copy_level(from: OwnedFd, to: OwnedFd, sync: &mut dyn FnMut(OwnedFd), depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP.into());
    }
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let (child, copy) = (open_dir(&from, name)?, make_dir(&to, name)?);
                copy_level(child, copy, sync, depth + 1)?;
            }
            FileType::RegularFile => sync(copy_file(&from, &to, name)?),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, &to, name)?;
                let (uid, gid) = owner(&stat);
                rustix::fs::chownat(&to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            FileType::Fifo => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(&to, name, FileType::Fifo, mode, 0)?;
                let (uid, gid) = owner(&stat);
                rustix::fs::chownat(&to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            _ => {}
        }
    }
    copy_metadata(&from, &to)?;
    sync(to);
    Ok(())
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    // O_NONBLOCK: should the file have become a FIFO meanwhile, open does not hang.
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(to, name, write, Mode::from_raw_mode(0o600))?);
    io::copy(&mut source, &mut copy)?;
    copy_metadata(&source, &copy)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn a_copy_keeps_modes_and_links_and_follows_none() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "host").unwrap();
        let from = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("dir")).unwrap();
        fs::write(from.path().join("dir/file"), "text").unwrap();
        fs::set_permissions(from.path().join("dir/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        symlink(outside.path().join("secret"), from.path().join("link")).unwrap();
        symlink(outside.path(), from.path().join("dirlink")).unwrap();
        let to = tempfile::tempdir().unwrap();
        let mut synced = 0;
        copy_dir(File::open(from.path()).unwrap().into(), File::open(to.path()).unwrap().into(), &mut |_| {
            synced += 1;
        })
        .unwrap();
        let file = fs::metadata(to.path().join("dir/file")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.len()), (0o4711, 4));
        assert_eq!(fs::read_link(to.path().join("link")).unwrap(), outside.path().join("secret"));
        assert!(fs::symlink_metadata(to.path().join("dirlink")).unwrap().is_symlink());
        assert_eq!(synced, 3);
    }
}
