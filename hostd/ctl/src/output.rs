//! What is printed: tables, sizes, durations, failures.

use std::{
    io::{self, BufRead as _, Write as _},
    iter,
};

pub(super) use client::output::{clean, write};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;
use wire::{Code, Failure};

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// As JSON.
    pub(super) json: bool,
}

impl Output {
    /// Prints a value as JSON.
    pub(super) fn value(self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        write(&format!("{text}\n"));
    }

    /// Prints a value as JSON, or as the text made from it.
    pub(super) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json { self.value(value) } else { write(&text(value)) }
    }

    /// Prints a failure: on standard error, or as JSON on standard output.
    pub(super) fn failure(self, failure: &Failure) {
        if self.json {
            self.value(&serde_json::json!({ "error": failure }));
            return;
        }
        let mut text = format!("error: {}\n", clean(&failure.message));
        for line in &failure.console {
            text.push_str(&format!("  console: {}\n", clean(line)));
        }
        if let Some(help) = &failure.help {
            text.push_str(&format!("help: {}\n", clean(help)));
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Why a question cannot be asked.
pub(super) fn no_terminal() -> Failure {
    Failure::new(Code::Invalid, "cannot ask for confirmation: standard input is not a terminal")
        .help("confirm with --yes")
}

/// Asks on standard error; whether the answer is yes.
pub(super) fn confirms(question: &str) -> bool {
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Prints a warning to standard error.
pub(super) fn warnings(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(io::stderr(), "warning: {}", clean(warning));
    }
}

/// Columns and rows of the terminal that is standard output; 80 and 24 where it does not say.
pub(super) fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// A table without lines; `right` are the columns of numbers.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>, right: &[usize]) -> String {
    let mut all = Vec::with_capacity(rows.len() + 1);
    all.push(header.iter().map(ToString::to_string).collect());
    all.extend(rows);
    aligned(all, right)
}

/// [`table`] without its first line.
pub(super) fn rows(rows: Vec<Vec<String>>, right: &[usize]) -> String {
    aligned(rows, right)
}

/// Columns as wide as their widest cell, two blanks apart, without blanks at the end of a line. Never as wide as the terminal:
/// what is cut off cannot be copied.
fn aligned(rows: Vec<Vec<String>>, right: &[usize]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut text = String::with_capacity(rows.len() * widths.iter().map(|width| width + 2).sum::<usize>());
    for row in rows {
        let begin = text.len();
        for (number, (cell, widest)) in row.iter().zip(&widths).enumerate() {
            let blanks = iter::repeat_n(' ', widest - width(cell));
            if right.contains(&number) {
                text.extend(blanks);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.extend(blanks);
            }
            text.push_str("  ");
        }
        text.truncate(begin + text[begin..].trim_end().len());
        text.push('\n');
    }
    text
}

/// Columns of a terminal that a text takes; most texts have none but characters of one.
fn width(text: &str) -> usize {
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control()) {
        text.len()
    } else {
        text.width()
    }
}

/// `1.5G`; a dash for nothing.
pub(super) fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    let units = ["B", "K", "M", "G", "T"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.1}{}", units[unit]) }
}

/// `3d4h`, `2h10m`, `5m2s`, `7s`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// `0.21s`; a dash for nothing.
pub(super) fn seconds(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |us| format!("{:.2}s", us as f64 / 1e6))
}

/// Milliseconds since 1970 UTC.
pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_short() {
        assert_eq!(
            (size(Some(512)), size(Some(3 << 29)), size(None)),
            ("512B".into(), "1.5G".into(), "-".into())
        );
        assert_eq!([7, 302, 7800, 273_600].map(duration), ["7s", "5m2s", "2h10m", "3d4h"]);
        assert_eq!(seconds(Some(213_000)), "0.21s");
    }

    #[test]
    fn a_table_has_no_trailing_blanks_or_escapes() {
        let rows = vec![vec!["alice".to_owned(), "1".to_owned()], vec!["b".to_owned(), "20".to_owned()]];
        assert_eq!(table(&["NAME", "N"], rows, &[1]), "NAME    N\nalice   1\nb      20\n");
    }

    #[test]
    fn a_column_is_as_wide_as_what_a_terminal_shows_of_it() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let wide = vec![row(&["日本", "x"]), row(&["e\u{301}", "y"]), row(&["abcde", ""]), row(&["z"])];
        assert_eq!(rows(wide, &[]), "日本   x\ne\u{301}      y\nabcde\nz\n");
        assert_eq!(table(&["A"], Vec::new(), &[0]), "A\n");
        assert_eq!(rows(Vec::new(), &[]), "");
    }
}
