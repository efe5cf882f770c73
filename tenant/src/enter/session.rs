//! A process inside, seen from the command that started it: from its birth to its end.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{SigSet, Signal, kill, killpg},
        signalfd::{SfdFlags, SignalFd},
        wait::waitpid,
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    stdio::{stderr, stdin, stdout},
    termios::{Winsize, tcsetwinsize},
};

use super::{
    error::ExecError,
    guard::Guard,
    joining::{Joining, Progress},
    relay::Pump,
};
use crate::attach::{RawMode, window_size};

/// What of a terminal's output is shown behind the end of the command at most, bytes: more than a
/// pseudoterminal holds.
const TERMINAL_MOST: u64 = 256 << 10;
/// What a command has left running may write for so long behind its end, and be silent for so long: the end of
/// `command > >(filter)` is not cut off, and a daemon holds no process up.
const LINGER: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(100);

/// Of those below, what ends a client that waits for nothing but its own output to be read.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

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
        let signal = self.0.read_signal()?.and_then(|info| Signal::try_from(info.ssi_signo as i32).ok());
        Ok(signal.filter(|signal| ENDING.contains(signal)).map(|signal| signal as u8))
    }
}

/// What can be told of a pump's streams.
#[derive(Clone, Copy)]
enum Event {
    /// No process reads any more.
    HangUp,
    /// Something can be carried.
    Ready,
}

/// A process inside, from its birth to its end.
pub(super) struct Session {
    pid: Pid,
    signals: Signals,
    ended: Option<u8>,
    /// A signal that came when the process had ended already.
    interrupted: Option<u8>,
    guard: Option<Guard>,
}

impl Session {
    /// Waits until the process has executed; with the near ends of its streams. Until then a signal that would end
    /// a command gives it up: a tenant can keep a process from starting as long as it likes.
    pub(super) fn start(mut joining: Joining, signals: Signals) -> Result<(Self, Vec<OwnedFd>), ExecError> {
        let mut ends = Vec::new();
        let mut born = None;
        let mut given_up = None;
        let result = loop {
            match joining.advance(false) {
                Ok(Progress::Pending) => {
                    let signal = signals.wait_for(&joining).map_err(failed("wait"))?;
                    if signal.is_some() {
                        given_up = signal;
                        joining.kill();
                        if let Some(pid) = born {
                            // It may have ended with the joiner.
                            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                        }
                    }
                }
                Ok(Progress::Born { pid, near, .. }) => {
                    ends = near;
                    born = Some(pid);
                }
                Ok(Progress::Executed { pid }) => break Ok(pid),
                Err(error) => break Err(error),
            }
        };
        for child in [Some(joining.joiner), born.filter(|_| result.is_err())].into_iter().flatten() {
            // Both are children of this process that end by themselves, or have been killed.
            let _ = waitpid(Pid::from_raw(child), None);
        }
        if let Some(signal) = given_up {
            return Err(ExecError::Interrupted(signal));
        }
        let pid = Pid::from_raw(result?);
        // Without one, for lack of memory, the process still ends with its client, if not all that it started.
        let guard = Guard::of(pid).ok();
        let mut session = Self { pid, signals, ended: None, interrupted: None, guard };
        // Its SIGCHLD may be among the signals that were taken meanwhile.
        session.reap().map_err(failed("wait"))?;
        Ok((session, ends))
    }

    /// Carries a terminal until the process has ended.
    pub(super) fn relay_tty(self, master: OwnedFd) -> Result<u8, ExecError> {
        let (stdin, stdout) = (stdin(), stdout());
        let raw = RawMode::enter(stdin).map_err(failed("set the terminal"))?;
        let copy = || master.try_clone();
        let pumps = || -> io::Result<[Pump<'_>; 2]> {
            Ok([Pump::inward(stdin, copy()?, true)?, Pump::outward(copy()?, stdout, OUTPUT)?])
        };
        let pumps = pumps().map_err(failed("use the terminal"))?;
        let result = self.relay(pumps.into(), Some(master));
        drop(raw);
        result
    }

    /// Carries pipes until the process has ended.
    pub(super) fn relay_pipes(self, [near_in, near_out, near_err]: [OwnedFd; 3]) -> Result<u8, ExecError> {
        let pumps = || -> io::Result<Vec<Pump<'_>>> {
            Ok(vec![
                Pump::inward(stdin(), near_in, false)?,
                Pump::outward(near_out, stdout(), OUTPUT)?,
                Pump::outward(near_err, stderr(), "write standard error")?,
            ])
        };
        let pumps = pumps().map_err(failed("use the pipes"))?;
        self.relay(pumps, None)
    }

    fn relay(mut self, mut pumps: Vec<Pump<'_>>, mut master: Option<OwnedFd>) -> Result<u8, ExecError> {
        while self.ended.is_none() {
            self.wait_and_relay(&mut pumps, master.as_ref(), None)?;
            if master.is_some() && pumps.iter().any(|pump| pump.is_outward() && !pump.is_open()) {
                // No process sees the terminal any more: hung up, as if its window had been closed.
                pumps.iter_mut().for_each(Pump::close);
                master = None;
            }
        }
        pumps.retain(Pump::is_outward);
        self.relay_the_rest(&mut pumps)?;
        if master.is_none() {
            self.linger(&mut pumps)?;
        }
        Ok(self.interrupted.or(self.ended).unwrap_or_default())
    }

    /// Carries what the process had written when it ended, however long that takes, and no more: others may write
    /// to the same streams for ever.
    fn relay_the_rest(&mut self, pumps: &mut [Pump<'_>]) -> Result<(), ExecError> {
        pumps.iter_mut().for_each(|pump| pump.limit_to_present(TERMINAL_MOST));
        while self.interrupted.is_none() {
            let patience = (!pumps.iter().any(Pump::is_holding)).then_some(Duration::ZERO);
            if !self.wait_and_relay(pumps, None, patience)? && patience.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Carries what those write that the process has left behind, for a moment.
    fn linger(&mut self, pumps: &mut [Pump<'_>]) -> Result<(), ExecError> {
        pumps.iter_mut().for_each(Pump::limit_no_more);
        let end = Instant::now() + LINGER;
        while self.interrupted.is_none() && pumps.iter().any(Pump::is_open) {
            let patience = end.saturating_duration_since(Instant::now()).min(SILENCE);
            if patience.is_zero() || !self.wait_and_relay(pumps, None, Some(patience))? {
                break;
            }
        }
        Ok(())
    }

    /// Waits until something can be carried or a signal comes, and does that; false when `patience` was over first.
    fn wait_and_relay(
        &mut self,
        pumps: &mut [Pump<'_>],
        master: Option<&OwnedFd>,
        patience: Option<Duration>,
    ) -> Result<bool, ExecError> {
        let mut fds = vec![PollFd::new(&self.signals.0, PollFlags::IN)];
        let mut events = Vec::new();
        for (number, pump) in pumps.iter().enumerate() {
            for (event, fd) in [(Event::HangUp, pump.hangup()), (Event::Ready, pump.interest())] {
                if let Some(fd) = fd {
                    fds.push(fd);
                    events.push((number, event));
                }
            }
        }
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let count = match poll(&mut fds, patience.as_ref()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(ExecError::Host("wait", error.into())),
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for ((number, event), _) in events.into_iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            match event {
                Event::HangUp => pumps[number].close(),
                Event::Ready => {
                    pumps[number].transfer().map_err(|broken| ExecError::Host(broken.what, broken.source))?
                }
            }
        }
        if ready[0] {
            self.take_signals(master).map_err(failed("read signals"))?;
        }
        Ok(count > 0)
    }

    fn take_signals(&mut self, master: Option<&OwnedFd>) -> io::Result<()> {
        while let Some(info) = self.signals.0.read_signal()? {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGWINCH) => {
                    if let (Some(master), (rows @ 1.., cols @ 1..)) = (master, terminal_size()) {
                        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
                        // It may have ended, and its terminal with it.
                        let _ = tcsetwinsize(master, size);
                    }
                }
                Ok(signal) if self.ended.is_none() => self.pass_on(signal),
                Ok(signal) if ENDING.contains(&signal) => self.interrupted = Some(128 + signal as u8),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The process leads a session and a group of its own, so a terminal's Ctrl-C reaches only us.
    fn pass_on(&self, signal: Signal) {
        if killpg(self.pid, signal).is_err() {
            // It has another group now, or has ended and is not yet waited for.
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

impl Drop for Session {
    /// A process that no process hears any more, because a stream broke, ends with all its group.
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.pass_on(Signal::SIGKILL);
            // Killed it ends soon, and its init takes it if this process ends first.
            let _ = waitpid(self.pid, None);
        }
        drop(self.guard.take());
    }
}

/// What is done with standard output, as it goes into "cannot …".
const OUTPUT: &str = "write standard output";

fn failed(what: &'static str) -> impl Fn(io::Error) -> ExecError {
    move |error| ExecError::Host(what, error)
}

/// Rows and columns of the caller's terminal, whichever of its streams is one; (0, 0) without any.
pub(super) fn terminal_size() -> (u16, u16) {
    let sizes = [window_size(stdin()), window_size(stdout()), window_size(stderr())];
    sizes.into_iter().find(|size| *size != (0, 0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "the session waits for it")]
    fn an_end_that_is_told_twice_is_one_end() {
        let child = std::process::Command::new("false").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let signals = Signals::block().unwrap();
        let mut session = Session { pid, signals, ended: None, interrupted: None, guard: None };
        while session.ended.is_none() {
            session.reap().unwrap();
        }
        assert_eq!(session.ended, Some(1));
        session.reap().unwrap();
        assert_eq!(session.ended, Some(1));
    }
}
