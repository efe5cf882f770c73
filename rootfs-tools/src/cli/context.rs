//! What every verb works with, and how it fails.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use rootfs_tools::{Explain, Outcome, Store};
use serde::Serialize;
use tenant::Layout;

/// What a verb needs in addition to its own arguments.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) layout: Layout,
    pub(crate) store: Store,
    pub(super) json: bool,
}

impl Context {
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
    pub(super) error: anyhow::Error,
    pub(super) help: Option<String>,
    pub(super) outcome: Outcome,
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { help: error.help(), outcome: error.outcome(), error: error.into() }
    }
}

impl Failure {
    /// A failure that has no remedy of its own.
    pub(crate) fn plain(what: String, error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into().context(what), help: None, outcome: Outcome::Failed }
    }

    /// Prepends the operation, e.g. `cannot build image "debian"`.
    pub(crate) fn context(mut self, what: String) -> Self {
        self.error = self.error.context(what);
        self
    }

    pub(super) fn print(&self) {
        let chain: Vec<_> = self.error.chain().map(|cause| printable(&cause.to_string())).collect();
        eprintln!("error: {}", chain.join(": "));
        if let Some(help) = &self.help {
            // It may name a file of an archive.
            eprintln!("help: {}", printable(help));
        }
    }
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
