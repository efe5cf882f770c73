//! Processes: cloned, signalled, killed.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use rustix::pipe::PipeFlags;

/// `CLONE_INTO_CGROUP` of clone3(2); libc defines it as 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
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
    clone_with(CloneArgs { flags, ..CloneArgs::default() }, parent, cgroup)
}

fn clone_with(mut args: CloneArgs, parent: Parent, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    match parent {
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
        Parent::Grandparent => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given and outlives the call, as does what its field
    // `pidfd` points at where it has CLONE_PIDFD. Without CLONE_VM, CLONE_VFORK and a stack it behaves as
    // fork(2): the child runs on a copy of this memory.
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

/// A program to be started in a cgroup, see [`spawn_in_cgroup`].
#[derive(Debug)]
pub struct Program<'a> {
    /// Absolute path.
    pub path: &'a CStr,
    /// Argument vector.
    pub argv: &'a [CString],
    /// Environment, `KEY=value` each.
    pub env: &'a [CString],
    /// Its standard error; standard input and output are `/dev/null` as given.
    pub stderr: BorrowedFd<'a>,
    /// An open `/dev/null`.
    pub null: BorrowedFd<'a>,
}

/// Starts a program that is born in a cgroup v2 directory, in a session of its own, with every
/// descriptor but the standard ones closed. Moving it there afterwards would make it, and every fork on
/// the machine, wait for an RCU grace period (10 to 20 ms).
///
/// Unlike [`clone3`] it may be called from a process with many threads. Returns when the program has been executed,
/// with its process id and its pidfd, which the kernel makes with the process: there is none without the other.
///
/// # Errors
/// The kernel's, of the clone or of the execution; no process is left then.
pub fn spawn_in_cgroup(program: &Program<'_>, cgroup: BorrowedFd<'_>) -> io::Result<(i32, OwnedFd)> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(program.argv), pointers(program.env));
    // What the child could not do comes through this pipe; an execution closes it.
    let (fault, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let mut pidfd: libc::c_int = -1;
    let args =
        CloneArgs { flags: libc::CLONE_PIDFD as u64, pidfd: (&raw mut pidfd) as u64, ..CloneArgs::default() };
    match clone_with(args, Parent::Caller, Some(cgroup))? {
        Fork::Parent(pid) => {
            drop(theirs);
            // SAFETY: with CLONE_PIDFD the kernel has put an open descriptor there, which is not another's.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            match read_errno(&fault) {
                Ok(None) => Ok((pid, pidfd)),
                Ok(Some(errno)) => Err(end_child(&pidfd, io::Error::from_raw_os_error(errno))),
                Err(error) => Err(end_child(&pidfd, error)),
            }
        }
        Fork::Child => {
            let (null, stderr, fault) =
                (program.null.as_raw_fd(), program.stderr.as_raw_fd(), theirs.as_raw_fd());
            // SAFETY: between clone and exec the child of a process with threads may only make
            // async-signal-safe calls: everything here is one, and all memory was prepared before.
            // The pointers are NUL-terminated strings and null-terminated arrays that live until exec.
            #[allow(clippy::multiple_unsafe_ops_per_block)]
            unsafe {
                let mut none: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
                libc::setsid();
                let ready = libc::dup2(null, 0) >= 0
                    && libc::dup2(null, 1) >= 0
                    && libc::dup2(stderr, 2) >= 0
                    && libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0;
                if ready {
                    libc::execve(program.path.as_ptr(), argv.as_ptr(), env.as_ptr());
                }
                let errno = *libc::__errno_location();
                libc::write(fault, (&raw const errno).cast(), size_of::<libc::c_int>());
                libc::_exit(127)
            }
        }
    }
}

/// The error number that a child has sent before it ended; none when its end of the pipe was closed by an execution.
fn read_errno(fault: &OwnedFd) -> io::Result<Option<i32>> {
    let mut bytes = [0; size_of::<libc::c_int>()];
    match rustix::io::retry_on_intr(|| rustix::io::read(fault, &mut bytes))? {
        0 => Ok(None),
        length if length == bytes.len() => Ok(Some(i32::from_ne_bytes(bytes))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
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
