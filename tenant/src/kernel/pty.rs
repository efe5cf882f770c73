//! Pseudoterminals of a tenant's own devpts instance, see pty(7) and devpts in the kernel's
//! `Documentation/filesystems/devpts.rst`.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs};

use super::{openat2, raw};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// What an error calls those of a tenant that starts.
pub const TERMINALS: &str = "the terminals";

/// A pseudoterminal: the master, and the slave opened through it.
#[derive(Debug)]
pub struct Pty {
    /// What the supervisor reads and writes.
    pub master: OwnedFd,
    /// What a program inside has as its terminal.
    pub slave: OwnedFd,
}

/// Opens a new pseudoterminal of the devpts instance at `dev/pts` below a root. Nothing on the way may
/// be a link, and what is found must be the multiplexer of a devpts: a tenant can put something else
/// there.
///
/// # Errors
/// The failing call's; `InvalidInput` when it is not a devpts multiplexer.
pub fn open(root: impl AsFd) -> io::Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let path_flags = OFlags::PATH | OFlags::CLOEXEC;
    // An O_PATH descriptor first: opening a planted device or FIFO for real can block or act.
    let probe = openat2(root.as_fd(), "dev/pts/ptmx", path_flags, Mode::empty(), resolve)?;
    let stat = fstat(&probe)?;
    let is_multiplexer = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && fstatfs(&probe)?.f_type as i64 == DEVPTS_SUPER_MAGIC;
    if !is_multiplexer {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "/dev/pts/ptmx is not on a devpts"));
    }
    let master = openat2(root.as_fd(), "dev/pts/ptmx", flags, Mode::empty(), resolve)?;
    if fstat(&master)?.st_ino != stat.st_ino || fstat(&master)?.st_dev != stat.st_dev {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "/dev/pts/ptmx changed while it was opened"));
    }
    rustix::pty::unlockpt(&master)?;
    let slave = raw::open_pty_peer(&master)?;
    Ok(Pty { master, slave })
}
