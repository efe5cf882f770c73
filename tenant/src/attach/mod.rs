//! The client's side of a tenant's consoles: this process's terminal, or its standard input and
//! output, on a tty of a tenant.
//!
//! On a terminal the detach key (Ctrl-] unless said otherwise) leaves the tty as it is and comes back;
//! everything else goes to the tenant. Away from a terminal standard input is typed line by line, each
//! when the tty has fallen silent: a login program throws away what was typed before it asked.

mod screen;
mod visit;

use std::{
    fmt, io,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    str::FromStr,
    time::Duration,
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    stdio::{stdin, stdout},
    termios::isatty,
};

use self::visit::Visit;

pub use screen::{RawMode, Screen, window_size};

use crate::{
    files::{layout::Layout, state::Exit},
    model::name::TenantName,
    protocol::{
        socket,
        wire::{self, Answer, Hello, Mode, Tty},
    },
};

/// What detaches: a control character, or one and a key behind it, as in lxc-console(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachKey {
    key: Option<u8>,
    then: Option<u8>,
}

impl Default for DetachKey {
    fn default() -> Self {
        Self { key: Some(0x1d), then: None }
    }
}

/// A string that is not a detach key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a detach key: write a control character as ^] or ^A, with a letter as \"^A q\", or none"
)]
pub struct InvalidKey(String);

impl DetachKey {
    /// What of some typed bytes is for the tenant, and whether the rest detaches. `prefixed` is kept
    /// between calls: whether the prefix was the last byte. Typed twice it is itself.
    fn take(self, typed: &[u8], prefixed: &mut bool) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        let Some(key) = self.key else { return (typed.to_vec(), false) };
        for byte in typed {
            match (self.then, std::mem::take(prefixed)) {
                (None, _) if *byte == key => return (passed, true),
                (Some(then), true) if *byte == then => return (passed, true),
                (Some(_), true) if *byte == key => passed.push(key),
                (Some(_), true) => passed.extend([key, *byte]),
                (Some(_), false) if *byte == key => *prefixed = true,
                _ => passed.push(*byte),
            }
        }
        (passed, false)
    }
}

impl FromStr for DetachKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let control = |key: &u8| Some(key.to_ascii_uppercase() & 0x1f);
        match text.as_bytes() {
            b"none" => Ok(Self { key: None, then: None }),
            [b'^', key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Self { key: control(key), then: None }),
            [b'^', key @ (b'@'..=b'_' | b'a'..=b'z'), b' ', then @ b'!'..=b'~'] => {
                Ok(Self { key: control(key), then: Some(*then) })
            }
            _ => Err(InvalidKey(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = self.key else { return f.write_str("none") };
        write!(f, "Ctrl-{}", char::from(key | 0x40))?;
        self.then.map_or(Ok(()), |then| write!(f, " {}", char::from(then)))
    }
}

/// How to attach; on a command line, the options of `tenantctl console` and `tenant console`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AttachOptions {
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console")]
    pub tty: Tty,
    /// Watch only
    #[arg(long, short)]
    pub read_only: bool,
    /// Lines of the past to show first
    #[arg(long, default_value_t = REPLAY, value_name = "LINES")]
    pub replay: u32,
    /// Control character that detaches, as ^X; or none
    #[arg(long, default_value = "^]", value_name = "KEY")]
    pub detach_key: DetachKey,
    /// Away from a terminal: for how long the tty is silent before the first line of standard input is
    /// typed, and after the last one before the visit ends.
    #[arg(skip = QUIET)]
    pub quiet: Duration,
    /// Detach after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// Lines of the past that are shown first, unless said otherwise.
const REPLAY: u32 = 24;
/// See [`AttachOptions::quiet`].
const QUIET: Duration = Duration::from_secs(1);

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            tty: Tty::CONSOLE,
            read_only: false,
            replay: REPLAY,
            detach_key: DetachKey::default(),
            quiet: QUIET,
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
    #[error("this user may not open the console of tenant {0:?}")]
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
            Self::Forbidden(_) => {
                Some(format!("run it as root or as a member of the group {}", socket::GROUP))
            }
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
    let mut visit = Visit::new(stream, signals, options, interactive);
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
    // Where nobody reads it there is nobody to tell.
    let _ = write!(io::stderr(), "\r\n[tenantry: {text}]\r\n");
}

/// Sends the hello and takes the answer; returns the frames that came with it.
fn greet(stream: &UnixStream, options: &AttachOptions) -> Result<Vec<u8>, AttachError> {
    let io = failed("communicate with the supervisor");
    let (rows, cols) = window_size(stdin());
    let mode = if options.read_only { Mode::Ro } else { Mode::Rw };
    let hello = Hello { tty: options.tty, mode, rows, cols, replay: options.replay };
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(&io)?;
    (&*stream).write_all(&wire::line(&hello)).map_err(&io)?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    (&mut reader).take(wire::MAX_LINE as u64).read_until(b'\n', &mut line).map_err(&io)?;
    let answer: Answer = wire::parse(&line).map_err(|_| {
        io(io::Error::new(io::ErrorKind::InvalidData, "the supervisor sent a malformed answer"))
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_passed_on_unless_the_key_follows() {
        let key: DetachKey = "^a q".parse().unwrap();
        let mut prefixed = false;
        // One call for each read of the keyboard.
        assert_eq!(key.take(b"ab", &mut prefixed), (b"ab".to_vec(), false));
        assert_eq!(key.take(b"x\x01", &mut prefixed), (b"x".to_vec(), false));
        assert_eq!(key.take(b"y", &mut prefixed), (b"\x01y".to_vec(), false));
        assert_eq!(key.take(b"\x01\x01q", &mut prefixed), (b"\x01q".to_vec(), false));
        assert_eq!(key.take(b"z\x01qmore", &mut prefixed), (b"z".to_vec(), true));
        let plain = DetachKey::default();
        assert_eq!(plain.take(b"a\x1db", &mut false), (b"a".to_vec(), true));
        assert_eq!("none".parse::<DetachKey>().unwrap().take(b"\x1d", &mut false), (b"\x1d".to_vec(), false));
    }

    #[test]
    fn a_detach_key_is_a_control_character() {
        assert_eq!("^]".parse(), Ok(DetachKey::default()));
        assert_eq!("^a".parse(), Ok(DetachKey { key: Some(1), then: None }));
        assert_eq!("^a q".parse(), Ok(DetachKey { key: Some(1), then: Some(b'q') }));
        assert_eq!("none".parse(), Ok(DetachKey { key: None, then: None }));
        assert_eq!("^a q".parse::<DetachKey>().unwrap().to_string(), "Ctrl-A q");
        assert_eq!(DetachKey::default().to_string(), "Ctrl-]");
        for bad in ["", "]", "^", "^1", "^]q", "^a ", "^a qq"] {
            assert!(bad.parse::<DetachKey>().is_err(), "{bad:?} was accepted");
        }
    }
}
