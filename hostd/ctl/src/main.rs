//! `tenantctl`: the command line of a Tenantry host.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctl::main()
}
