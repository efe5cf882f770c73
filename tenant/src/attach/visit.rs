//! A visit to a tty, from the answer to the hello to its end.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use nix::sys::signalfd::SignalFd;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    stdio::stdin,
};

use super::{
    options::AttachOptions,
    outcome::{AttachEnd, AttachError, failed},
    screen::{Screen, say, window_size},
};
use crate::protocol::{
    escape::one_line,
    wire::{self, Decoder, Event, Item},
};

/// Silence before the next line of a script.
const PACE: Duration = Duration::from_millis(250);

/// One visit.
pub(super) struct Visit {
    stream: UnixStream,
    signals: SignalFd,
    options: AttachOptions,
    interactive: bool,
    decoder: Decoder,
    pub(super) screen: Screen,
    /// Frames for the supervisor.
    out: Vec<u8>,
    /// Lines of a script that are still to be typed.
    script: Vec<u8>,
    input_ended: bool,
    /// Whether the first of the two keys that detach was typed last.
    prefixed: bool,
    /// When the next line of a script may be typed, if nothing is printed until then.
    type_at: Instant,
    last_output: Instant,
    started: Instant,
}

#[derive(Clone, Copy, Default)]
struct Ready {
    stream_in: bool,
    stream_out: bool,
    input: bool,
    signals: bool,
}

impl Visit {
    pub(super) fn new(
        stream: UnixStream,
        signals: SignalFd,
        options: AttachOptions,
        interactive: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            signals,
            options,
            interactive,
            decoder: Decoder::default(),
            screen: Screen::default(),
            out: Vec::new(),
            script: Vec::new(),
            input_ended: false,
            prefixed: false,
            type_at: now + options.quiet,
            last_output: now,
            started: now,
        }
    }

    /// Stays until the visit ends.
    pub(super) fn converse(&mut self) -> Result<AttachEnd, AttachError> {
        self.stream.set_nonblocking(true).map_err(failed("use the connection"))?;
        loop {
            self.type_line();
            let deadline = self.deadline();
            if let Some((at, end)) = deadline
                && Instant::now() >= at
            {
                return Ok(end);
            }
            let line_due = (!self.script.is_empty()).then_some(self.type_at);
            let wake = deadline.map(|(at, _)| at).into_iter().chain(line_due).min();
            let ready = self.wait(wake).map_err(failed("wait"))?;
            let end = [
                if ready.signals { self.take_signals().map_err(failed("read signals"))? } else { None },
                if ready.input { self.read_input().map_err(failed("read standard input"))? } else { None },
                if ready.stream_in { self.read_stream()? } else { None },
            ];
            if let Some(end) = end.into_iter().flatten().next() {
                return Ok(end);
            }
            if (ready.stream_out || !self.out.is_empty()) && !self.flush() {
                return Ok(AttachEnd::Lost);
            }
        }
    }

    /// When the visit ends by itself, and how.
    fn deadline(&self) -> Option<(Instant, AttachEnd)> {
        let timeout = self.options.timeout.map(|timeout| (self.started + timeout, AttachEnd::TimedOut));
        let is_done = self.input_ended && self.out.is_empty() && self.script.is_empty();
        let quiet = (is_done && !self.options.read_only)
            .then(|| (self.last_output + self.options.quiet, AttachEnd::Quiet));
        timeout.into_iter().chain(quiet).min_by_key(|(at, _)| *at)
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Ready> {
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, !self.out.is_empty());
        let (stream, signals) = (&self.stream, &self.signals);
        let stdin = stdin();
        let mut fds = vec![PollFd::new(stream, interest), PollFd::new(signals, PollFlags::IN)];
        if !self.input_ended && self.out.is_empty() && self.script.is_empty() {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let timeout = deadline
            .map(|at| {
                Timespec::try_from(at.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
            })
            .transpose()
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Ready {
            stream_in: fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            stream_out: fds[0].revents().contains(PollFlags::OUT),
            signals: !fds[1].revents().is_empty(),
            input: fds.get(2).is_some_and(|fd| !fd.revents().is_empty()),
        })
    }

    fn take_signals(&mut self) -> io::Result<Option<AttachEnd>> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo as i32 != libc::SIGWINCH {
                return Ok(Some(AttachEnd::Detached));
            }
            let (rows, cols) = window_size(stdin());
            if rows > 0 && cols > 0 {
                wire::resize(&mut self.out, rows, cols);
            }
        }
        Ok(None)
    }

    fn read_input(&mut self) -> io::Result<Option<AttachEnd>> {
        let mut bytes = [0; 4096];
        let length = match rustix::io::read(stdin(), &mut bytes) {
            Ok(length) => length,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::IO) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut typed = bytes[..length].to_vec();
        if typed.is_empty() {
            if self.interactive {
                return Ok(Some(AttachEnd::Detached));
            }
            self.input_ended = true;
            self.last_output = Instant::now();
        }
        let mut end = None;
        if self.interactive {
            let (passed, detaches) = self.options.detach_key.take(&typed, &mut self.prefixed);
            typed = passed;
            end = detaches.then_some(AttachEnd::Detached);
        }
        match (self.options.read_only, self.interactive) {
            (true, _) => {}
            (false, true) if typed.is_empty() => {}
            (false, true) => wire::data(&mut self.out, &typed),
            (false, false) => self.script.extend_from_slice(&typed),
        }
        if end.is_some() {
            self.flush();
        }
        Ok(end)
    }

    /// Types the next line of a script when it is due.
    fn type_line(&mut self) {
        let now = Instant::now();
        if self.script.is_empty() || now < self.type_at {
            return;
        }
        let end = self.script.iter().position(|byte| *byte == b'\n').map_or(self.script.len(), |at| at + 1);
        let line: Vec<u8> = self.script.drain(..end).collect();
        wire::data(&mut self.out, &line);
        self.type_at = now + PACE;
        self.last_output = now;
    }

    /// The tty said something.
    fn heard(&mut self) {
        self.last_output = Instant::now();
        self.type_at = self.type_at.max(self.last_output + PACE);
    }

    fn read_stream(&mut self) -> Result<Option<AttachEnd>, AttachError> {
        let mut bytes = [0; 16 << 10];
        match rustix::io::read(&self.stream, &mut bytes) {
            Ok(0) | Err(rustix::io::Errno::CONNRESET) => Ok(Some(AttachEnd::Lost)),
            Ok(length) => self.show(&bytes[..length]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(AttachError::Io("read the console", error.into())),
        }
    }

    /// Shows what the supervisor sent.
    pub(super) fn show(&mut self, mut frames: &[u8]) -> Result<Option<AttachEnd>, AttachError> {
        let malformed = |error| AttachError::Io("read the console", io::Error::other(error));
        while let Some(item) = self.decoder.next(&mut frames).map_err(malformed)? {
            match item {
                Item::Data(bytes) => {
                    self.heard();
                    self.screen.note(bytes);
                    let mut out = io::stdout().lock();
                    match out.write_all(bytes).and_then(|()| out.flush()) {
                        // No process looks any more, as behind `| head`.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            return Ok(Some(AttachEnd::Detached));
                        }
                        written => written.map_err(failed("write"))?,
                    }
                }
                Item::Event(Event::Ended { exit }) => return Ok(Some(AttachEnd::Ended(exit))),
                Item::Event(event) => self.tell(&event),
                Item::Resize { .. } => {}
            }
        }
        Ok(None)
    }

    fn tell(&mut self, event: &Event) {
        self.heard();
        match event {
            Event::Reboot { .. } => say("the tenant is rebooting"),
            Event::Lagging { dropped } => say(&format!("{dropped} bytes of output were lost")),
            Event::Notice { text } => say(&one_line(text, 400)),
            Event::Ended { .. } => {}
        }
    }

    /// Sends what can be sent; false when the other side is gone.
    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match rustix::net::send(&self.stream, &self.out, rustix::net::SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.out.drain(..length)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
                // What it said last may still be there to be read.
                Err(_) => {
                    self.out.clear();
                    return matches!(self.read_stream(), Ok(None));
                }
            }
        }
        true
    }
}
