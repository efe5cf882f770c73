//! What the sources themselves must keep to. `cargo xtask check` runs it; by hand:
//! `cargo run --package sources -- circles`.

mod circles;
mod layers;
mod phrases;
mod resolve;
mod sizes;
mod tree;
mod uses;
mod workspace;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use circles::Between;

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
        /// These packages alone.
        packages: Vec<String>,
        /// Between what is directly below the root of a crate: a file, or a directory as one.
        #[arg(long)]
        rooms: bool,
    },
    /// No file of code has more than 450 lines.
    Sizes,
    /// No part of a crate names another that it must not know of.
    Layers,
    /// No phrase of `tests/sources/phrases.toml` is used.
    Phrases {
        /// Files whose paths begin with this alone.
        below: Vec<PathBuf>,
        /// Print only how often each row of the table was found.
        #[arg(long)]
        counts: bool,
        /// Another table.
        #[arg(long)]
        table: Option<PathBuf>,
    },
}

/// Where the table of phrases is.
const PHRASES: &str = "tests/sources/phrases.toml";

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
        Check::Circles { packages, rooms } => {
            let between = if *rooms { Between::Rooms } else { Between::Files };
            circles(&top, packages, between)
        }
        Check::Sizes => Ok(show(&sizes::faults(texts(&top, &[])?.iter()), "files are too long")),
        Check::Layers => {
            Ok(show(&layers::faults(texts(&top, &[])?.iter()), "lines name what they must not know of"))
        }
        Check::Phrases { below, counts, table } => {
            let table = table.clone().unwrap_or_else(|| top.join(PHRASES));
            phrases(&top, &table, below, *counts)
        }
    }
}

/// Prints faults; how many there are.
fn show(faults: &[String], what: &str) -> usize {
    faults.iter().for_each(|fault| println!("{fault}"));
    println!("{} {what}", faults.len());
    faults.len()
}

/// Every text of the repository below these paths, or all.
fn texts(top: &Path, below: &[PathBuf]) -> Result<Vec<(PathBuf, String)>> {
    let mut texts = Vec::new();
    for path in workspace::files(top)? {
        if !below.is_empty() && !below.iter().any(|below| path.starts_with(below)) {
            continue;
        }
        let bytes = fs::read(top.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        texts.extend(String::from_utf8(bytes).ok().map(|text| (path, text)));
    }
    Ok(texts)
}

fn circles(top: &Path, packages: &[String], between: Between) -> Result<usize> {
    let read = |path: &Path| fs::read_to_string(top.join(path)).ok();
    let (mut count, mut files) = (0, 0);
    for target in workspace::targets(top)? {
        if !packages.is_empty() && !packages.contains(&target.package) {
            continue;
        }
        let circles = circles::of_target(&target.root, between, &read)?;
        for circle in &circles {
            print!("{} {}: {}", target.kind, target.name, circle.show());
            files += circle.files.len();
        }
        count += circles.len();
    }
    let of = if between == Between::Files { "files" } else { "rooms" };
    println!("{count} circles between {of}, {files} {of} in them");
    Ok(count)
}

fn phrases(top: &Path, table: &Path, below: &[PathBuf], only_counts: bool) -> Result<usize> {
    let table = fs::read_to_string(table).with_context(|| format!("cannot read {}", table.display()))?;
    let (hits, counts) = phrases::faults(&phrases::Table::parse(&table)?, &texts(top, below)?)?;
    if !only_counts {
        hits.iter().for_each(|hit| println!("{hit}"));
    }
    counts.iter().for_each(|count| println!("{count}"));
    println!("{} phrases that may not come back", hits.len());
    Ok(hits.len())
}
