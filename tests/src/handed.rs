//! System calls that are handed to this program before they are made: seccomp(2), "user-space notification".
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use nix::{errno::Errno, libc};

/// A call that a thread is about to make.
#[derive(Debug)]
pub struct Call {
    id: u64,
    /// The thread.
    pub thread: i32,
    /// Which call.
    pub number: i32,
    /// What it is given.
    pub arguments: [u64; 6],
}

/// Hands every later call of this thread, and of all threads and processes that come from it, with one of these numbers to
/// whoever holds the descriptor that is returned.
///
/// # Errors
/// Those of seccomp(2): without `CAP_SYS_ADMIN` it needs `PR_SET_NO_NEW_PRIVS`.
pub fn hand_over(numbers: &[i32]) -> io::Result<OwnedFd> {
    let filter = program(numbers);
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `program` and the filter that it points to live until the call has returned; the kernel copies both.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(listener)?;
    let listener = RawFd::try_from(listener).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for this call, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Allows all but these numbers, and calls of 32-bit programs.
fn program(numbers: &[i32]) -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const NUMBER: u32 = mem::offset_of!(libc::seccomp_data, nr) as u32;
    const ARCHITECTURE: u32 = mem::offset_of!(libc::seccomp_data, arch) as u32;
    // `AUDIT_ARCH_…` of linux/audit.h: the number of the ELF machine, 64 bits, little endian.
    const NATIVE: u32 = 0xc000_0000 | if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let unless = |k| libc::sock_filter { code: IF_EQUAL, jt: 0, jf: 1, k };
    let mut program = vec![
        step(LOAD, ARCHITECTURE),
        libc::sock_filter { code: IF_EQUAL, jt: 1, jf: 0, k: NATIVE },
        step(RETURN, libc::SECCOMP_RET_ALLOW),
        step(LOAD, NUMBER),
    ];
    for number in numbers {
        program.extend([unless(number.cast_unsigned()), step(RETURN, libc::SECCOMP_RET_USER_NOTIF)]);
    }
    program.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
    program
}

/// Lets a caller be woken on the processor that its answer comes from, where the kernel can (6.6).
pub fn answer_at_once(listener: BorrowedFd<'_>) {
    const SET_FLAGS: libc::Ioctl = 0x4008_2104;
    // SAFETY: this request takes a number, no address.
    let _slower_without = unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, 1_u64) };
}

/// Waits for the next call.
///
/// # Errors
/// `ENOENT` where its thread has gone meanwhile.
pub fn next(listener: BorrowedFd<'_>) -> Result<Call, Errno> {
    const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
    // SAFETY: all of it are numbers, for which zero is a value.
    let mut call: libc::seccomp_notif = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes one `seccomp_notif`, whose size is part of the request's number.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) })?;
    Ok(Call { id: call.id, thread: call.pid.cast_signed(), number: call.data.nr, arguments: call.data.args })
}

/// Lets a call be made, or fail with an error. That the process has gone meanwhile is no failure.
pub fn answer(listener: BorrowedFd<'_>, call: &Call, error: Option<Errno>) {
    const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
    let flags = if error.is_some() { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 };
    let error = error.map_or(0, |errno| -(errno as i32));
    let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags };
    // SAFETY: the kernel reads one `seccomp_notif_resp`, whose size is part of the request's number.
    let _gone = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut answer) };
}
