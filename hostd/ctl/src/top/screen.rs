//! A terminal that is drawn on: raw, on its other screen, and left as it was found.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    thread,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::frame::{Frame, Key};
use crate::output::terminal_size;

/// To the other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back.
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// Whether both ends are a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// What happened meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is to end.
    Quit,
    /// The rows are to be in this order.
    Sort(Key),
    /// The terminal has another size.
    Resized,
    /// A key that means nothing.
    Other,
}

/// The terminal.
#[derive(Debug)]
pub(super) struct Screen {
    before: Termios,
}

/// Keys and signals.
#[derive(Debug)]
pub(super) struct Events {
    typed: UnboundedReceiver<u8>,
    resized: Signal,
    terminated: Signal,
    hung_up: Signal,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        // From here on it is put back, however this ends.
        let screen = Self { before };
        write(ENTER)?;
        Ok(screen)
    }

    pub(super) fn events(&self) -> io::Result<Events> {
        let (send, typed) = unbounded_channel();
        // The thread waits in read(2) until this process ends: the terminal itself stays blocking, for others share it.
        thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut byte = [0];
            while let Ok(1) = stdin.read(&mut byte) {
                if send.send(byte[0]).is_err() {
                    return;
                }
            }
        });
        Ok(Events {
            typed,
            resized: signal(SignalKind::window_change())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    /// Draws over what was drawn: line by line, each cleared behind its end, so that nothing flickers.
    pub(super) fn draw(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let (width, height) = terminal_size();
        let mut text = String::from("\x1b[H");
        for (number, line) in frame.lines(width, height).iter().enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            match number {
                2 => text.push_str(&format!("\x1b[7m{line}\x1b[0m\x1b[K")),
                _ => text.push_str(&format!("{line}\x1b[K")),
            }
        }
        text.push_str("\x1b[J");
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Events {
    /// The next of them.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            byte = self.typed.recv() => byte.map_or(Event::Quit, of),
            _ = self.resized.recv() => Event::Resized,
            _ = self.terminated.recv() => Event::Quit,
            _ = self.hung_up.recv() => Event::Quit,
        }
    }
}

/// What a key means: in raw mode Ctrl-C is one, too.
fn of(byte: u8) -> Event {
    match byte {
        b'q' | b'Q' | 3 | 4 => Event::Quit,
        byte => Key::typed(byte).map_or(Event::Other, Event::Sort),
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
