//! The client's side of a tenant's consoles: this process's terminal, or its standard input and
//! output, on a tty of a tenant.
//!
//! On a terminal the detach key (Ctrl-] unless said otherwise) leaves the tty as it is and comes back;
//! everything else goes to the tenant. Away from a terminal standard input is typed line by line, each
//! when the tty has fallen silent: a login program throws away what was typed before it asked.

mod screen;

use std::{
    fmt, io,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    str::FromStr,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    stdio::{stdin, stdout},
    termios::isatty,
};

pub use screen::{RawMode, Screen, window_size};

use crate::{
    layout::Layout,
    name::TenantName,
    state::Exit,
    supervisor::{
        escape::one_line,
        socket,
        wire::{self, Answer, Decoder, Event, Hello, Item, Mode, Tty},
    },
};

/// The key that detaches: a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachKey(Option<u8>);

impl Default for DetachKey {
    fn default() -> Self {
        Self(Some(0x1d))
    }
}

/// A string that is not a detach key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a detach key: write a control character as ^] or ^A, or none")]
pub struct InvalidKey(String);

impl FromStr for DetachKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        match text.as_bytes() {
            b"none" => Ok(Self(None)),
            [b'^', key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Self(Some(key.to_ascii_uppercase() & 0x1f))),
            _ => Err(InvalidKey(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "Ctrl-{}", char::from(key | 0x40)),
            None => f.write_str("none"),
        }
    }
}

/// Silence before the next line of a script.
const PACE: Duration = Duration::from_millis(250);

/// How to attach.
#[derive(Clone, Copy, Debug)]
pub struct AttachOptions {
    /// Which terminal.
    pub tty: Tty,
    /// Only watch.
    pub read_only: bool,
    /// How many lines of the past to show first.
    pub replay: u32,
    /// The key that detaches.
    pub detach_key: DetachKey,
    /// Away from a terminal: for how long the tty is silent before the first line of standard input is
    /// typed, and after the last one before the visit ends.
    pub quiet: Duration,
    /// The longest the whole may take; none is for ever.
    pub timeout: Option<Duration>,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            tty: Tty::CONSOLE,
            read_only: false,
            replay: 24,
            detach_key: DetachKey::default(),
            quiet: Duration::from_secs(1),
            timeout: None,
        }
    }
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachEnd {
    /// By the detach key, or by a signal.
    Detached,
    /// The tenant ended.
    Ended(Option<Exit>),
    /// Standard input ended and the tty fell quiet.
    Quiet,
    /// The time was up.
    TimedOut,
    /// The supervisor closed the connection without a word: it was killed.
    Lost,
}

/// Why there was no visit, or why it broke off.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody serves the socket.
    #[error("tenant {0:?} is not running")]
    NotRunning(String),
    /// This user may not.
    #[error("the console of tenant {0:?} is closed to this user")]
    Forbidden(String),
    /// The supervisor refused.
    #[error("{error}")]
    Refused {
        /// Why.
        error: String,
        /// The remedy.
        help: Option<String>,
    },
    /// The connection or the terminal.
    #[error("cannot {0}")]
    Io(&'static str, #[source] io::Error),
}

impl AttachError {
    /// The remedy, if one is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotRunning(name) => Some(format!("start it: tenantctl start {name}")),
            Self::Forbidden(_) => Some(format!("be root or a member of the group {}", socket::GROUP)),
            Self::Refused { help, .. } => help.clone(),
            Self::Io(..) => None,
        }
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> AttachError {
    move |error| AttachError::Io(what, error)
}

/// Attaches this process's standard streams to a tty of a tenant until the visit ends.
///
/// # Errors
/// See [`AttachError`]; the terminal has its settings back in any case.
pub fn run(layout: &Layout, name: &TenantName, options: AttachOptions) -> Result<AttachEnd, AttachError> {
    let stream = socket::connect(&layout.console_socket(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AttachError::NotRunning(name.to_string())
        }
        io::ErrorKind::PermissionDenied => AttachError::Forbidden(name.to_string()),
        _ => AttachError::Io("connect to the console", error),
    })?;
    let early = greet(&stream, &options)?;
    let signals = block_signals().map_err(failed("block signals"))?;
    let interactive = isatty(stdin());
    let raw = match (interactive, options.read_only) {
        // Also for a watcher: its Ctrl-C is not meant for anybody but the detach key still works.
        (true, _) => RawMode::enter(stdin()).map_err(failed("set the terminal"))?,
        (false, _) => None,
    };
    if interactive {
        say(&format!("connected to {} of {name}; {} detaches", options.tty, options.detach_key));
    }
    let mut visit = Visit {
        stream,
        signals,
        options,
        interactive,
        decoder: Decoder::default(),
        screen: Screen::default(),
        out: Vec::new(),
        script: Vec::new(),
        input_ended: false,
        type_at: Instant::now() + options.quiet,
        last_output: Instant::now(),
        started: Instant::now(),
    };
    let result = visit.show(&early).and_then(|end| match end {
        Some(end) => Ok(end),
        None => visit.converse(),
    });
    drop(raw);
    if interactive {
        visit.screen.calm(stdout());
        say(&match &result {
            Ok(AttachEnd::Detached) => "detached".to_owned(),
            Ok(AttachEnd::Ended(_)) => format!("{name} has ended"),
            Ok(AttachEnd::Lost) => "the connection was lost".to_owned(),
            Ok(AttachEnd::Quiet | AttachEnd::TimedOut) | Err(_) => "disconnected".to_owned(),
        });
    }
    result
}

/// A line of ours among the tenant's output.
fn say(text: &str) {
    eprint!("\r\n[tenantry: {text}]\r\n");
}

/// Sends the hello and takes the answer; returns the frames that came with it.
fn greet(stream: &UnixStream, options: &AttachOptions) -> Result<Vec<u8>, AttachError> {
    let io = failed("talk to the supervisor");
    let (rows, cols) = window_size(stdin());
    let mode = if options.read_only { Mode::Ro } else { Mode::Rw };
    let hello = Hello { tty: options.tty, mode, rows, cols, replay: options.replay };
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(&io)?;
    (&*stream).write_all(&wire::line(&hello)).map_err(&io)?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    (&mut reader).take(wire::MAX_LINE as u64).read_until(b'\n', &mut line).map_err(&io)?;
    let answer: Answer = wire::parse(&line)
        .map_err(|_| io(io::Error::new(io::ErrorKind::InvalidData, "its answer makes no sense")))?;
    if !answer.ok {
        let error = answer.error.unwrap_or_else(|| "the supervisor refused".to_owned());
        return Err(AttachError::Refused { error, help: answer.help });
    }
    stream.set_read_timeout(None).map_err(&io)?;
    Ok(reader.buffer().to_vec())
}

fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

struct Visit {
    stream: UnixStream,
    signals: SignalFd,
    options: AttachOptions,
    interactive: bool,
    decoder: Decoder,
    screen: Screen,
    /// Frames for the supervisor.
    out: Vec<u8>,
    /// Lines of a script that are still to be typed.
    script: Vec<u8>,
    input_ended: bool,
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
    fn converse(&mut self) -> Result<AttachEnd, AttachError> {
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
        let mut typed = &bytes[..length];
        if typed.is_empty() {
            if self.interactive {
                return Ok(Some(AttachEnd::Detached));
            }
            self.input_ended = true;
            self.last_output = Instant::now();
        }
        let mut end = None;
        if let (true, Some(key)) = (self.interactive, self.options.detach_key.0)
            && let Some(at) = typed.iter().position(|byte| *byte == key)
        {
            typed = &typed[..at];
            end = Some(AttachEnd::Detached);
        }
        match (self.options.read_only, self.interactive) {
            (true, _) => {}
            (false, true) if typed.is_empty() => {}
            (false, true) => wire::data(&mut self.out, typed),
            (false, false) => self.script.extend_from_slice(typed),
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
    fn show(&mut self, mut frames: &[u8]) -> Result<Option<AttachEnd>, AttachError> {
        let malformed = |error| AttachError::Io("read the console", io::Error::other(error));
        while let Some(item) = self.decoder.next(&mut frames).map_err(malformed)? {
            match item {
                Item::Data(bytes) => {
                    self.heard();
                    self.screen.note(bytes);
                    let mut out = io::stdout().lock();
                    out.write_all(bytes).and_then(|()| out.flush()).map_err(failed("write"))?;
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
            Event::Reboot { .. } => say("the tenant reboots"),
            Event::Lagging { dropped } => say(&format!("{dropped} bytes of output were missed")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detach_key_is_a_control_character() {
        assert_eq!("^]".parse(), Ok(DetachKey::default()));
        assert_eq!("^a".parse(), Ok(DetachKey(Some(1))));
        assert_eq!("none".parse(), Ok(DetachKey(None)));
        assert_eq!(DetachKey::default().to_string(), "Ctrl-]");
        for bad in ["", "]", "^", "^1", "^]q"] {
            assert!(bad.parse::<DetachKey>().is_err(), "{bad:?} was accepted");
        }
    }
}
