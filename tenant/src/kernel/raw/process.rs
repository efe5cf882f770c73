//! Processes: cloned, signalled, killed.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

/// `CLONE_INTO_CGROUP` of clone3(2); libc defines it as 0.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `CLONE_NEWTIME` of unshare(2).
pub const CLONE_NEWTIME: i32 = 0x80;

/// The side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The child. It must end in exec or [`exit`].
    Child,
    /// The parent, with the child's process id.
    Parent(i32),
}

/// `struct clone_args` of clone3(2), version 2.
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// Whose child a clone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The caller's; its end is signalled with SIGCHLD.
    Caller,
    /// The caller's own parent's (`CLONE_PARENT`), with the signal the caller itself would send.
    Grandparent,
}

/// clone3(2) as a fork: new namespaces by `flags` (`CLONE_NEW*`), born in a cgroup v2 if one is given.
///
/// Callers must have a single thread: the child is a whole copy of the process and runs on as it.
///
/// # Errors
/// The kernel's.
pub fn clone3(flags: u64, parent: Parent, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut args = CloneArgs { flags, ..CloneArgs::default() };
    match parent {
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
        Parent::Grandparent => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given and outlives the call. Without CLONE_VM, CLONE_VFORK and a
    // stack it behaves as fork(2): the child runs on a copy of this memory.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Ends this process at once, without running destructors or flushing: for children of a fork.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Kills a child and waits for it; returns the reason for that.
pub fn end_child(pidfd: &OwnedFd, reason: io::Error) -> io::Error {
    use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

    // One that cannot be signalled has ended.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let wait = || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    match rustix::io::retry_on_intr(wait) {
        Ok(_) => reason,
        Err(error) => {
            io::Error::new(reason.kind(), format!("{reason} (and cannot wait for its process: {error})"))
        }
    }
}

/// pidfd_send_signal(2) by number: the real-time signals have no names in rustix and nix.
///
/// # Errors
/// The kernel's; `ESRCH` when the process has ended.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: takes a descriptor, a number and a null pointer, which stands for the default siginfo.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// [`pidfd_signal`] to the process group that a process leads, or has led: `PIDFD_SIGNAL_PROCESS_GROUP` of
/// pidfd_send_signal(2), Linux 6.9.
///
/// # Errors
/// The kernel's; `EINVAL` before Linux 6.9, `ESRCH` when no process is left in the group.
pub fn pidfd_signal_group(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    let info: *const libc::siginfo_t = std::ptr::null();
    let (fd, flags) = (pidfd.as_raw_fd(), PIDFD_SIGNAL_PROCESS_GROUP);
    // SAFETY: takes a descriptor, two numbers and a null pointer, which stands for the default siginfo.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// kill(2) by number: the real-time signals have no names in rustix and nix. A process that is gone
/// already is no error.
///
/// # Errors
/// The kernel's.
pub fn kill(pid: nix::unistd::Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes two numbers and no pointer.
    match unsafe { libc::kill(pid.as_raw(), signal) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}
