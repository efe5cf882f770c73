//! A client that looks at a tty: one connection to `console.sock`.

use std::{
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::protocol::wire::{self, Answer, Decoder, Event, Hello, Item, MAX_LINE, Malformed, Mode, Tty};
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};

/// Output that waits for a slow viewer, bytes; what does not fit is dropped.
const MAX_BACKLOG: usize = 64 << 10;
/// How long a connection may take to say hello, and to hear the last word.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Stage {
    /// It has not said what it wants.
    Greeting { line: Vec<u8>, deadline: Instant },
    /// It sees a tty.
    Attached { tty: Tty, mode: Mode, decoder: Decoder },
    /// What it is still to be sent is sent, then it is closed.
    Leaving { deadline: Instant },
}

/// What a viewer wants.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Request {
    Attach(Hello),
    Resize { tty: Tty, rows: u16, cols: u16 },
}

/// One connection.
#[derive(Debug)]
pub(in crate::supervisor) struct Viewer {
    pub(in crate::supervisor) stream: UnixStream,
    stage: Stage,
    /// Typed and not yet taken by the tty.
    pub(in crate::supervisor) typed: Vec<u8>,
    backlog: Vec<u8>,
    dropped: u64,
    /// It will type nothing more.
    mute: bool,
    gone: bool,
    /// Height and width of its window, as it said last; 0 is unknown.
    size: (u16, u16),
}

impl Viewer {
    pub(in crate::supervisor) fn new(stream: UnixStream, now: Instant) -> Self {
        let stage = Stage::Greeting { line: Vec::new(), deadline: now + HELLO_DEADLINE };
        Self {
            stream,
            stage,
            typed: Vec::new(),
            backlog: Vec::new(),
            dropped: 0,
            mute: false,
            gone: false,
            size: (0, 0),
        }
    }

    /// The tty it sees.
    pub(in crate::supervisor) fn tty(&self) -> Option<Tty> {
        match self.stage {
            Stage::Attached { tty, .. } => Some(tty),
            _ => None,
        }
    }

    /// Whether it may type into this tty.
    pub(in crate::supervisor) fn types_into(&self, on: Tty) -> bool {
        matches!(self.stage, Stage::Attached { tty, mode: Mode::Rw, .. } if tty == on)
    }

    /// Height and width of its window; 0 is unknown.
    pub(in crate::supervisor) fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Whether it is there and has not said what it wants to see.
    pub(in crate::supervisor) fn is_silent(&self) -> bool {
        !self.gone && matches!(self.stage, Stage::Greeting { .. })
    }

    /// Whether the other side has hung up, or is to be taken for gone.
    pub(in crate::supervisor) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether to poll for input: nothing is read while what was typed before is still waiting.
    pub(in crate::supervisor) fn wants_input(&self) -> bool {
        !self.mute && self.typed.is_empty() && !matches!(self.stage, Stage::Leaving { .. })
    }

    /// Whether it will type nothing more.
    pub(in crate::supervisor) fn is_mute(&self) -> bool {
        self.mute
    }

    pub(in crate::supervisor) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether the connection is to be closed now.
    pub(in crate::supervisor) fn is_done(&self, now: Instant) -> bool {
        self.gone
            || match &self.stage {
                Stage::Greeting { deadline, .. } => now >= *deadline,
                Stage::Attached { .. } => false,
                Stage::Leaving { deadline } => self.backlog.is_empty() || now >= *deadline,
            }
    }

    /// When something is due without input.
    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Greeting { deadline, .. } | Stage::Leaving { deadline } => Some(*deadline),
            Stage::Attached { .. } => None,
        }
    }

    /// The other side hung up. What it typed before is still delivered by the caller.
    pub(in crate::supervisor) fn hang_up(&mut self) {
        self.gone = true;
    }

    /// Reads what it sent. Bytes typed by a read-write viewer are left in `typed`.
    pub(in crate::supervisor) fn read(&mut self) -> Vec<Request> {
        let mut bytes = [0; 4096];
        let length = match rustix::io::read(&self.stream, &mut bytes) {
            Ok(0) => {
                self.mute = true;
                if matches!(self.stage, Stage::Greeting { .. }) {
                    self.gone = true;
                }
                return Vec::new();
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Vec::new(),
            Err(_) => {
                self.gone = true;
                return Vec::new();
            }
        };
        let mut requests = Vec::new();
        let mut input = &bytes[..length];
        if let Stage::Greeting { line, .. } = &mut self.stage {
            let (head, rest, whole) = match input.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&input[..at], &input[at + 1..], true),
                None => (input, &input[..0], false),
            };
            line.extend_from_slice(head);
            if line.len() > MAX_LINE {
                self.refuse("the hello is too long", "use tenantctl console");
                return requests;
            }
            if !whole {
                return requests;
            }
            match wire::parse::<Hello>(line) {
                Ok(hello) => {
                    requests.push(Request::Attach(hello));
                    self.size = (hello.rows, hello.cols);
                    self.stage =
                        Stage::Attached { tty: hello.tty, mode: hello.mode, decoder: Decoder::default() };
                }
                Err(error) => {
                    self.refuse(&format!("the hello is malformed: {error}"), "use tenantctl console");
                    return requests;
                }
            }
            input = rest;
        }
        if self.take_frames(input, &mut requests).is_err() {
            self.gone = true;
        }
        requests
    }

    fn take_frames(&mut self, mut input: &[u8], requests: &mut Vec<Request>) -> Result<(), Malformed> {
        let Stage::Attached { tty, mode, decoder } = &mut self.stage else { return Ok(()) };
        while let Some(item) = decoder.next(&mut input)? {
            match (item, *mode) {
                (Item::Data(bytes), Mode::Rw) => self.typed.extend_from_slice(bytes),
                (Item::Resize { rows, cols }, Mode::Rw) => {
                    self.size = (rows, cols);
                    requests.push(Request::Resize { tty: *tty, rows, cols });
                }
                (Item::Data(_) | Item::Resize { .. }, Mode::Ro) => {}
                (Item::Event(_), _) => return Err(Malformed),
            }
        }
        Ok(())
    }

    /// Answers the hello positively; frames follow.
    pub(in crate::supervisor) fn welcome(&mut self) {
        self.backlog.extend_from_slice(&wire::line(&Answer::ok()));
    }

    /// Answers the hello negatively and closes.
    pub(in crate::supervisor) fn refuse(&mut self, error: &str, help: &str) {
        self.backlog.extend_from_slice(&wire::line(&Answer::refused(error, help)));
        self.leave();
        self.flush();
    }

    /// Shows output of the tty; drops it when the viewer is too far behind.
    pub(in crate::supervisor) fn show(&mut self, bytes: &[u8]) {
        if self.backlog.len() + bytes.len() > MAX_BACKLOG {
            self.dropped += bytes.len() as u64;
            return;
        }
        self.report_dropped();
        wire::data(&mut self.backlog, bytes);
        self.flush();
    }

    /// Tells it of an event.
    pub(in crate::supervisor) fn tell(&mut self, event: &Event) {
        if self.tty().is_some() {
            self.report_dropped();
            wire::event(&mut self.backlog, event);
            self.flush();
        }
    }

    /// Tells it of an event and closes when it has heard it.
    pub(in crate::supervisor) fn dismiss(&mut self, event: &Event) {
        self.tell(event);
        self.leave();
    }

    fn leave(&mut self) {
        self.stage = Stage::Leaving { deadline: Instant::now() + HELLO_DEADLINE };
    }

    /// Says how much was dropped, in its place in the stream.
    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            wire::event(&mut self.backlog, &Event::Lagging { dropped: self.dropped });
            self.dropped = 0;
        }
    }

    /// Sends what can be sent without waiting.
    pub(in crate::supervisor) fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.backlog.len() {
            match send(&self.stream, &self.backlog[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(length) => sent += length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        if sent == self.backlog.len() {
            // Most of the time there is no backlog, and then it holds no memory either.
            self.backlog = Vec::new();
            if self.dropped > 0 {
                self.report_dropped();
                self.flush();
            }
        } else {
            self.backlog.drain(..sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};

    use super::*;

    fn attached(mode: Mode) -> (Viewer, BufReader<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut viewer = Viewer::new(ours, Instant::now());
        let hello = Hello { tty: Tty::new(1), mode, rows: 24, cols: 80, replay: 0 };
        (&theirs).write_all(&wire::line(&hello)).unwrap();
        assert_eq!(viewer.read(), [Request::Attach(hello)]);
        viewer.welcome();
        viewer.flush();
        let mut theirs = BufReader::new(theirs);
        let mut line = String::new();
        theirs.read_line(&mut line).unwrap();
        assert_eq!(line, "{\"ok\":true}\n");
        (viewer, theirs)
    }

    #[test]
    fn a_watcher_types_nothing_and_resizes_nothing() {
        for (mode, typed, requests) in [(Mode::Rw, &b"ls\n"[..], 1), (Mode::Ro, b"", 0)] {
            let (mut viewer, mut theirs) = attached(mode);
            let mut frames = Vec::new();
            wire::data(&mut frames, b"ls\n");
            wire::resize(&mut frames, 50, 100);
            theirs.get_mut().write_all(&frames).unwrap();
            assert_eq!(viewer.read().len(), requests);
            assert_eq!(viewer.typed, typed);
        }
    }

    #[test]
    fn a_slow_viewer_loses_output_and_is_told_how_much() {
        let (mut viewer, mut theirs) = attached(Mode::Ro);
        let mut shown = 0;
        while viewer.dropped == 0 {
            viewer.show(&[b'x'; 4096]);
            shown += 4096;
            assert!(shown < 16 << 20, "a viewer that reads nothing was never behind");
        }
        viewer.show(&[b'x'; 4096]);
        shown += 4096;
        let mut decoder = Decoder::default();
        let (mut got, mut lost) = (0, 0);
        let mut bytes = [0; 8192];
        while got + lost < shown {
            viewer.flush();
            let length = theirs.read(&mut bytes).unwrap();
            let mut input = &bytes[..length];
            while let Some(item) = decoder.next(&mut input).unwrap() {
                match item {
                    Item::Data(data) => got += data.len(),
                    Item::Event(Event::Lagging { dropped }) => lost += dropped as usize,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((got + lost, viewer.dropped), (shown, 0));
        assert!(lost >= 8192);
    }

    #[test]
    fn a_malformed_hello_is_answered() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut viewer = Viewer::new(ours, Instant::now());
        theirs.write_all(b"{\"tty\":\"one\"}\n").unwrap();
        assert_eq!(viewer.read(), []);
        assert!(viewer.is_done(Instant::now()));
        drop(viewer);
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("{\"ok\":false,\"error\":\"the hello is malformed"), "{answer}");
    }

    #[test]
    fn a_silent_connection_is_closed() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let now = Instant::now();
        let viewer = Viewer::new(ours, now);
        assert!(!viewer.is_done(now + Duration::from_secs(4)));
        assert!(viewer.is_done(now + Duration::from_secs(5)));
    }
}
