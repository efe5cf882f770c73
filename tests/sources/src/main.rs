//! What the sources themselves must keep to. `cargo xtask check` runs it; by hand:
//! `cargo run --package sources -- circles`.

mod circles;
mod resolve;
mod tree;
mod uses;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// What the sources must keep to.
#[derive(Parser)]
struct Cli {
    /// The top of the repository. By default, where git finds it from the current directory.
    #[arg(long, global = true)]
    repository: Option<PathBuf>,
    #[command(subcommand)]
    check: Check,
}

#[derive(Subcommand)]
enum Check {
    /// No two files of a crate use each other, directly or through others.
    Circles {
        /// These crates alone.
        crates: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many faults there are.
fn run(cli: &Cli) -> Result<usize> {
    let top = match &cli.repository {
        Some(top) => top.canonicalize().with_context(|| format!("cannot find {}", top.display()))?,
        None => workspace::top()?,
    };
    match &cli.check {
        Check::Circles { crates } => all_circles(&top, crates),
    }
}

fn all_circles(top: &std::path::Path, crates: &[String]) -> Result<usize> {
    let read = |path: &std::path::Path| std::fs::read_to_string(top.join(path)).ok();
    let (mut count, mut files) = (0, 0);
    for target in workspace::targets(top)? {
        if !crates.is_empty() && !crates.contains(&target.package) {
            continue;
        }
        let circles = circles::of_target(&target.root, &read)?;
        for circle in &circles {
            print!("{} {}: {}", target.kind, target.name, circle.show());
            files += circle.files.len();
        }
        count += circles.len();
    }
    println!("{count} circles between files, {files} files in them");
    Ok(count)
}
