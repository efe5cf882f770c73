//! What this process is: its filter of system calls, its memory, its priority, its words.

use std::io;

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

/// Gives memory that malloc holds free back to the kernel, see malloc_trim(3).
pub fn trim_heap() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages of the stack back to the kernel that earlier, deeper calls have used. Does nothing on other threads than the
/// main one: below its stack nothing is mapped, because the kernel keeps a gap of a mebibyte there.
#[inline(never)]
pub fn trim_stack() {
    /// So much below this call stays as it is, for the calls that are made here and for signal handlers. Bytes.
    const SPARED: usize = 8 << 10;
    /// The search for used pages ends there. Bytes.
    const DEPTH: usize = 512 << 10;
    if rustix::thread::gettid() != rustix::process::getpid() {
        return;
    }
    let here = 0_u8;
    let end = (&raw const here as usize).saturating_sub(SPARED) & !(rustix::param::page_size() - 1);
    let start = end.saturating_sub(DEPTH);
    // SAFETY: below the stack pointer there is nothing that a program relies on, and what is still to be called here needs
    // less than `SPARED`. Nothing but this stack is mapped in the range, see stack_guard_gap of the kernel; that a part of it
    // is not mapped at all is the error ENOMEM, and the rest is given back nevertheless, see madvise(2).
    unsafe {
        libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
    }
}

/// Has malloc give memory back as it becomes free, and keep it in few places: for a program with threads that lives long,
/// see mallopt(3). Called while there is a single thread.
pub fn keep_heap_small() {
    /// Threads share so many arenas; glibc would make eight for each processor, and what is free in one serves no other.
    const ARENAS: libc::c_int = 2;
    /// What is larger is mapped by itself, and unmapped when it is freed; so much may be free at an arena's end. Bytes.
    const LARGE: libc::c_int = 128 << 10;
    for (parameter, value) in
        [(libc::M_ARENA_MAX, ARENAS), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)]
    {
        // SAFETY: takes two numbers; one that it does not know is refused.
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
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

/// Gives this process a session keyring of its own, empty, in place of the one it inherited: a process that
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
        // this process's initial stack, which is mapped writable for as long as it lives. No process holds a
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
