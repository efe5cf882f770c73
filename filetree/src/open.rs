//! openat2(2), tried again where the kernel asks for it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
    path::Arg,
};

/// Each attempt fails only if a process mounts or renames at just that moment; so many in a row are no accident.
const ATTEMPTS: usize = 128;

/// Opens `path` below `dir`, see openat2(2). With `RESOLVE_BENEATH` or `RESOLVE_IN_ROOT` the kernel gives up with
/// `EAGAIN` on a path with `..` in it, or in a link, when anything on the machine is mounted or renamed meanwhile.
///
/// # Errors
/// The kernel's; `EAGAIN` after 128 attempts.
pub fn openat2(
    dir: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut attempt = 1;
    loop {
        match rustix::fs::openat2(&dir, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) if attempt < ATTEMPTS => attempt += 1,
            opened => return opened,
        }
    }
}
