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
    let mut args = CloneArgs { flags, ..CloneArgs::default() };
    match parent {
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
        Parent::Grandparent => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given and outlives the call. Without CLONE_VM,
    // CLONE_VFORK and a stack it behaves as fork(2): the child runs on a copy of this memory.
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

/// Installs a seccomp(2) filter on this thread without `PR_SET_NO_NEW_PRIVS`, which would break
/// set-user-ID programs inside; the caller needs CAP_SYS_ADMIN in its user namespace.
///
/// # Errors
/// The kernel's.
pub fn seccomp(program: &[seccompiler::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `filter` points at `len` instructions of the layout of struct sock_filter (seccompiler
    // declares its type repr(C) with the kernel's fields); the kernel copies them during the call.
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
    use nix::sys::signal::{SigHandler, signal};

    for number in signals {
        // SAFETY: SIG_DFL installs no handler, so none can run in a wrong context.
        unsafe { signal(*number, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Closes every descriptor from 3 on besides those in `kept`.
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
            // SAFETY: called by a child that ends in exec or exit, runs no destructors of what it
            // inherited, and uses no descriptor again besides those kept.
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
/// Unlike [`clone3`] it may be called from a process with many threads. A program that cannot be
/// executed ends with status 127.
///
/// # Errors
/// The kernel's, of the clone.
pub fn spawn_in_cgroup(program: &Program<'_>, cgroup: BorrowedFd<'_>) -> io::Result<i32> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(program.argv), pointers(program.env));
    match clone3(0, Parent::Caller, Some(cgroup))? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => {
            let (null, stderr) = (program.null.as_raw_fd(), program.stderr.as_raw_fd());
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
                    && libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) == 0;
                if ready {
                    libc::execve(program.path.as_ptr(), argv.as_ptr(), env.as_ptr());
                }
                libc::_exit(127)
            }
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
