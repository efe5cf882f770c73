//! `cargo xtask check`: everything that can be told without running the product.

mod dependencies;
mod generated;
mod paths;
mod proofs;
mod spelling;
mod tables;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    deb,
    packages::{self, Use},
    sh,
};

/// Options of `check`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// These checks alone, by their names; also those that are not part of a whole check.
    names: Vec<String>,
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
    /// Write the generated files instead of comparing them.
    #[arg(long)]
    write: bool,
}

/// A check: its name, what it does.
struct Step<'a>(&'a str, Box<dyn Fn() -> Result<()> + 'a>);

/// Every check there is.
fn steps(options: &Options) -> Vec<Step<'_>> {
    vec![
        Step("format", Box::new(format)),
        Step("dependencies", Box::new(dependencies::check)),
        Step("spelling", Box::new(spelling::check)),
        Step("paths", Box::new(paths::check)),
        Step("tables", Box::new(tables::check)),
        Step("proofs", Box::new(proofs::check)),
        Step("circles", Box::new(|| sources("circles"))),
        Step("sizes", Box::new(|| sources("sizes"))),
        Step("layers", Box::new(|| sources("layers"))),
        Step("phrases", Box::new(|| sources("phrases"))),
        Step("package", Box::new(deb::check)),
        Step("lints", Box::new(lints)),
        Step("documentation", Box::new(documentation)),
        Step("generated", Box::new(|| generated::check(options.write))),
    ]
}

/// The checks to make: those named, or all.
fn chosen<'a>(steps: Vec<Step<'a>>, names: &[String]) -> Result<Vec<Step<'a>>> {
    if let Some(name) = names.iter().find(|name| !steps.iter().any(|step| step.0 == **name)) {
        let known: Vec<&str> = steps.iter().map(|step| step.0).collect();
        bail!("there is no check {name:?}\nhelp: one of: {}", known.join(", "));
    }
    let is_chosen = |step: &Step<'_>| names.is_empty() || names.iter().any(|name| name == step.0);
    Ok(steps.into_iter().filter(is_chosen).collect())
}

/// What checks of these names need: a program that one of them runs is no reason to refuse the others.
fn needed<'a>(mut names: impl Iterator<Item = &'a str>) -> Vec<Use> {
    let spelling = names.any(|name| name == "spelling").then_some(Use::Spelling);
    [Use::Check].into_iter().chain(spelling).collect()
}

/// Makes the checks, and reports all that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let steps = chosen(steps(options), &options.names)?;
    for needed in needed(steps.iter().map(|step| step.0)) {
        packages::ensure(needed, options.no_install)?;
    }
    let mut failed = Vec::new();
    for Step(name, check) in &steps {
        eprintln!("--- {name}");
        let begin = Instant::now();
        match check() {
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

/// A check of `tests/sources`, which is a package of its own: it parses Rust, and what the demo builds does
/// not wait for a parser.
fn sources(name: &str) -> Result<()> {
    sh::show(sh::cargo(&["run", "--quiet", "--locked", "--package", "sources", "--", name]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_asks_for_what_it_needs_and_no_more() {
        assert_eq!(needed(["circles", "sizes"].into_iter()), [Use::Check]);
        assert_eq!(needed(["format", "spelling", "paths"].into_iter()), [Use::Check, Use::Spelling]);
    }

    #[test]
    fn checks_are_made_by_name_or_all_of_them() {
        let steps = || {
            vec![
                Step("a", Box::new(|| Ok(()))),
                Step("b", Box::new(|| Ok(()))),
                Step("c", Box::new(|| Ok(()))),
            ]
        };
        let names = |names: &[&str]| -> Result<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Ok(chosen(steps(), &names)?.iter().map(|step| step.0).collect())
        };
        assert_eq!(names(&[]).unwrap(), ["a", "b", "c"]);
        assert_eq!(names(&["b"]).unwrap(), ["b"]);
        assert_eq!(names(&["c", "a"]).unwrap(), ["a", "c"]);
        let error = names(&["a", "d"]).unwrap_err().to_string();
        assert!(error.contains("no check \"d\"") && error.ends_with("one of: a, b, c"), "{error}");
    }
}
