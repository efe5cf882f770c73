//! One terminal of a tenant, seen from its master.
//!
//! The supervisor keeps a slave of its own open. A master whose last slave is closed reports POLLHUP
//! until another is opened, so there would be nothing to wait for; and what a tenant prints between two
//! openings of a tty would be lost. The session on the tty does not notice: it ends when its leader
//! ends, and the next one starts with fresh terminal settings.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Instant,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    termios::{Winsize, tcgetsid, tcsetwinsize},
};

use super::{log::ConsoleLog, rate::Budget};
use crate::{kernel::raw, protocol::wire::Tty};

/// Output of a tty per second, bytes: a tenant that prints more waits, as on a serial line.
const RATE: u32 = 4 << 20;
/// Output at once, bytes.
const BURST: u32 = 1 << 20;

/// What reading a master came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Output {
    /// This many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// The terminal is gone.
    Gone,
}

/// A terminal with its log.
#[derive(Debug)]
pub(in crate::supervisor) struct Terminal {
    pub(in crate::supervisor) tty: Tty,
    line: Option<Line>,
    log: ConsoleLog,
    /// Bytes logged in this boot.
    printed: usize,
    budget: Budget,
    paused: bool,
}

/// Both ends of the pseudoterminal of the present boot.
#[derive(Debug)]
struct Line {
    master: OwnedFd,
    slave: Option<OwnedFd>,
}

impl Terminal {
    pub(in crate::supervisor) fn new(tty: Tty, log_dir: &Path, cap: u64, now: Instant) -> Self {
        let log = ConsoleLog::new(log_dir, tty, cap);
        Self { tty, line: None, log, printed: 0, budget: Budget::new(now, BURST, RATE), paused: false }
    }

    /// Takes the master of a new boot.
    pub(in crate::supervisor) fn connect(&mut self, master: OwnedFd) -> io::Result<()> {
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let slave = raw::open_pty_peer(&master).ok();
        self.line = Some(Line { master, slave });
        self.printed = 0;
        Ok(())
    }

    /// Lets go of the pseudoterminal: its tenant has ended.
    pub(in crate::supervisor) fn disconnect(&mut self) {
        self.line = None;
    }

    /// The master to poll for output; none when there is none or its budget is spent.
    pub(in crate::supervisor) fn readable(&self) -> Option<&OwnedFd> {
        self.line.as_ref().filter(|_| !self.paused).map(|line| &line.master)
    }

    /// A slave for a login program.
    pub(in crate::supervisor) fn slave(&self) -> io::Result<OwnedFd> {
        let line = self.line.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        raw::open_pty_peer(&line.master)
    }

    /// Notes the time; returns when a paused terminal may go on.
    pub(in crate::supervisor) fn tick(&mut self, now: Instant) -> Option<Instant> {
        let until = self.budget.closed_until(now);
        self.paused = until.is_some();
        until
    }

    /// Reads what the tenant printed and logs it. A disk that is full costs the log, not the tenant.
    pub(in crate::supervisor) fn read(&mut self, now: Instant, bytes: &mut [u8]) -> Output {
        let Some(line) = &mut self.line else { return Output::Gone };
        match rustix::io::read(&line.master, &mut *bytes) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Output::Nothing,
            Ok(length) => {
                self.budget.take(now, length);
                if self.log.append(&bytes[..length]).is_ok() {
                    self.printed = self.printed.saturating_add(length);
                }
                Output::Bytes(length)
            }
            Err(_) => {
                // No slave is open any more, not even ours.
                line.slave = raw::open_pty_peer(&line.master).ok();
                if line.slave.is_some() {
                    return Output::Nothing;
                }
                self.line = None;
                Output::Gone
            }
        }
    }

    /// Types into the terminal; returns how much of it was taken.
    pub(in crate::supervisor) fn write(&self, bytes: &[u8]) -> usize {
        match &self.line {
            None => bytes.len(),
            Some(line) => match rustix::io::write(&line.master, bytes) {
                Ok(length) => length,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => bytes.len(),
            },
        }
    }

    pub(in crate::supervisor) fn resize(&self, rows: u16, cols: u16) {
        if let (Some(line), 1.., 1..) = (&self.line, rows, cols) {
            let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            // A program that does not learn the size of the window draws for another one, and that is all.
            let _ = tcsetwinsize(&line.master, size);
        }
    }

    /// The leader of the session that has this terminal as its controlling one.
    pub(in crate::supervisor) fn session(&self) -> Option<i32> {
        let line = self.line.as_ref()?;
        tcgetsid(&line.master).ok().map(|pid| pid.as_raw_nonzero().get())
    }

    /// How much it has printed in this boot, bytes.
    pub(in crate::supervisor) fn printed(&self) -> usize {
        self.printed
    }

    pub(in crate::supervisor) fn is_connected(&self) -> bool {
        self.line.is_some()
    }
}

impl Terminal {
    /// The master, to be polled for room to type into.
    pub(in crate::supervisor) fn master(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(|line| line.master.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, process::Command};

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        pty::{OpenptFlags, openpt, ptsname, unlockpt},
    };

    use super::*;

    fn terminal(dir: &Path) -> (Terminal, String) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let mut terminal = Terminal::new(Tty::CONSOLE, dir, 1 << 16, Instant::now());
        terminal.connect(master).unwrap();
        (terminal, name)
    }

    fn is_quiet(terminal: &Terminal) -> bool {
        let mut fds = [PollFd::new(terminal.readable().unwrap(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).unwrap() == 0
    }

    fn read_all(terminal: &mut Terminal) -> Vec<u8> {
        let mut all = Vec::new();
        let mut bytes = [0; 256];
        while !is_quiet(terminal) {
            if let Output::Bytes(length) = terminal.read(Instant::now(), &mut bytes) {
                all.extend_from_slice(&bytes[..length]);
            }
        }
        all
    }

    #[test]
    fn a_tty_that_was_opened_and_closed_does_not_spin() {
        let dir = tempfile::tempdir().unwrap();
        let (mut terminal, name) = terminal(dir.path());
        let mut slave = File::options().write(true).open(&name).unwrap();
        slave.write_all(b"hello").unwrap();
        drop(slave);
        assert_eq!(read_all(&mut terminal), b"hello");
        assert!(is_quiet(&terminal));
    }

    #[test]
    fn a_session_comes_and_goes_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let (mut terminal, name) = terminal(dir.path());
        for word in ["one", "two"] {
            assert_eq!(terminal.session(), None);
            // setsid(1): a new session; -c takes standard input as its controlling terminal.
            let script = format!("echo {word}; read answer; echo got $answer");
            let tty = || File::options().read(true).write(true).open(&name).unwrap();
            let mut child = Command::new("setsid")
                .args(["-c", "sh", "-c", &script])
                .stdin(tty())
                .stdout(tty())
                .stderr(tty())
                .spawn()
                .unwrap();
            let mut seen = String::new();
            while !seen.contains(word) {
                seen.push_str(&String::from_utf8(read_all(&mut terminal)).unwrap());
            }
            assert!(terminal.session().is_some());
            assert_eq!(terminal.write(b"back\n"), 5);
            child.wait().unwrap();
            let seen = String::from_utf8(read_all(&mut terminal)).unwrap();
            assert!(seen.contains("got back"), "{seen:?}");
            // The leader hung the tty up when it ended, and still there is nothing to wake up for.
            assert!(is_quiet(&terminal));
        }
    }

    #[test]
    fn a_flood_pauses_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut terminal, _) = terminal(dir.path());
        let now = Instant::now();
        terminal.budget.take(now, 2 << 20);
        let until = terminal.tick(now).unwrap();
        assert!(terminal.readable().is_none());
        assert_eq!(terminal.tick(until), None);
        assert!(terminal.readable().is_some());
    }
}
