//! The text of an lxc.conf, and of the files it includes, as lines that say where they stand.
//!
//! The rules are those of LXC itself: `key = value`, `#` begins a comment, a value in quotes loses them,
//! and a line whose key does not begin with `lxc.` is passed over.

use std::io;

/// Largest size of one file, bytes.
pub const MAX_FILE: usize = 1 << 20;
/// Longest line, bytes.
pub(super) const MAX_LINE: usize = 8192;
/// Most lines, those of included files too.
pub(super) const MAX_LINES: usize = 20_000;
/// Deepest nesting of `lxc.include`.
pub(super) const MAX_DEPTH: usize = 8;

/// What is found at a path that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file and its text.
    File(String),
    /// A directory and the names in it.
    Directory(Vec<String>),
}

/// Looks at a path on behalf of `lxc.include` and `lxc.mount.fstab`.
pub type Look<'a> = &'a dyn Fn(&str) -> io::Result<Found>;

/// What a mount is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory, and its path without links.
    Directory(String),
    /// A file, device or anything else.
    Other,
}

/// Looks at the source of a mount.
pub type Probe<'a> = &'a dyn Fn(&str) -> io::Result<Source>;

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `key = value`.
    Pair,
    /// Its key does not begin with `lxc.`: LXC passes over it.
    Foreign,
    /// It begins with `lxc.` and has no `=`: LXC refuses the whole file.
    NoEquals,
    /// `lxc.include`: how many lines came from there, or why none did.
    Include(Result<usize, String>),
}

/// A line that is neither empty nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file it stands in.
    pub file: String,
    /// Its number in that file, counted from 1.
    pub number: usize,
    /// The key as it is written; of a line that is no pair its first word.
    pub key: String,
    /// The value, without the blanks and quotes around it.
    pub value: String,
    /// What it is.
    pub content: Content,
}

/// Why a configuration is not read at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseError {
    /// A file is too large.
    #[error("{file:?} is larger than {} KiB", MAX_FILE >> 10)]
    TooLarge {
        /// The file.
        file: String,
    },
    /// A line is too long.
    #[error("line {line} of {file:?} is longer than {MAX_LINE} bytes")]
    LongLine {
        /// The file.
        file: String,
        /// The line.
        line: usize,
    },
    /// A line has a control character.
    #[error("line {line} of {file:?} contains a control character, {character:?}")]
    Control {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The character.
        character: char,
    },
    /// There are too many lines.
    #[error("{file:?} and its included files have more than {MAX_LINES} lines")]
    TooManyLines {
        /// The file.
        file: String,
    },
    /// A file includes itself.
    #[error("line {line} of {file:?} includes {included:?}, which includes it")]
    Cycle {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// What it includes.
        included: String,
    },
    /// Files include each other too deeply.
    #[error("line {line} of {file:?} exceeds the maximum depth of {MAX_DEPTH} includes")]
    TooDeep {
        /// The file.
        file: String,
        /// The line.
        line: usize,
    },
}

impl ParseError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::LongLine { .. } | Self::TooManyLines { .. } => {
                "check that it is an lxc.conf: a configuration of LXC has some dozen short lines"
            }
            Self::Control { .. } => "check that it is an lxc.conf, and remove the character",
            Self::Cycle { .. } => "remove one of the two lxc.include lines",
            Self::TooDeep { .. } => "move the settings of the innermost files to the outer ones",
        }
    }
}

/// Reads a configuration with everything it includes, in the order in which LXC would.
///
/// # Errors
/// See [`ParseError`]; a line that merely makes no sense is no error here.
pub fn parse(file: &str, text: &str, look: Look<'_>) -> Result<Vec<Line>, ParseError> {
    let mut reader = Reader { look, lines: Vec::new(), seen: 0, open: Vec::new(), first: file };
    reader.file(file, text)?;
    Ok(reader.lines)
}

struct Reader<'a> {
    look: Look<'a>,
    lines: Vec<Line>,
    /// Lines read so far, comments and empty ones too.
    seen: usize,
    /// The files that are being read, outermost first.
    open: Vec<String>,
    first: &'a str,
}

impl Reader<'_> {
    fn file(&mut self, file: &str, text: &str) -> Result<(), ParseError> {
        if text.len() > MAX_FILE {
            return Err(ParseError::TooLarge { file: file.to_owned() });
        }
        self.open.push(file.to_owned());
        for (number, line) in (1..).zip(text.split('\n')) {
            self.seen += 1;
            if self.seen > MAX_LINES {
                return Err(ParseError::TooManyLines { file: self.first.to_owned() });
            }
            if line.len() > MAX_LINE {
                return Err(ParseError::LongLine { file: file.to_owned(), line: number });
            }
            let line = line.strip_suffix('\r').unwrap_or(line);
            if let Some(character) = line.chars().find(|c| c.is_control() && *c != '\t') {
                return Err(ParseError::Control { file: file.to_owned(), line: number, character });
            }
            let Some(line) = content(file, number, line) else { continue };
            let includes =
                line.content == Content::Pair && line.key == "lxc.include" && !line.value.is_empty();
            let at = self.lines.len();
            self.lines.push(line);
            if includes {
                self.include(at)?;
            }
        }
        self.open.pop();
        Ok(())
    }

    /// Reads what the include in line `at` names, a file or every `*.conf` of a directory.
    fn include(&mut self, at: usize) -> Result<(), ParseError> {
        let Line { file, number, value: path, .. } = self.lines[at].clone();
        if self.open.len() >= MAX_DEPTH {
            return Err(ParseError::TooDeep { file, line: number });
        }
        let found = match (self.look)(&path) {
            Ok(Found::File(text)) => Ok(vec![(path.clone(), Ok(text))]),
            Ok(Found::Directory(mut names)) => {
                names.retain(|name| name.len() > 5 && name.ends_with(".conf"));
                names.sort();
                let path = path.trim_end_matches('/');
                let files = names.into_iter().map(|name| format!("{path}/{name}"));
                Ok(files.map(|file| (file.clone(), self.text(&file))).collect())
            }
            // A directory that is not there is none to LXC, too, if it is written as one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with('/') => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        let mut failed = None;
        match found {
            Err(reason) => failed = Some(reason),
            Ok(files) => {
                for (included, text) in files {
                    if self.open.contains(&included) {
                        return Err(ParseError::Cycle { file, line: number, included });
                    }
                    match text {
                        Ok(text) => self.file(&included, &text)?,
                        Err(reason) => failed = Some(format!("{included:?}: {reason}")),
                    }
                }
            }
        }
        let came = self.lines.len() - at - 1;
        self.lines[at].content = Content::Include(failed.map_or(Ok(came), Err));
        Ok(())
    }

    fn text(&self, path: &str) -> Result<String, String> {
        match (self.look)(path) {
            Ok(Found::File(text)) => Ok(text),
            Ok(Found::Directory(_)) => Err("it is a directory".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The content of one line; none of an empty one or a comment.
fn content(file: &str, number: usize, text: &str) -> Option<Line> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let line = |key: &str, value: &str, content| {
        let (key, value) = (key.to_owned(), value.to_owned());
        Some(Line { file: file.to_owned(), number, key, value, content })
    };
    let first = || text.split([' ', '\t', '=']).next().unwrap_or_default();
    if !text.starts_with("lxc.") {
        return line(first(), text, Content::Foreign);
    }
    match text.split_once('=') {
        Some((key, value)) => line(key.trim(), unquote(value.trim()), Content::Pair),
        None => line(first(), text, Content::NoEquals),
    }
}

fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> io::Result<Found> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let lines = parse("c", text, &nothing).unwrap();
        lines.into_iter().map(|line| (line.number, line.key, line.value)).collect()
    }

    #[test]
    fn lines_keep_their_numbers_and_lose_blanks_comments_and_quotes() {
        let text = "# a\n\n  lxc.uts.name=beta  \r\nlxc.tty.max = 6\n\tlxc.init.cmd = \"/sbin/init x\"\nlxc.cap.drop =\n";
        let owned = |(n, k, v): (usize, &str, &str)| (n, k.to_owned(), v.to_owned());
        assert_eq!(
            pairs(text),
            [
                (3, "lxc.uts.name", "beta"),
                (4, "lxc.tty.max", "6"),
                (5, "lxc.init.cmd", "/sbin/init x"),
                (6, "lxc.cap.drop", ""),
            ]
            .map(owned)
        );
        assert_eq!(pairs("lxc.environment = A=b=\"c\"")[0].2, "A=b=\"c\"");
        assert_eq!(pairs("lxc.init.cmd = \"")[0].2, "\"");
    }

    #[test]
    fn a_line_that_is_no_pair_says_what_it_is() {
        let lines = parse("c", "snoopy = 1\nlxc.tty\n", &nothing).unwrap();
        assert_eq!(lines[0].content, Content::Foreign);
        assert_eq!(lines[1].content, Content::NoEquals);
    }

    #[test]
    fn includes_are_read_in_place_and_directories_in_order() {
        let look = |path: &str| match path {
            "/a.conf" => Ok(Found::File("lxc.tty.max = 1\n".to_owned())),
            "/d/" => Ok(Found::Directory(vec!["z.conf".into(), "b.conf".into(), "readme".into()])),
            "/d/b.conf" => Ok(Found::File("lxc.tty.max = 2\nlxc.arch = x86\n".to_owned())),
            "/d/z.conf" => Ok(Found::File("lxc.tty.max = 3".to_owned())),
            _ => nothing(path),
        };
        let text = "lxc.include = /a.conf\nlxc.include = /d/\nlxc.include = /gone\nlxc.tty.max = 4\n";
        let lines = parse("c", text, &look).unwrap();
        let values: Vec<_> = lines.iter().map(|line| (line.file.as_str(), line.value.as_str())).collect();
        assert_eq!(
            values,
            [
                ("c", "/a.conf"),
                ("/a.conf", "1"),
                ("c", "/d/"),
                ("/d/b.conf", "2"),
                ("/d/b.conf", "x86"),
                ("/d/z.conf", "3"),
                ("c", "/gone"),
                ("c", "4"),
            ]
        );
        assert_eq!(lines[2].content, Content::Include(Ok(3)));
        assert!(matches!(&lines[6].content, Content::Include(Err(reason)) if reason.contains("not found")));
        let lines = parse("c", "lxc.include = /gone/", &look).unwrap();
        assert_eq!(lines[0].content, Content::Include(Ok(0)));
    }

    #[test]
    fn cycles_and_depths_are_told() {
        let look = |path: &str| Ok(Found::File(format!("lxc.include = {path}")));
        let error = parse("/c", "lxc.include = /x", &look).unwrap_err();
        assert_eq!(error, ParseError::Cycle { file: "/x".into(), line: 1, included: "/x".into() });
        let look = |path: &str| Ok(Found::File(format!("\nlxc.include = {path}x")));
        let error = parse("/c", "lxc.include = /x", &look).unwrap_err();
        assert!(matches!(error, ParseError::TooDeep { line: 2, .. }), "{error}");
    }

    #[test]
    fn hostile_text_gets_a_clear_error() {
        let parse = |text: &str| parse("c", text, &nothing).unwrap_err().to_string();
        assert_eq!(parse(&"x".repeat(MAX_FILE)), "line 1 of \"c\" is longer than 8192 bytes");
        assert_eq!(parse(&"x".repeat(MAX_FILE + 1)), "\"c\" is larger than 1024 KiB");
        assert!(parse(&"a\n".repeat(100_000)).contains("more than 20000 lines"));
        assert!(parse("\nlxc.tty.max = 1\0").starts_with("line 2 of \"c\" contains a control character"));
        assert!(parse("lxc.uts.name = \u{1b}[2J").contains("control character"));
    }
}
