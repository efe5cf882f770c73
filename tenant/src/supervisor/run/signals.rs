//! Signals of the supervisor, as something to poll.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// What the signals ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Asked {
    /// SIGTERM or SIGINT: stop the tenant.
    pub(in crate::supervisor) stop: bool,
    /// SIGCHLD: a child ended.
    pub(in crate::supervisor) children: bool,
}

/// The blocked signals.
#[derive(Debug)]
pub(in crate::supervisor) struct Signals(SignalFd);

impl Signals {
    /// Blocks SIGTERM, SIGINT, SIGHUP and SIGCHLD and has them reported here instead. SIGHUP asks for
    /// nothing: a terminal that goes away must not take a tenant with it.
    pub(in crate::supervisor) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Everything that is pending.
    pub(in crate::supervisor) fn take(&self) -> io::Result<Asked> {
        let mut asked = Asked::default();
        loop {
            let info = match self.0.read_signal() {
                Ok(Some(info)) => info,
                Err(Errno::EINTR) => continue,
                Ok(None) => return Ok(asked),
                Err(error) => return Err(error.into()),
            };
            match info.ssi_signo as i32 {
                libc::SIGTERM | libc::SIGINT => asked.stop = true,
                libc::SIGCHLD => asked.children = true,
                _ => {}
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
