//! A process inside, seen from the command that started it: from its birth to its end.

use std::{io, os::fd::OwnedFd};

use nix::{
    sys::{
        signal::{SigSet, Signal, kill, killpg},
        signalfd::{SfdFlags, SignalFd},
        wait::waitpid,
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    stdio::{stdin, stdout},
    termios::{Winsize, tcsetwinsize},
};

use super::{
    ExecError, Joining, Progress,
    relay::{Pump, unblock},
};
use crate::attach::{RawMode, window_size};

/// What is passed on to the process inside.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in PASSED_ON.into_iter().chain([Signal::SIGCHLD, Signal::SIGWINCH]) {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for news of a process that is on its way; returns a signal that says to give it up.
    fn wait_for(&self, joining: &Joining) -> io::Result<Option<u8>> {
        let mut fds = [PollFd::new(joining, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() || fds[1].revents().is_empty() {
            return Ok(None);
        }
        let info = self.0.read_signal()?;
        let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        let signal = info.map(|info| info.ssi_signo as u8);
        Ok(signal.filter(|signal| ends.contains(&i32::from(*signal))))
    }
}

/// A process inside, from its birth to its end.
pub(super) struct Session {
    pid: Pid,
    signals: Signals,
    ended: Option<u8>,
}

impl Session {
    /// Waits until the process has executed. Until then a signal that would end a command gives it up: a
    /// tenant can keep a process from starting as long as it likes.
    pub(super) fn start(
        mut joining: Joining,
        signals: Signals,
    ) -> Result<(Self, Option<OwnedFd>), ExecError> {
        let mut terminal = None;
        let mut born = None;
        let mut given_up = None;
        let result = loop {
            match joining.advance(false) {
                Ok(Progress::Pending) => {
                    let signal =
                        signals.wait_for(&joining).map_err(|error| ExecError::Host("wait", error))?;
                    if signal.is_some() {
                        given_up = signal;
                        joining.kill();
                        if let Some(pid) = born {
                            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                        }
                    }
                }
                Ok(Progress::Born { pid, master, .. }) => {
                    terminal = master;
                    born = Some(pid);
                }
                Ok(Progress::Executed { pid }) => break Ok(pid),
                Err(error) => break Err(error),
            }
        };
        for child in [Some(joining.joiner), born.filter(|_| result.is_err())].into_iter().flatten() {
            let _ = waitpid(Pid::from_raw(child), None);
        }
        if let Some(signal) = given_up {
            return Err(ExecError::Interrupted(signal));
        }
        let mut session = Self { pid: Pid::from_raw(result?), signals, ended: None };
        // Its SIGCHLD may be among the signals that were taken meanwhile.
        session.reap().map_err(|error| ExecError::Host("wait", error))?;
        Ok((session, terminal))
    }

    /// Carries a terminal until the process has ended.
    pub(super) fn relay_tty(&mut self, master: &OwnedFd) -> io::Result<u8> {
        let (stdin, stdout) = (stdin(), stdout());
        unblock(master)?;
        let raw = RawMode::enter(stdin)?;
        let mut inward = Pump::inward(stdin, master.try_clone()?);
        let mut outward = Pump::outward(master.try_clone()?, stdout);
        let code = loop {
            if let Some(code) = self.ended {
                break code;
            }
            let open_before = inward.is_open();
            self.wait_and_carry(&mut [&mut inward, &mut outward], Some(master))?;
            if open_before && !inward.is_open() {
                // The end of a script on standard input is an end of file typed inside.
                let _ = rustix::io::write(master, b"\x04");
            }
        };
        outward.drain()?;
        drop(raw);
        Ok(code)
    }

    /// Carries pipes until the process has ended.
    pub(super) fn relay_pipes(&mut self, pumps: Vec<Option<Pump<'_>>>) -> io::Result<u8> {
        let mut pumps: Vec<Pump<'_>> = pumps.into_iter().flatten().collect();
        let code = loop {
            if let Some(code) = self.ended {
                break code;
            }
            let mut all: Vec<&mut Pump<'_>> = pumps.iter_mut().collect();
            self.wait_and_carry(&mut all, None)?;
        };
        for pump in pumps.iter_mut().filter(|pump| pump.is_outward()) {
            pump.drain()?;
        }
        Ok(code)
    }

    fn wait_and_carry(&mut self, pumps: &mut [&mut Pump<'_>], master: Option<&OwnedFd>) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.signals.0, PollFlags::IN)];
        let mut which = Vec::new();
        for (number, pump) in pumps.iter().enumerate() {
            if let Some(interest) = pump.interest() {
                fds.push(interest);
                which.push(number);
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for (number, _) in which.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            pumps[*number].carry()?;
        }
        if ready[0] {
            self.take_signals(master)?;
        }
        Ok(())
    }

    fn take_signals(&mut self, master: Option<&OwnedFd>) -> io::Result<()> {
        while let Some(info) = self.signals.0.read_signal()? {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGWINCH) => {
                    if let (Some(master), (rows @ 1.., cols @ 1..)) = (master, window_size(stdin())) {
                        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
                        let _ = tcsetwinsize(master, size);
                    }
                }
                Ok(signal) => self.pass_on(signal),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The process leads a session and a group of its own, so a terminal's Ctrl-C reaches only us.
    fn pass_on(&self, signal: Signal) {
        if self.ended.is_none() && killpg(self.pid, signal).is_err() {
            let _ = kill(self.pid, signal);
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        // The end of the joiner is told by the same signal, which may come before and after this one's.
        if self.ended.is_some() {
            return Ok(());
        }
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw());
        match rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG) {
            Ok(Some((_, status))) => {
                let killed = status.terminating_signal().map(|signal| 128 + signal);
                self.ended = status.exit_status().or(killed).map(|code| code as u8);
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "the session waits for it")]
    fn an_end_that_is_told_twice_is_one_end() {
        let child = std::process::Command::new("false").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let mut session = Session { pid, signals: Signals::block().unwrap(), ended: None };
        while session.ended.is_none() {
            session.reap().unwrap();
        }
        assert_eq!(session.ended, Some(1));
        session.reap().unwrap();
        assert_eq!(session.ended, Some(1));
    }
}
