//! The client's side of a tenant's consoles: this process's terminal, or its standard input and
//! output, on a tty of a tenant.
//!
//! On a terminal the detach key (Ctrl-] unless said otherwise) leaves the tty as it is and comes back;
//! everything else goes to the tenant. Away from a terminal standard input is typed line by line, each
//! when the tty has fallen silent: a login program throws away what was typed before it asked.

mod key;
mod options;
mod outcome;
mod screen;
mod visit;

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
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

use self::{outcome::failed, screen::say, visit::Visit};

pub use key::{DetachKey, InvalidKey};
pub use options::AttachOptions;
pub use outcome::{AttachEnd, AttachError};
pub use screen::{RawMode, Screen, window_size};

use crate::{
    files::layout::Layout,
    model::name::TenantName,
    protocol::{
        socket,
        wire::{self, Answer, Hello, Mode},
    },
};

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
