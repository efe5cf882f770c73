//! All consoles of a tenant: its terminals, their logins, and a process that looks at them.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

use super::{
    forward::Forward,
    getty::{Getty, Inside},
    log,
    tty::{Output, Terminal},
    viewer::{Request, Viewer},
};
use crate::{
    plan::InitPlan,
    protocol::{
        escape,
        wire::{Event, Hello, Tty},
    },
};

/// Most connections to `console.sock` at a time.
const MAX_VIEWERS: usize = 32;
/// Most bytes of the past that are replayed.
const MAX_REPLAY: usize = 16 << 10;
/// After a boot the tenant's own init gets this long to put something on a tty itself.
const GRACE: Duration = Duration::from_millis(500);
/// Most reads of what a tenant that ended has left in a terminal.
const MAX_DRAIN: usize = 64;

/// What of the consoles became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Part {
    /// The master of the terminal with this number.
    Master(usize),
    /// The way of a login program to the terminal with this number.
    Login(usize),
    /// A viewer by its place.
    Viewer(usize),
}

/// A terminal and its login.
#[derive(Debug)]
struct LoginTerminal {
    terminal: Terminal,
    getty: Getty,
}

/// The consoles. They outlive a reboot of the tenant.
#[derive(Debug)]
pub(in crate::supervisor) struct Consoles {
    log_dir: PathBuf,
    /// The console's way to the journal.
    forward: Forward,
    terminals: Vec<LoginTerminal>,
    viewers: Vec<Viewer>,
    /// Why there are no terminals yet.
    absence: Option<String>,
}

impl Consoles {
    pub(in crate::supervisor) fn new(log_dir: PathBuf, forward: Forward) -> Self {
        Self { log_dir, forward, terminals: Vec::new(), viewers: Vec::new(), absence: None }
    }

    pub(in crate::supervisor) fn viewers(&self) -> usize {
        self.viewers.iter().filter(|viewer| viewer.tty().is_some()).count()
    }

    /// Whether a process looks at one of them, is about to, or has logged in on one.
    pub(in crate::supervisor) fn are_used(&self) -> bool {
        !self.viewers.is_empty()
            || self.terminals.iter().any(|entry| entry.getty.has_session(&entry.terminal))
    }

    /// There are no terminals yet, and this is why; viewers stay until there are.
    pub(in crate::supervisor) fn wait_for_turn(&mut self, reason: String) {
        self.absence = Some(reason);
    }

    /// A slave of the console, for a program that says something on it.
    pub(in crate::supervisor) fn slave(&self) -> io::Result<OwnedFd> {
        self.terminals.first().ok_or(io::ErrorKind::NotConnected)?.terminal.slave()
    }

    /// Takes the terminals of a new boot. Viewers of a tty that does not exist are sent away.
    pub(in crate::supervisor) fn connect(
        &mut self,
        masters: Vec<OwnedFd>,
        init: &InitPlan,
        now: Instant,
    ) -> io::Result<()> {
        self.forward.want(init.console_journal);
        self.terminals.truncate(masters.len());
        for (number, master) in masters.into_iter().enumerate() {
            if number == self.terminals.len() {
                let tty = Tty::new(number as u8);
                let terminal = Terminal::new(tty, &self.log_dir, init.console_log, now);
                self.terminals.push(LoginTerminal { terminal, getty: Getty::new(now) });
            }
            let entry = &mut self.terminals[number];
            entry.terminal.connect(master)?;
            entry.getty.reset(now + GRACE);
        }
        self.absence = None;
        for viewer in &mut self.viewers {
            let Some(tty) = viewer.tty() else { continue };
            match self.terminals.get(usize::from(tty.number())) {
                None => viewer.dismiss(&Event::Ended { exit: None }),
                // A new terminal has no size.
                Some(entry) if viewer.types_into(tty) => {
                    let (rows, cols) = viewer.size();
                    entry.terminal.resize(rows, cols);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The tenant is ready for logins.
    pub(in crate::supervisor) fn booted(&mut self, now: Instant) {
        self.terminals.iter_mut().for_each(|entry| entry.getty.reset(now + GRACE));
    }

    /// The tenant has ended: takes what it printed last and lets go of its terminals.
    pub(in crate::supervisor) fn disconnect(&mut self, now: Instant) {
        for number in 0..self.terminals.len() {
            let mut reads = 0;
            while reads < MAX_DRAIN && self.read_master(number, now) {
                reads += 1;
            }
            self.terminals[number].terminal.disconnect();
            self.terminals[number].getty.reset(now);
        }
        self.forward.finish(now);
    }

    pub(in crate::supervisor) fn tell_all(&mut self, event: &Event) {
        self.viewers.iter_mut().for_each(|viewer| viewer.tell(event));
    }

    /// Says goodbye to everybody.
    pub(in crate::supervisor) fn dismiss_all(&mut self, event: &Event) {
        self.viewers.iter_mut().for_each(|viewer| viewer.dismiss(event));
    }

    /// Whether a viewer has still not got everything.
    pub(in crate::supervisor) fn has_backlog(&self) -> bool {
        self.viewers.iter().any(Viewer::has_backlog)
    }

    /// The last lines that a tty printed in this boot, escaped.
    pub(in crate::supervisor) fn last_lines(&self, tty: Tty, lines: usize) -> Vec<String> {
        let entry = self.terminals.get(usize::from(tty.number()));
        let printed = entry.map_or(0, |entry| entry.terminal.printed());
        self.tail(tty, lines, MAX_REPLAY.min(printed))
    }

    /// The last lines of a tty's log, escaped.
    pub(in crate::supervisor) fn tail(&self, tty: Tty, lines: usize, most: usize) -> Vec<String> {
        let bytes = log::tail(&self.log_dir, tty, most).unwrap_or_default();
        escape::plain_lines(&bytes, lines)
    }

    /// A new connection; turned away when there are too many viewers. One that has not said what it wants to see
    /// gives way.
    pub(in crate::supervisor) fn admit(&mut self, stream: UnixStream, now: Instant) {
        let mut viewer = Viewer::new(stream, now);
        if self.viewers.iter().filter(|viewer| !viewer.is_gone()).count() >= MAX_VIEWERS {
            let has_room = self.viewers.len() < 4 * MAX_VIEWERS;
            match self.viewers.iter_mut().find(|viewer| viewer.is_silent()) {
                Some(silent) if has_room => silent.hang_up(),
                _ => return viewer.refuse("too many clients are attached", "detach one of them first"),
            }
        }
        self.viewers.push(viewer);
    }

    /// What to poll for.
    pub(in crate::supervisor) fn interest<'a>(&'a self, parts: &mut Vec<Part>, fds: &mut Vec<PollFd<'a>>) {
        for (number, entry) in self.terminals.iter().enumerate() {
            let waits = self
                .viewers
                .iter()
                .any(|viewer| viewer.types_into(entry.terminal.tty) && !viewer.typed.is_empty());
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, entry.terminal.readable().is_some());
            flags.set(PollFlags::OUT, waits && !entry.getty.is_opening());
            if let (Some(master), false) = (entry.terminal.master(), flags.is_empty()) {
                parts.push(Part::Master(number));
                fds.push(PollFd::from_borrowed_fd(master, flags));
            }
            if let Some(channel) = entry.getty.news() {
                parts.push(Part::Login(number));
                fds.push(PollFd::from_borrowed_fd(channel, PollFlags::IN));
            }
        }
        for (place, viewer) in self.viewers.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, viewer.wants_input());
            flags.set(PollFlags::OUT, viewer.has_backlog());
            parts.push(Part::Viewer(place));
            fds.push(PollFd::from_borrowed_fd(viewer.stream.as_fd(), flags));
        }
    }

    /// Handles what became ready. A reboot may have taken away what was polled.
    pub(in crate::supervisor) fn handle(&mut self, part: Part, flags: PollFlags, now: Instant) {
        match part {
            Part::Master(number) | Part::Login(number) if number >= self.terminals.len() => {}
            Part::Master(number) => {
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read_master(number, now);
                }
                if flags.contains(PollFlags::OUT) {
                    self.type_into(number);
                }
            }
            Part::Login(number) => {
                let notice = self.terminals[number].getty.advance(now);
                self.notice(number, notice);
                self.release_unattended(now);
            }
            Part::Viewer(place) => self.handle_viewer(place, flags, now),
        }
    }

    /// Reads from a terminal and shows it; false when there was nothing.
    fn read_master(&mut self, number: usize, now: Instant) -> bool {
        let mut bytes = [0; 4096];
        let terminal = &mut self.terminals[number].terminal;
        let Output::Bytes(length) = terminal.read(now, &mut bytes) else { return false };
        let tty = terminal.tty;
        self.terminals[number].getty.heard(now);
        if tty == Tty::CONSOLE {
            self.forward.take(&bytes[..length], now);
        }
        for viewer in self.viewers.iter_mut().filter(|viewer| viewer.tty() == Some(tty)) {
            viewer.show(&bytes[..length]);
        }
        true
    }

    /// Types what viewers of a terminal have typed.
    fn type_into(&mut self, number: usize) {
        let LoginTerminal { terminal, getty } = &self.terminals[number];
        if getty.is_opening() {
            return;
        }
        for viewer in self.viewers.iter_mut().filter(|viewer| viewer.types_into(terminal.tty)) {
            if !viewer.typed.is_empty() {
                let taken = terminal.write(&viewer.typed);
                viewer.typed.drain(..taken);
                if viewer.typed.is_empty() {
                    viewer.typed = Vec::new();
                }
            }
        }
    }

    fn handle_viewer(&mut self, place: usize, flags: PollFlags, now: Instant) {
        let viewer = &mut self.viewers[place];
        if flags.contains(PollFlags::OUT) {
            viewer.flush();
        }
        let requests = if flags.contains(PollFlags::IN) { viewer.read() } else { Vec::new() };
        for request in requests {
            match request {
                Request::Attach(hello) => self.attach(place, hello, now),
                Request::Resize { tty, rows, cols } => self.resize(tty, rows, cols),
            }
        }
        if let Some(tty) = self.viewers[place].tty()
            && usize::from(tty.number()) < self.terminals.len()
        {
            self.type_into(tty.number().into());
        }
        let viewer = &mut self.viewers[place];
        let has_more = flags.contains(PollFlags::IN) && !viewer.is_mute();
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) && !has_more {
            viewer.hang_up();
        }
    }

    fn resize(&mut self, tty: Tty, rows: u16, cols: u16) {
        if let Some(entry) = self.terminals.get(usize::from(tty.number())) {
            entry.terminal.resize(rows, cols);
        }
    }

    fn attach(&mut self, place: usize, hello: Hello, now: Instant) {
        let viewer = &mut self.viewers[place];
        if let Some(reason) = &self.absence {
            viewer.welcome();
            viewer.tell(&Event::Notice { text: reason.clone() });
            return;
        }
        let Some(entry) = self.terminals.get_mut(usize::from(hello.tty.number())) else {
            let most = self.terminals.len().saturating_sub(1);
            let error = format!("the tenant has no {}", hello.tty);
            viewer.refuse(&error, &format!("use console or tty1 to tty{most}, or change the key `ttys`"));
            return;
        };
        viewer.welcome();
        if hello.replay > 0 {
            let past = log::tail(&self.log_dir, hello.tty, MAX_REPLAY).unwrap_or_default();
            let past = escape::replayable(log::last_lines(&past, hello.replay as usize));
            if !past.is_empty() {
                viewer.show(&past);
            }
        }
        viewer.flush();
        if viewer.types_into(hello.tty) {
            entry.terminal.resize(hello.rows, hello.cols);
            entry.getty.welcome(now);
        }
    }

    fn notice(&mut self, number: usize, text: Option<String>) {
        let Some(text) = text else { return };
        let tty = self.terminals[number].terminal.tty;
        let event = Event::Notice { text };
        self.viewers
            .iter_mut()
            .filter(|viewer| viewer.types_into(tty))
            .for_each(|viewer| viewer.tell(&event));
    }

    fn is_wanted(&self, number: usize) -> bool {
        let tty = self.terminals[number].terminal.tty;
        self.viewers.iter().any(|viewer| viewer.types_into(tty))
    }

    fn release_unattended(&mut self, now: Instant) {
        for number in 0..self.terminals.len() {
            if !self.is_wanted(number) {
                let LoginTerminal { terminal, getty } = &mut self.terminals[number];
                getty.release(terminal, now);
            }
        }
    }

    /// Does what is due. `inside` is there while the tenant takes logins.
    pub(in crate::supervisor) fn tick(&mut self, inside: Option<&Inside<'_>>, now: Instant) {
        self.forward.tick(now);
        let before = self.viewers.len();
        self.viewers.retain(|viewer| !viewer.is_done(now));
        if self.viewers.len() != before {
            self.release_unattended(now);
        }
        for number in 0..self.terminals.len() {
            let wanted = self.is_wanted(number);
            let LoginTerminal { terminal, getty } = &mut self.terminals[number];
            terminal.tick(now);
            let mut notice = getty.tick(now);
            match inside {
                Some(inside) if wanted => notice = notice.or(getty.start(terminal, inside, now)),
                _ => getty.give_way(),
            }
            self.notice(number, notice);
        }
    }

    /// When something is due next. To be asked after [`Consoles::tick`].
    pub(in crate::supervisor) fn deadline(&mut self, takes_logins: bool, now: Instant) -> Option<Instant> {
        let mut earliest: Option<Instant> = self.viewers.iter().filter_map(Viewer::deadline).min();
        earliest = earliest.into_iter().chain(self.forward.deadline()).min();
        for number in 0..self.terminals.len() {
            let wanted = takes_logins && self.is_wanted(number);
            let LoginTerminal { terminal, getty } = &mut self.terminals[number];
            let due = [terminal.tick(now), getty.deadline(wanted)];
            earliest = due.into_iter().flatten().chain(earliest).min();
        }
        earliest
    }
}
