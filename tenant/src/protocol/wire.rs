//! What goes over `console.sock`.
//!
//! A client sends one line of JSON, a [`Hello`]; the supervisor answers with one line, an [`Answer`].
//! After a positive answer both sides send frames: one byte of kind, the length of the rest as u32 in
//! little endian, the rest.
//!
//! | kind | from | contents |
//! |---|---|---|
//! | 0 data | both | bytes of the tty |
//! | 1 resize | client | rows and columns, two u16 in little endian |
//! | 2 event | supervisor | JSON of an [`Event`] |

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::files::state::Exit;

/// Longest line of a handshake or of the control socket, bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Longest data frame, bytes; longer ones are refused.
pub const MAX_DATA: u32 = 1 << 20;
/// Longest resize or event frame, bytes.
pub const MAX_EVENT: u32 = 4 << 10;
/// Length of a frame's header, bytes.
pub const HEADER: usize = 5;

/// A terminal of a tenant: 0 is the console, 1 to 63 are `tty1` to `tty63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tty(u8);

impl Tty {
    /// `/dev/console`.
    pub const CONSOLE: Self = Self(0);
    /// The highest number of a terminal.
    pub const MOST: u8 = u8::MAX;

    /// The terminal with this number.
    pub fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number, 0 for the console.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Tty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("console"),
            number => write!(f, "tty{number}"),
        }
    }
}

/// A string that names no terminal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a terminal: use console, tty1 or a number from 0 (the console) to 63")]
pub struct InvalidTty(String);

impl FromStr for Tty {
    type Err = InvalidTty;

    /// Accepts `console`, `tty3` and `3`.
    fn from_str(text: &str) -> Result<Self, InvalidTty> {
        if text == "console" {
            return Ok(Self::CONSOLE);
        }
        let digits = text.strip_prefix("tty").unwrap_or(text);
        let number = digits.parse().ok().filter(|number| *number <= 63);
        number.map(Self).ok_or_else(|| InvalidTty(text.chars().take(32).collect()))
    }
}

/// What a viewer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Type, and decide the window size.
    Rw,
    /// Watch.
    Ro,
}

/// A viewer's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Which terminal.
    pub tty: Tty,
    /// What it may do.
    pub mode: Mode,
    /// Height of its window; 0 is unknown.
    #[serde(default)]
    pub rows: u16,
    /// Width of its window; 0 is unknown.
    #[serde(default)]
    pub cols: u16,
    /// How many lines of the past it wants to see.
    #[serde(default)]
    pub replay: u32,
}

/// The supervisor's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether frames follow.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Answer {
    /// Frames follow.
    pub fn ok() -> Self {
        Self { ok: true, error: None, help: None }
    }

    /// Nothing follows.
    pub fn refused(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self { ok: false, error: Some(error.into()), help: Some(help.into()) }
    }
}

/// Something a viewer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The tenant reboots; what follows is the output of its next boot.
    Reboot {
        /// The number of that boot under this supervisor.
        boots: u32,
    },
    /// The tenant ended; the connection closes.
    Ended {
        /// How; none when its next boot failed.
        exit: Option<Exit>,
    },
    /// The viewer was too slow and missed output.
    Lagging {
        /// How much, bytes.
        dropped: u64,
    },
    /// A sentence for the person behind the viewer.
    Notice {
        /// The sentence.
        text: String,
    },
}

/// A message as a line of JSON.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages have only types that JSON can hold");
    line.push(b'\n');
    line
}

/// Parses one line of JSON.
///
/// # Errors
/// One sentence on what is wrong with it.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

const DATA: u8 = 0;
const RESIZE: u8 = 1;
const EVENT: u8 = 2;

fn frame(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
}

/// Appends a data frame; `bytes` must not be longer than [`MAX_DATA`].
pub fn data(out: &mut Vec<u8>, bytes: &[u8]) {
    frame(out, DATA, bytes);
}

/// Appends a resize frame.
pub fn resize(out: &mut Vec<u8>, rows: u16, cols: u16) {
    let mut body = [0; 4];
    body[..2].copy_from_slice(&rows.to_le_bytes());
    body[2..].copy_from_slice(&cols.to_le_bytes());
    frame(out, RESIZE, &body);
}

/// Appends an event frame.
pub fn event(out: &mut Vec<u8>, event: &Event) {
    let body = serde_json::to_vec(event).expect("an event has only types that JSON can hold");
    frame(out, EVENT, &body);
}

/// A whole resize or event frame, or a piece of a data frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Bytes of the tty, as many as have come.
    Data(&'a [u8]),
    /// A window size.
    Resize {
        /// Its height.
        rows: u16,
        /// Its width.
        cols: u16,
    },
    /// An event.
    Event(Event),
}

/// A byte stream that is not made of frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the peer sent a malformed frame")]
pub struct Malformed;

/// Takes a byte stream apart. Its memory is bounded by [`MAX_EVENT`].
#[derive(Debug, Default)]
pub struct Decoder {
    /// Header and, for a resize or an event, the body so far.
    held: Vec<u8>,
    /// How much of a data frame is still to come.
    data_left: usize,
}

impl Decoder {
    /// The next item of `input`, which is advanced past it; none when more input is needed.
    ///
    /// # Errors
    /// [`Malformed`]; nothing that follows makes sense.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, Malformed> {
        loop {
            if self.data_left > 0 {
                let (now, later) = input.split_at(self.data_left.min(input.len()));
                *input = later;
                self.data_left -= now.len();
                return Ok((!now.is_empty()).then_some(Item::Data(now)));
            }
            if !self.hold(input, HEADER) {
                return Ok(None);
            }
            let length = u32::from_le_bytes([self.held[1], self.held[2], self.held[3], self.held[4]]);
            match self.held[0] {
                DATA if length <= MAX_DATA => {
                    self.held = Vec::new();
                    self.data_left = length as usize;
                    if length == 0 {
                        continue;
                    }
                }
                RESIZE | EVENT if length <= MAX_EVENT => {
                    if !self.hold(input, HEADER + length as usize) {
                        return Ok(None);
                    }
                    return small(&std::mem::take(&mut self.held)).map(Some);
                }
                _ => return Err(Malformed),
            }
        }
    }

    /// Moves input over until `wanted` bytes are held.
    fn hold(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.held.len()).min(input.len());
        let (now, later) = input.split_at(missing);
        self.held.extend_from_slice(now);
        *input = later;
        self.held.len() >= wanted
    }
}

fn small(frame: &[u8]) -> Result<Item<'static>, Malformed> {
    match (frame[0], &frame[HEADER..]) {
        (RESIZE, [r0, r1, c0, c1]) => {
            Ok(Item::Resize { rows: u16::from_le_bytes([*r0, *r1]), cols: u16::from_le_bytes([*c0, *c1]) })
        }
        (EVENT, body) => serde_json::from_slice(body).map(Item::Event).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `stream` in chunks and joins the data up again.
    fn decode(stream: &[u8], chunk: usize) -> Result<(Vec<u8>, Vec<String>), Malformed> {
        let mut decoder = Decoder::default();
        let (mut bytes, mut others) = (Vec::new(), Vec::new());
        for mut input in stream.chunks(chunk.max(1)) {
            while let Some(item) = decoder.next(&mut input)? {
                match item {
                    Item::Data(data) => bytes.extend_from_slice(data),
                    other => others.push(format!("{other:?}")),
                }
            }
            assert!(input.is_empty());
        }
        Ok((bytes, others))
    }

    proptest! {
        #[test]
        fn frames_survive_any_fragmentation(parts: Vec<Vec<u8>>, chunk in 1usize..40) {
            let mut stream = Vec::new();
            for part in &parts {
                data(&mut stream, part);
                resize(&mut stream, 24, part.len() as u16);
                event(&mut stream, &Event::Lagging { dropped: part.len() as u64 });
            }
            let (bytes, others) = decode(&stream, chunk).unwrap();
            prop_assert_eq!(bytes, parts.concat());
            prop_assert_eq!(others.len(), parts.len() * 2);
        }

        #[test]
        fn garbage_is_refused_or_bounded(garbage: Vec<u8>, chunk in 1usize..40) {
            let _ = decode(&garbage, chunk);
        }
    }

    #[test]
    fn an_oversized_frame_is_malformed() {
        assert_eq!(decode(&[DATA, 1, 0, 0x10, 0], 99), Err(Malformed));
        assert_eq!(decode(&[EVENT, 1, 0x10, 0, 0], 99), Err(Malformed));
        assert_eq!(decode(&[9, 0, 0, 0, 0], 99), Err(Malformed));
        assert_eq!(decode(&[RESIZE, 1, 0, 0, 0, 7], 99), Err(Malformed));
    }

    #[test]
    fn terminals_are_named_as_people_name_them() {
        for (text, tty) in [("console", 0), ("0", 0), ("tty3", 3), ("63", 63)] {
            assert_eq!(text.parse(), Ok(Tty::new(tty)));
        }
        for bad in ["", "tty", "64", "-1", "tty1 ", "pts/0"] {
            assert!(bad.parse::<Tty>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Tty::new(2).to_string(), "tty2");
    }
}
