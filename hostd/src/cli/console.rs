use std::process::ExitCode;

use clap::Args;

use super::Context;

/// Attach to a terminal of a tenant
#[derive(Debug, Args)]
pub(super) struct Console {
    /// Name of the tenant
    name: String,
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console")]
    tty: String,
    /// Watch only
    #[arg(long)]
    read_only: bool,
}

impl Console {
    pub(super) fn run(&self, _context: &Context) -> super::Result {
        Ok(ExitCode::SUCCESS)
    }
}
