//! What every verb uses: the host it works on, how results are printed, and how it fails.

use std::io::{self, Write as _};

use rootfs_tools::{Explain, Outcome, Store, explain, store::Way};
use serde::Serialize;
use tenant::{Layout, cause::chain, config::profile};

/// What a verb needs in addition to its own arguments.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) layout: Layout,
    pub(crate) store: Store,
    pub(super) json: bool,
}

impl Context {
    /// Where a channel of this host may lead: onward only where tenants boot only signed images.
    pub(crate) fn way(&self, allow_older: bool) -> Result<Way, Failure> {
        let host = profile::load_host(&self.layout)
            .map_err(|error| Failure::plain("cannot read the settings of this host".to_owned(), error))?;
        Ok(Way::of(&host, allow_older))
    }

    /// Prints the result: `value` as JSON, or `text`.
    pub(crate) fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = if self.json {
            let mut json = serde_json::to_string_pretty(value)
                .map_err(|e| Failure::plain("cannot write JSON".to_owned(), e))?;
            json.push('\n');
            json
        } else {
            text()
        };
        match io::stdout().write_all(text.as_bytes()) {
            // `rootfsctl list | head -1` is no error.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Failure::plain("cannot write to standard output".to_owned(), e)),
            Ok(()) => Ok(()),
        }
    }
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    help: Option<String>,
    outcome: Outcome,
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        let help = error.help().or_else(|| explain::room(&error));
        Self { help, outcome: error.outcome(), error: error.into() }
    }
}

impl Failure {
    /// A failure that has no remedy of its own; a full disk has one everywhere.
    pub(crate) fn plain(what: String, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        let help = explain::room(error.as_ref());
        Self { error: error.context(what), help, outcome: Outcome::Failed }
    }

    /// Prepends the operation, e.g. `cannot build image "debian"`.
    pub(crate) fn context(mut self, what: String) -> Self {
        self.error = self.error.context(what);
        self
    }

    /// What rootfsctl ends with.
    pub(super) fn code(&self) -> u8 {
        self.outcome.code()
    }

    /// Prints it to standard error.
    pub(super) fn print(&self) {
        let _ = writeln!(io::stderr(), "error: {}", printable(&chain(self.error.as_ref())));
        if let Some(help) = &self.help {
            // It may name a file of an archive.
            let _ = writeln!(io::stderr(), "help: {}", printable(help));
        }
    }
}

/// Text from archives and tools must not control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// A number of bytes in readable form.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// A table without borders.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    let lines: Vec<_> = table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    lines.concat()
}

/// An error raised by a verb itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) outcome: Outcome,
}

impl Explain for Refusal {
    fn help(&self) -> Option<String> {
        self.help.clone()
    }

    fn outcome(&self) -> Outcome {
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
    }
}
