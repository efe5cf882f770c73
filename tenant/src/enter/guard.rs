//! Ends a command whose client has been killed.
//!
//! The command itself has a death signal, but what it has started has none, and a set-user-ID program loses it,
//! see PR_SET_PDEATHSIG(2const). So a small process waits for the end of the client, or of the command,
//! whichever comes first, and in the one case kills the command's process group.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
    process::{PidfdFlags, WaitOptions, kill_process, pidfd_open, waitpid},
};

use crate::kernel::raw::{self, Fork, Parent};

/// What it is called.
const NAME: &str = "tenant: guard of a client";

/// A child of this process that watches over it.
#[derive(Debug)]
pub(super) struct Guard {
    process: i32,
    /// Closed by the kernel when this process ends, however it ends.
    _alive: OwnedFd,
}

impl Guard {
    /// Watches for the end of the calling process as long as `leader` lives: its child, not yet waited for, which
    /// leads a process group.
    pub(super) fn of(leader: Pid) -> io::Result<Self> {
        let number = rustix::process::Pid::from_raw(leader.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        match raw::clone3(0, Parent::Caller, None)? {
            Fork::Child => watch(leader, &pidfd, &reader),
            Fork::Parent(process) => Ok(Self { process, _alive: writer }),
        }
    }
}

impl Drop for Guard {
    /// The command has ended: there is nothing to watch.
    fn drop(&mut self) {
        if let Some(process) = rustix::process::Pid::from_raw(self.process) {
            // It ends by itself as well, and may have.
            let _ = kill_process(process, rustix::process::Signal::KILL);
            let _ = waitpid(Some(process), WaitOptions::empty());
        }
    }
}

/// In the child. It has every signal blocked that its parent has, so only SIGKILL ends it early.
fn watch(leader: Pid, pidfd: &OwnedFd, alive: &OwnedFd) -> ! {
    // What is sent to the client's group, or typed at its terminal, is not meant for this process, and the
    // client's streams must end with the client. In a list of processes it is not a second client.
    let let_go = || -> io::Result<()> {
        rustix::process::setsid()?;
        raw::overwrite_arguments(NAME)?;
        rustix::stdio::dup2_stdin(alive)?;
        rustix::stdio::dup2_stdout(alive)?;
        rustix::stdio::dup2_stderr(alive)?;
        raw::close_except(&[pidfd.as_fd(), alive.as_fd()])
    };
    if let_go().is_err() {
        raw::exit(1);
    }
    loop {
        let mut fds = [PollFd::new(alive, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => raw::exit(1),
        }
        // In this order: the end of the client is the end of the command, too.
        if !fds[0].revents().is_empty() {
            kill_group(leader, pidfd);
            raw::exit(0);
        }
        if !fds[1].revents().is_empty() {
            raw::exit(0);
        }
    }
}

fn kill_group(leader: Pid, pidfd: &OwnedFd) {
    let killed = raw::pidfd_signal_group(pidfd.as_fd(), libc::SIGKILL);
    if killed.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
        // Before Linux 6.9, by number. The client has ended just now, so its child was there just now: no process
        // else can have got the number yet. A group of which no process is left is none.
        let _ = killpg(leader, Signal::SIGKILL);
    }
}
