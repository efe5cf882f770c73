//! `rootfsctl`: builds, checks and stores the root filesystems that tenants boot.

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
