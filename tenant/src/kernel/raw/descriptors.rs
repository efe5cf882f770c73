//! What is done with descriptors.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// Makes a terminal the controlling one of this session, see ioctl_tty(2).
///
/// # Errors
/// The kernel's.
pub fn set_controlling_tty(tty: impl AsFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer and no pointer.
    let result = unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens the other end of a pseudoterminal through its master, without a path, see ioctl_tty(2).
///
/// # Errors
/// The kernel's.
pub fn open_pty_peer(master: impl AsFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags as an integer and no pointer.
    let fd = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, so it is open and not another's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// The kernel's.
pub fn cloexec_from(first: i32) -> io::Result<()> {
    // SAFETY: only sets a flag on descriptors, see close_range(2).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from 3 on besides those in `kept`, regardless of the process that owns them. For a process that uses none of
/// the others any more and never returns: it ends by exec or by [`super::exit`], which runs no destructors.
///
/// # Errors
/// The kernel's.
pub fn close_except(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).filter(|number| *number > 2).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut first = 3;
    for last in numbers.into_iter().map(|number| number - 1).chain([i32::MAX]) {
        if first <= last {
            // SAFETY: the callers never return, as this function asks for: no OwnedFd of the descriptors
            // that are closed here is used or dropped afterwards.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

/// The supplementary groups of the process at the other end of a Unix socket, `SO_PEERGROUPS` of
/// unix(7).
///
/// # Errors
/// The kernel's; `ERANGE` for a peer with more than 256 groups.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 256];
    let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: `groups` has room for `length` bytes, and the kernel writes no more than that; any bit
    // pattern is a valid u32.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    Ok(groups)
}
