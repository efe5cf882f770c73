//! The files that tell of a machine's size: those of the tenant over those of the kernel.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, mkdirat},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use crate::{
    kernel::{KernelError, Result, openat2, raw},
    model::resource_file::ResourceFile,
    plan::LIMITS,
};

/// Where proc(5) is without what is laid over its files. The kernel lets a system in the tenant mount one of its own only
/// where one is in full sight, see mount_namespaces(7).
const PROC: &str = "run/host/proc";

/// Lays each file over the kernel's, unless this kernel has none. They are in no other way than what a tenant mounts itself: its
/// root can unmount them, and then sees the host's.
pub(super) fn show(root: BorrowedFd<'_>) -> Result<()> {
    let in_full_sight = || -> io::Result<()> {
        mkdirat(root, PROC, Mode::from_raw_mode(0o555))?;
        bind(root, "proc", &place(root, PROC)?)
    };
    in_full_sight().map_err(|error| KernelError::new("mount", format!("/{PROC}"), error))?;
    for file in ResourceFile::ALL {
        let at = file.covers().trim_start_matches('/');
        let place = match place(root, at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            place => place.map_err(|error| KernelError::new("open", file.covers(), error))?,
        };
        let own = Path::new(LIMITS).join(file.name());
        bind(root, &own.to_string_lossy(), &place)
            .map_err(|error| KernelError::new("mount", file.covers(), error))?;
    }
    Ok(())
}

fn place(root: BorrowedFd<'_>, at: &str) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, at, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn bind(root: BorrowedFd<'_>, from: &str, to: &OwnedFd) -> io::Result<()> {
    let from = place(root, from)?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&from, "", flags)?;
    // A peer of /proc would be given what is laid over its files, too.
    raw::mount_setattr(tree.as_fd(), 0, libc::MS_PRIVATE, None)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(&tree, "", to, "", flags)?)
}
