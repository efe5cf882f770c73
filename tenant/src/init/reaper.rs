//! Process 1 of a tenant whose payload is one program and no init: starts it, passes signals on, reaps
//! what it leaves behind, and ends as it ends.
//!
//! Nothing is executed for it: it stays the copy of the supervisor that put the tenant together, which
//! costs no page that both do not share and a few milliseconds less. So nothing inside may look into it.
//! It is not dumpable, and its memory belongs to the host's user namespace, so that ptrace(2) and all of
//! `/proc/1` that rests on it (`exe`, `fd`, `mem`, `environ`, `maps`, `root`, …) are refused to the
//! tenant's root as well, see proc(5) and CVE-2019-5736. What is left, `cmdline` and `comm`, is
//! overwritten. It holds no descriptor but the console, no capability and no system call that the payload
//! has not.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, pthread_sigmask},
    },
    unistd::Pid,
};
use rustix::process::{WaitOptions, wait};

use super::execute::execute;
use crate::{
    kernel::{
        KernelError,
        gate::{Message, send},
        raw::{self, Fork, Parent},
    },
    plan::Plan,
};

/// What process 1 is called inside.
const NAME: &str = "init";

/// Becomes process 1 of a tenant that is assembled and confined, and starts the payload. The gate closes
/// when that has been executed; what fails before goes through it. Never returns, for it closes descriptors that
/// its callers own.
pub(super) fn run(plan: &Plan, gate: &OwnedFd) -> ! {
    let payload = start(plan, gate).unwrap_or_else(|error| {
        let error = KernelError::new("start", "the reaping init", error);
        // A supervisor that is gone hears nothing, and waits for nothing.
        let _ = send(gate, &Message::failure(&error), &[]);
        raw::exit(1)
    });
    // The payload has its own copy; what closes it is that one's exec. Where this one stays open, the supervisor
    // waits for it in vain and says so.
    if raw::close_except(&[]).is_err() {
        raw::exit(1);
    }
    raw::trim_heap();
    raw::exit(watch(payload).unwrap_or(1))
}

fn start(plan: &Plan, gate: &OwnedFd) -> io::Result<i32> {
    hide(gate)?;
    // Before the payload is there, so that its end is not missed.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    match raw::clone3(0, Parent::Caller, None)? {
        Fork::Child => become_payload(plan, gate),
        Fork::Parent(payload) => Ok(payload),
    }
}

/// Takes what is the host's out of the tenant's sight.
fn hide(gate: &OwnedFd) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    prctl::set_name(&std::ffi::CString::new(NAME)?)?;
    raw::overwrite_arguments(NAME)?;
    raw::close_except(&[gate.as_fd()])
}

/// In the child: a session of its own with the console as its terminal, then the program.
fn become_payload(plan: &Plan, gate: &OwnedFd) -> ! {
    let set_up = || -> io::Result<()> {
        rustix::process::setsid()?;
        raw::set_controlling_tty(rustix::stdio::stdin())?;
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    };
    let done = set_up().map_err(|error| KernelError::new("set up", "the program's session", error));
    if let Err(error) = done.and_then(|()| execute(plan)) {
        // A supervisor that is gone hears nothing, and waits for nothing.
        let _ = send(gate, &Message::failure(&error), &[]);
    }
    raw::exit(127)
}

/// Whether a signal that process 1 gets is meant for the payload: not what speaks of process 1 itself,
/// nor what a terminal sends to whole groups.
fn is_passed_on(signal: i32) -> bool {
    !matches!(
        signal,
        libc::SIGCHLD
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
            | libc::SIGPIPE
            | libc::SIGWINCH
            | libc::SIGURG
            | libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGILL
            | libc::SIGFPE
            | libc::SIGABRT
            | libc::SIGTRAP
            | libc::SIGSYS
    )
}

/// Until the payload's end; the code that stands for it. When process 1 ends with that, the kernel has
/// killed everything else in the namespace before anybody is told, see pid_namespaces(7).
fn watch(payload: i32) -> io::Result<i32> {
    loop {
        match raw::wait_signal()? {
            libc::SIGCHLD => {
                if let Some(code) = reap(payload)? {
                    return Ok(code);
                }
            }
            signal if is_passed_on(signal) => raw::kill(Pid::from_raw(payload), signal)?,
            _ => {}
        }
    }
}

/// Collects all that has ended; several may stand behind one SIGCHLD.
fn reap(payload: i32) -> io::Result<Option<i32>> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == payload => {
                let killed = || status.terminating_signal().map(|signal| 128 + signal);
                code = status.exit_status().or_else(killed).or(code);
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(code),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_a_program_to_do_something_is_passed_on() {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2]
        {
            assert!(is_passed_on(signal), "{signal}");
        }
        // SIGRTMIN+3
        assert!(is_passed_on(37));
        assert!(!is_passed_on(libc::SIGCHLD) && !is_passed_on(libc::SIGTTOU));
    }
}
