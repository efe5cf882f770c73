//! System calls that neither rustix nor nix has in the form needed here: the only unsafe code.
//!
//! | file | what it handles |
//! |---|---|
//! | `bpf` | programs that the kernel asks for each cgroup |
//! | `files` | what a file is besides its bytes: projects and their quotas, fs-verity |
//! | `mod` | processes, mounts, terminals |
#![allow(unsafe_code)]

mod bpf;
mod files;

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

use rustix::pipe::PipeFlags;

pub use bpf::{CgroupProgram, bpf_attach, bpf_load};
pub use files::{
    ProjectQuota, enable_verity, project, project_quota, set_project, set_project_quota, verity_digest,
};

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

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `MOUNT_ATTR_RDONLY`.
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// mount_setattr(2) on a mount and all below it: attributes to set, propagation (`MS_SHARED`,
/// `MS_PRIVATE`, 0 for as it is), and the user namespace whose map it gets.
///
/// # Errors
/// The kernel's; `EINVAL` for an idmap means that the filesystem cannot carry one.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: u64,
    propagation: u64,
    idmap: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = MountAttr { set, clear: 0, propagation, user_namespace: 0 };
    if let Some(user) = idmap {
        attr.set |= MOUNT_ATTR_IDMAP;
        attr.user_namespace = user.as_raw_fd() as u64;
    }
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a NUL-terminated literal, `attr` has the size given, both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct sock_filter` of linux/filter.h: an instruction of classic BPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// How many instructions are left out if a comparison holds.
    pub jt: u8,
    /// And if it does not.
    pub jf: u8,
    /// The constant that it is done with.
    pub k: u32,
}

/// Installs a seccomp(2) filter on this thread without `PR_SET_NO_NEW_PRIVS`, which would break
/// set-user-ID programs inside; the caller needs CAP_SYS_ADMIN in its user namespace.
///
/// # Errors
/// The kernel's; `EACCES` without that capability.
pub fn seccomp(program: &[Instruction]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `filter` points at `len` instructions of the kernel's own layout, which it only reads, during
    // the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

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
    // SAFETY: the kernel has just returned this descriptor, so it is open and nobody else's.
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

/// Gives memory that malloc holds free back to the kernel, see malloc_trim(3).
pub fn trim_heap() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives signals their default action back.
///
/// # Errors
/// The kernel's.
pub fn default_signals(signals: &[nix::sys::signal::Signal]) -> io::Result<()> {
    dispose(signals, nix::sys::signal::SigHandler::SigDfl)
}

/// Catches signals and does nothing about them. Programs that are executed have them at their default, as they have
/// not where they are ignored; see execve(2).
///
/// # Errors
/// The kernel's.
pub fn shrug_off_signals(signals: &[nix::sys::signal::Signal]) -> io::Result<()> {
    extern "C" fn shrug(_: libc::c_int) {}
    dispose(signals, nix::sys::signal::SigHandler::Handler(shrug))
}

fn dispose(signals: &[nix::sys::signal::Signal], action: nix::sys::signal::SigHandler) -> io::Result<()> {
    for number in signals {
        // SAFETY: the callers pass SIG_DFL, or a handler that does nothing: none can do harm in any context.
        unsafe { nix::sys::signal::signal(*number, action) }?;
    }
    Ok(())
}

/// Closes every descriptor from 3 on besides those in `kept`, whoever owns them. For a process that uses none of
/// the others any more and never returns: it ends by exec or by [`exit`], which runs no destructors.
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
/// The kernel's; `EINVAL` before Linux 6.9, `ESRCH` when nobody is left in the group.
pub fn pidfd_signal_group(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    let info: *const libc::siginfo_t = std::ptr::null();
    let (fd, flags) = (pidfd.as_raw_fd(), PIDFD_SIGNAL_PROCESS_GROUP);
    // SAFETY: takes a descriptor, two numbers and a null pointer, which stands for the default siginfo.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the children of this process begin with the usual scheduling policy, and with no nice value below 0,
/// whatever its own are: `SCHED_RESET_ON_FORK` of sched(7).
///
/// # Errors
/// The kernel's.
pub fn reset_scheduling_on_fork() -> io::Result<()> {
    const SCHED_RESET_ON_FORK: libc::c_int = 0x4000_0000;
    const SCHED_DEADLINE: libc::c_int = 6;
    // SAFETY: takes a number.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy < 0 {
        return Err(io::Error::last_os_error());
    }
    // A process of this policy can have children only where the flag is set already.
    if policy & !SCHED_RESET_ON_FORK == SCHED_DEADLINE {
        return Ok(());
    }
    let mut param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` is a valid sched_param that outlives the call.
    if unsafe { libc::sched_getparam(0, &raw mut param) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; the kernel only reads it.
    match unsafe { libc::sched_setscheduler(0, policy | SCHED_RESET_ON_FORK, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes an I/O priority back that was set for this process: it follows from its nice value again, see
/// ioprio_set(2).
///
/// # Errors
/// The kernel's.
pub fn reset_io_priority() -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes three numbers; 0 is the calling process, and the class `IOPRIO_CLASS_NONE`.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
            // SAFETY: with CLONE_PIDFD the kernel has put an open descriptor there, which is nobody else's.
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

/// Gives this process a session keyring of its own, empty, in place of the one it inherited: whoever
/// runs in a session possesses its keys, see session-keyring(7).
///
/// # Errors
/// The kernel's; a kernel without keys has none to inherit.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: takes a number and a null pointer, which stands for a keyring without a name.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    if serial >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(error),
    }
}

/// Waits for any signal; all of them have to be blocked. See sigwaitinfo(2).
///
/// # Errors
/// The kernel's.
pub fn wait_signal() -> io::Result<i32> {
    loop {
        let all = nix::sys::signal::SigSet::all();
        let info: *mut libc::siginfo_t = std::ptr::null_mut();
        // SAFETY: the set is initialized and outlives the call; a null pointer asks for no siginfo.
        let signal = unsafe { libc::sigwaitinfo(all.as_ref(), info) };
        if signal > 0 {
            return Ok(signal);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
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

/// Replaces this process's arguments, which anybody may read in `/proc/PID/cmdline`, by one word, and
/// takes its environment out of its memory. Both are empty afterwards for this process as well.
///
/// # Errors
/// `/proc/self/stat` cannot be read.
pub fn overwrite_arguments(word: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Fields 48 to 51, see proc_pid_stat(5); the second one may hold spaces and parentheses.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect::<Vec<_>>());
    let field = |number: usize| -> io::Result<usize> {
        let text = fields.as_ref().and_then(|fields| fields.get(number - 3));
        text.and_then(|text| text.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    };
    for (first, last, text) in [(field(48)?, field(49)?, word), (field(50)?, field(51)?, "")] {
        if first == 0 || last <= first {
            continue;
        }
        let length = last - first;
        let text = &text.as_bytes()[..text.len().min(length - 1)];
        // SAFETY: the kernel says that the strings of argv, or of the environment, lie in these bytes of
        // this process's initial stack, which is mapped writable for as long as it lives. Nobody holds a
        // reference to them: std and libc copy from there, and what they find from now on are empty
        // strings, ended by the zeros. There is no other thread that could be reading.
        #[allow(clippy::multiple_unsafe_ops_per_block)]
        unsafe {
            let area = std::ptr::with_exposed_provenance_mut::<u8>(first);
            std::ptr::write_bytes(area, 0, length);
            std::ptr::copy_nonoverlapping(text.as_ptr(), area, text.len());
        }
    }
    Ok(())
}
