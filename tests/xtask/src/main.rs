//! `cargo xtask`: the repository's own commands.

mod bare;
mod bench;
mod bird;
mod check;
mod count;
mod deb;
mod demo;
mod faults;
mod fuzz;
mod images;
mod native;
mod packages;
mod programs;
mod services;
mod sh;
mod test;
mod tree;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, lints, documentation, licenses, spelling, paths in the docs, generated files.
    Check(check::Options),
    /// Three Debian tenants on this machine, from nothing.
    Demo(demo::Options),
    /// Build everything and run every test.
    Test(test::Options),
    /// Measure against LXC and systemd-nspawn; writes docs/reference/benchmarks.md.
    Bench(bench::Options),
    /// Build the Debian package; prints its path.
    Deb(deb::Options),
    /// Run demo, the pure tests and a quick bench in a new Debian that has Rust and nothing else.
    Bare(bare::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(options) => check::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Deb(options) => deb::run(&options),
        Command::Bare(options) => bare::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
