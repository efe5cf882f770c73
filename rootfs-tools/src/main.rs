//! `rootfsctl`: builds, checks and stores the root filesystems that tenants boot.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
