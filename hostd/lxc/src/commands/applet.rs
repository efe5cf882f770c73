//! What a command of LXC is.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

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
    let _ = writeln!(io::stderr(), "{name}: error: {}", clean(&failure.message));
    for line in &failure.console {
        let _ = writeln!(io::stderr(), "  console: {}", clean(line));
    }
    if let Some(help) = &failure.help {
        let _ = writeln!(io::stderr(), "help: {}", clean(help));
    }
}
