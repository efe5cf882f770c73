//! Words that are read and lines that are printed.

use std::{
    io::{self, Write},
    str::FromStr,
};

/// A number of the command line.
pub(crate) fn number<T: FromStr<Err = std::num::ParseIntError>>(word: &str) -> io::Result<T> {
    word.parse().map_err(io::Error::other)
}

/// Prints a line at once.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
