//! Words on the command line, and lines that are printed at once.

use std::{io::{self, Write}, process::ExitCode, str::FromStr};

use serde_json::Value;

pub(super) fn number<T: FromStr<Err = std::num::ParseIntError>>(word: &str) -> io::Result<T> {
    word.parse().map_err(io::Error::other)
}

/// Prints a line at once.
pub(super) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
