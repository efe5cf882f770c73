//! `cargo xtask check`: everything that can be told without running the product.

mod dependencies;
mod generated;
mod paths;
mod spelling;
mod tables;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{deb, packages, sh};

/// Options of `check`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
    /// Write the generated files instead of comparing them.
    #[arg(long)]
    write: bool,
}

type Step<'a> = (&'a str, Box<dyn Fn() -> Result<()> + 'a>);

/// Runs every check, and reports all that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::ensure(packages::Use::Check, options.no_install)?;
    let steps: Vec<Step<'_>> = vec![
        ("format", Box::new(format)),
        ("dependencies", Box::new(dependencies::check)),
        ("spelling", Box::new(spelling::check)),
        ("paths in the docs", Box::new(paths::check)),
        ("tables in the docs", Box::new(tables::check)),
        ("package", Box::new(deb::check)),
        ("lints", Box::new(lints)),
        ("documentation", Box::new(documentation)),
        ("generated files", Box::new(|| generated::check(options.write))),
    ];
    let mut failed = Vec::new();
    for (name, step) in &steps {
        eprintln!("--- {name}");
        let begin = Instant::now();
        match step() {
            Ok(()) => eprintln!("--- {name}: ok, {:.1} s", begin.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} checks failed: {}", failed.len(), steps.len(), failed.join(", "));
    }
    eprintln!("all {} checks passed", steps.len());
    Ok(())
}

fn format() -> Result<()> {
    sh::show(sh::cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let mut cargo = sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
    cargo.args([
        "--features",
        "tenantry-tests/native,tenantry-tests/vm,hostd/openapi",
        "--",
        "-D",
        "warnings",
    ]);
    sh::show(cargo)
}

fn documentation() -> Result<()> {
    let mut cargo = sh::cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    sh::show(cargo)
}
