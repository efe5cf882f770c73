//! Programs that a process with many threads starts, in a cgroup of their own.
//!
//! The child borrows the memory of its parent until it executes, as with vfork(2). A copy of the page tables of hostd takes
//! longer than all else that is done here: 1 ms with 30 MiB. glibc offers that from 2.39 on (`POSIX_SPAWN_SETCGROUP`).

use std::{
    arch::asm,
    ffi::{CStr, CString, c_char, c_int},
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use super::process::{CLONE_INTO_CGROUP, CloneArgs, end_child};

/// `CLONE_CLEAR_SIGHAND` of clone3(2): the handlers of the parent are not the child's.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// Bytes of the child's stack, which takes a few calls of libc.
const STACK: usize = 64 << 10;

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

/// What the child works with, in the memory of its parent.
struct Execution {
    path: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    null: c_int,
    stderr: c_int,
    /// The error number of what the child could not do; 0 when it has executed.
    fault: c_int,
}

/// Starts a program that is born in a cgroup v2 directory, in a session of its own, with every
/// descriptor but the standard ones closed. Moving it there afterwards would make it, and every fork on
/// the machine, wait for an RCU grace period (10 to 20 ms).
///
/// Unlike [`super::clone3`] it may be called from a process with many threads. Returns when the program has been executed,
/// with its process id and its pidfd, which the kernel makes with the process: there is none without the other.
///
/// # Errors
/// The kernel's, of the clone or of the execution; no process is left then.
pub fn spawn_in_cgroup(program: &Program<'_>, cgroup: BorrowedFd<'_>) -> io::Result<(i32, OwnedFd)> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(program.argv), pointers(program.env));
    let mut execution = Execution {
        path: program.path.as_ptr(),
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        null: program.null.as_raw_fd(),
        stderr: program.stderr.as_raw_fd(),
        fault: 0,
    };
    // Of 16 bytes each: so both ends are where a stack may begin.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let mut pidfd: c_int = -1;
    let args = CloneArgs {
        flags: libc::CLONE_PIDFD as u64
            | libc::CLONE_VM as u64
            | libc::CLONE_VFORK as u64
            | CLONE_CLEAR_SIGHAND
            | CLONE_INTO_CGROUP,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.as_mut_ptr() as u64,
        stack_size: STACK as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `args`, the stack and `execution` with all it points at outlive the child's use of them, because CLONE_VFORK
    // keeps this thread from going on until the child has executed or ended.
    let pid = unsafe { clone_onto(&args, execute, &raw mut execution) };
    if pid < 0 {
        return Err(io::Error::from_raw_os_error(-pid as i32));
    }
    // SAFETY: with CLONE_PIDFD the kernel has put an open descriptor there, which is not another's.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: the child, which may have written there, no longer runs on this memory.
    match unsafe { (&raw const execution.fault).read_volatile() } {
        0 => Ok((pid as i32, pidfd)),
        errno => Err(end_child(&pidfd, io::Error::from_raw_os_error(errno))),
    }
}

/// The child: between clone and exec.
extern "C" fn execute(with: *mut Execution) -> ! {
    // SAFETY: its parent waits and has prepared everything. Nothing here allocates, locks or unwinds, which a child that
    // borrows the memory of a process with threads may not. The pointers are NUL-terminated strings and null-terminated
    // arrays that live until exec.
    #[allow(clippy::multiple_unsafe_ops_per_block)]
    unsafe {
        libc::setsid();
        let ready = libc::dup2((*with).null, 0) >= 0
            && libc::dup2((*with).null, 1) >= 0
            && libc::dup2((*with).stderr, 2) >= 0
            && libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0;
        if ready {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            libc::execve((*with).path, (*with).argv, (*with).env);
        }
        (*with).fault = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// clone3(2) whose child calls a function on the stack of `args`; returns the child's process id, or an error number below
/// zero. libc has no such function: its own returns from the system call, which two cannot on one stack.
///
/// # Safety
/// `args` must have a stack that is aligned to 16 bytes, and with CLONE_VM also CLONE_VFORK; it and `with` must live until
/// this returns.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_onto(
    args: &CloneArgs,
    child: extern "C" fn(*mut Execution) -> !,
    with: *mut Execution,
) -> i64 {
    let pid: i64;
    // SAFETY: the parent finds its registers as they were but for those named, and goes on behind the label. The child
    // begins with the same ones on its own stack, and never leaves the function.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r8") child,
            in("r9") with,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    pid
}

/// As that of `x86_64`.
///
/// # Safety
/// The same.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_onto(
    args: &CloneArgs,
    child: extern "C" fn(*mut Execution) -> !,
    with: *mut Execution,
) -> i64 {
    let pid: i64;
    // SAFETY: the parent finds its registers as they were but for x0, and goes on behind the label. The child begins with
    // the same ones on its own stack, and never leaves the function.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x3",
            "blr x2",
            "brk 1",
            "2:",
            inlateout("x0") args => pid,
            in("x1") size_of::<CloneArgs>(),
            in("x2") child,
            in("x3") with,
            in("x8") libc::SYS_clone3,
        );
    }
    pid
}
