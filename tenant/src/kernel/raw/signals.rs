//! What signals do to this process.

use std::io;

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
pub fn catch_signals(signals: &[nix::sys::signal::Signal]) -> io::Result<()> {
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
