//! Lines of what a tty printed, from a position on: for hostd, and for clients where it is not running.

use std::{
    fmt::{self, Display, Formatter},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    str::FromStr,
};

use super::log;
use crate::protocol::{escape, wire::Tty};

/// Most bytes of a log that are read at once.
const MOST: usize = 8 << 20;

/// How far a log was read: the file and its length. A log that was rotated meanwhile is another file.
///
/// It is text in answers and requests, for the two numbers do not fit into one that every reader of JSON
/// keeps exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    inode: u64,
    length: u64,
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position in a log")]
pub struct InvalidPosition(String);

impl Display for Position {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.inode, self.length)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let parts = text.split_once('-');
        let parsed = parts.and_then(|(inode, length)| Some((inode.parse().ok()?, length.parse().ok()?)));
        let (inode, length) = parsed.ok_or_else(|| InvalidPosition(text.to_owned()))?;
        Ok(Self { inode, length })
    }
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// So many of the last.
    Last(usize),
    /// Those that came after a position.
    After(Position),
}

/// Where the log of a tty ends now; none where it never printed anything.
pub fn end(dir: &Path, tty: Tty) -> Option<Position> {
    let meta = fs::symlink_metadata(dir.join(format!("{tty}.log"))).ok()?;
    Some(Position { inode: meta.ino(), length: meta.len() })
}

/// The lines that are wanted, oldest first and without control characters, and where the log ends.
///
/// # Errors
/// A log that exists and cannot be read.
pub fn read(dir: &Path, tty: Tty, wanted: Wanted) -> io::Result<(Vec<String>, Position)> {
    let position = end(dir, tty).unwrap_or_default();
    let at_most = |length| usize::try_from(length).unwrap_or(MOST).min(MOST);
    let (lines, most) = match wanted {
        Wanted::After(after) if after.inode == position.inode => {
            (usize::MAX, at_most(position.length.saturating_sub(after.length)))
        }
        Wanted::After(_) => (usize::MAX, at_most(position.length)),
        Wanted::Last(lines) => (lines, MOST),
    };
    let bytes = match most {
        0 => Vec::new(),
        most => log::tail(dir, tty, most)?,
    };
    Ok((escape::plain_lines(&bytes, lines), position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_followed_over_its_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, file) = (dir.path(), dir.path().join("console.log"));
        assert_eq!(read(dir, Tty::CONSOLE, Wanted::Last(9)).unwrap(), (Vec::new(), Position::default()));
        fs::write(&file, "one\ntwo\n").unwrap();
        let (lines, position) = read(dir, Tty::CONSOLE, Wanted::Last(1)).unwrap();
        assert_eq!(lines, ["two"]);
        fs::write(&file, "one\ntwo\nthree\n").unwrap();
        let (lines, position) = read(dir, Tty::CONSOLE, Wanted::After(position)).unwrap();
        assert_eq!(lines, ["three"]);
        assert_eq!(read(dir, Tty::CONSOLE, Wanted::After(position)).unwrap().0, Vec::<String>::new());
        fs::rename(&file, dir.join("other")).unwrap();
        fs::write(&file, "four\n").unwrap();
        assert_eq!(read(dir, Tty::CONSOLE, Wanted::After(position)).unwrap().0, ["four"]);
    }

    #[test]
    fn a_position_is_a_text_that_is_handed_back() {
        let position = Position { inode: 7, length: 99 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "7", "7-", "-", "a-b", "1-2-3"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition(text.to_owned())));
        }
    }
}
