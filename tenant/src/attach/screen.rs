//! The terminal of the person at the keyboard.

use std::{
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Ends what a program may have switched on and not off again: hidden cursor, colours, mouse reports,
/// bracketed paste; see console_codes(4) and xterm's control sequences.
const RESET: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l";
/// To the alternate screen and back. The way back moves the cursor where nothing went there.
const ALTERNATE: &[u8] = b"\x1b[?1049h";
const NORMAL: &[u8] = b"\x1b[?1049l";

/// A terminal in raw mode; it gets its old settings back when this is dropped.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts a terminal in raw mode; none when `fd` is not one.
    ///
    /// # Errors
    /// A terminal that cannot be set.
    pub fn enter(fd: impl AsFd) -> io::Result<Option<Self>> {
        if !isatty(fd.as_fd()) {
            return Ok(None);
        }
        let terminal = fd.as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Without waiting for output that may be stopped.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Which screen a program has switched a terminal to, as far as its output tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    alternate: bool,
}

impl Screen {
    /// Takes note of output.
    pub fn note(&mut self, output: &[u8]) {
        let last = |sequence: &[u8]| output.windows(sequence.len()).rposition(|window| window == sequence);
        match (last(ALTERNATE), last(NORMAL)) {
            (None, None) => {}
            (there, back) => self.alternate = there > back,
        }
    }

    /// Undoes what a program left switched on in a terminal.
    pub fn calm(self, fd: impl AsFd) {
        if isatty(fd.as_fd()) {
            let _ = rustix::io::write(fd.as_fd(), RESET);
            if self.alternate {
                let _ = rustix::io::write(fd.as_fd(), NORMAL);
            }
        }
    }
}

/// Rows and columns of a terminal; (0, 0) of anything else.
pub fn window_size(fd: impl AsFd) -> (u16, u16) {
    tcgetwinsize(fd).map_or((0, 0), |size| (size.ws_row, size.ws_col))
}

/// A line of ours among the tenant's output.
pub(super) fn say(text: &str) {
    // Without a reader there is nothing to report.
    let _ = write!(io::stderr(), "\r\n[tenantry: {text}]\r\n");
}

#[cfg(test)]
mod tests {
    use rustix::{
        pty::{OpenptFlags, openpt, unlockpt},
        termios::LocalModes,
    };

    use super::*;
    use crate::kernel::raw::open_pty_peer;

    #[test]
    fn the_last_switch_of_screens_counts() {
        let mut screen = Screen::default();
        for (output, alternate) in [
            (&b"plain"[..], false),
            (b"a\x1b[?1049hb", true),
            (b"more", true),
            (b"\x1b[?1049l\x1b[?1049h", true),
            (b"\x1b[?1049h \x1b[?1049l", false),
        ] {
            screen.note(output);
            assert_eq!(screen.alternate, alternate, "{output:?}");
        }
    }

    #[test]
    fn raw_mode_ends_with_its_value() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        let slave = open_pty_peer(&master).unwrap();
        let echoes = || tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(echoes());
        let raw = RawMode::enter(&slave).unwrap().unwrap();
        assert!(!echoes());
        drop(raw);
        assert!(echoes());
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(RawMode::enter(&reader).unwrap().is_none());
        assert_eq!(window_size(&reader), (0, 0));
    }
}
