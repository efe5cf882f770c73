//! Mounts of a tenant that is running, in its own mount namespace.
//!
//! A tenant can bend every path and mount what it likes. So a mount is named by its number and its place, and is left
//! alone where another one is there by now.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, statx},
    mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount},
    process::fchdir,
};

use super::{KernelError, MountEntry, Result, apart::apart, openat2};
use crate::model::mountinfo;

/// The mounts that a process sees below its root.
pub(super) fn mounts(pid: i32) -> Result<Vec<MountEntry>> {
    let path = format!("/proc/{pid}/mountinfo");
    let table = std::fs::read(&path).map_err(|error| KernelError::new("read", path, error))?;
    let entry = |mount: mountinfo::Mount<'_>| MountEntry {
        id: mount.id,
        parent: mount.parent,
        at: mount.relative().to_owned(),
        shows: mount.shows,
        kind: String::from_utf8_lossy(mount.kind).into_owned(),
        source: mount.source.to_string_lossy().into_owned(),
    };
    Ok(mountinfo::mounts(&table).map(entry).collect())
}

/// A detached copy of a mount and of all below it.
pub(super) fn copy(pid: i32, mount: &MountEntry) -> Result<OwnedFd> {
    at(pid, mount, |place, _, _| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        Ok(open_tree(place, "", flags)?)
    })
    .map_err(|error| KernelError::new("copy the mount at", format!("/{}", mount.at.display()), error))
}

/// Detaches a mount, see `MNT_DETACH` in umount(2).
pub(super) fn detach(pid: i32, mount: &MountEntry) -> Result<()> {
    at(pid, mount, |place, parent, name| {
        drop(place);
        fchdir(parent)?;
        Ok(unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
    })
    .map_err(|error| KernelError::new("detach the mount at", format!("/{}", mount.at.display()), error))
}

/// Does something with a mount, in the mount namespace of a process: on a thread that ends with it. It is given the
/// mount, the directory that it is in, and its name there.
fn at<T: Send>(
    pid: i32,
    mount: &MountEntry,
    work: impl FnOnce(OwnedFd, BorrowedFd<'_>, &OsStr) -> io::Result<T> + Send,
) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, format!("/proc/{pid}/root"), flags | OFlags::DIRECTORY, Mode::empty())?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    apart(|| {
        // A root directory of its own, which setns(2) sets.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let name = mount.at.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = mount.at.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let parent = openat2(&root, parent, flags | OFlags::DIRECTORY, Mode::empty(), resolve)?;
        let place = openat2(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)?;
        let found = statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        if found.stx_mnt_id != mount.id {
            return Err(io::Error::other("the tenant has mounted something else there in the meantime"));
        }
        work(place, parent.as_fd(), name)
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounts_of_this_process_are_found() {
        let own = mounts(std::process::id() as i32).unwrap();
        assert!(own.iter().any(|mount| mount.at == Path::new("proc") && mount.kind == "proc"), "{own:?}");
    }
}
