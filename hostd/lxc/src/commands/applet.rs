//! What a command of LXC is.

use std::process::ExitCode;

use clap::Parser;
use wire::Failure;

use super::host::{Lxc, Result};

/// A flag of LXC that a tenant has no use for.
pub(super) struct Refused {
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    /// Whether it takes a value.
    pub(super) value: bool,
    /// What to use instead, or why there is nothing.
    pub(super) instead: &'static str,
}

pub(super) const fn refused(
    short: Option<char>,
    long: &'static str,
    value: bool,
    instead: &'static str,
) -> Refused {
    Refused { short, long, value, instead }
}

/// A command of LXC.
pub(super) trait Applet: Parser {
    /// Flags that it does not take.
    const REFUSED: &'static [Refused] = &[];

    /// Does what the command line says.
    fn run(self, lxc: &Lxc) -> Result<ExitCode>;
}

pub(super) fn tell(name: &str, failure: &Failure) {
    let clean = client::output::clean;
    eprintln!("{name}: error: {}", clean(&failure.message));
    for line in &failure.console {
        eprintln!("  console: {}", clean(line));
    }
    if let Some(help) = &failure.help {
        eprintln!("help: {}", clean(help));
    }
}
