//! `cargo xtask test`: builds and runs every test.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{native, packages, programs, sh, vm};

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which tests: those that run anywhere, those that need root, those in a virtual machine, or all.
    #[arg(long, default_value = "all")]
    tier: Tier,
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
    /// How many tenants the crowd tests start at once.
    #[arg(long, default_value_t = 20)]
    tenants: u32,
    /// Only the tests whose name holds this.
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tier {
    /// Parsers, plans, state machines, the fake kernel.
    Pure,
    /// Real tenants on this machine, as root.
    Native,
    /// The package on a whole Debian, and some native tests on other kernels, in a virtual machine.
    Vm,
    /// All of them.
    All,
}

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the tests of the tiers asked for; the last line printed is `N passed, N failed`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut count = Count::default();
    let mut faults = Vec::new();
    let has = |tier| options.tier == tier || options.tier == Tier::All;
    if has(Tier::Pure) {
        pure(options, &mut count).unwrap_or_else(|error| faults.push(format!("{error:#}")));
    }
    // Before the native tier, which leaves this machine's network.
    if has(Tier::Vm) {
        let wanted = vm::Wanted { no_install: options.no_install, filter: options.filter.as_deref() };
        vm::run(&wanted, &mut count).unwrap_or_else(|error| faults.push(format!("{error:#}")));
    }
    if has(Tier::Native) {
        let wanted = native::Wanted {
            no_install: options.no_install,
            tenants: options.tenants,
            filter: options.filter.as_deref(),
        };
        native::run(&wanted, &mut count).unwrap_or_else(|error| faults.push(format!("{error:#}")));
    }
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    // A tier that could not run, or left something behind, counts as one test that failed.
    count.failed += u32::try_from(faults.len()).unwrap_or(u32::MAX);
    if count == Count::default() {
        eprintln!("error: no test ran");
        count.failed = 1;
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    std::process::exit(i32::from(count.failed > 0));
}

fn pure(options: &Options, count: &mut Count) -> Result<()> {
    packages::ensure(packages::Use::Pure, options.no_install)?;
    let mut cargo = sh::cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    // The tests alone have this search path, not the compiler.
    let runner = format!("CARGO_TARGET_{}_RUNNER", programs::host_triple()?.replace('-', "_").to_uppercase());
    cargo.env(runner, format!("/usr/bin/env PATH={}", packages::path(packages::Use::Pure)?.display()));
    if let Some(filter) = &options.filter {
        cargo.arg(filter);
    }
    eprintln!("$ cargo test --workspace");
    let (here, ended) = counted(cargo)?;
    *count += here;
    if !ended && here.failed == 0 {
        bail!("cargo test failed outside of any test");
    }
    Ok(())
}

/// Runs a libtest program (or cargo test), showing what it prints; its count, and whether it succeeded.
pub(crate) fn counted(mut command: Command) -> Result<(Count, bool)> {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let mut count = Count::default();
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        count += summary(&line).unwrap_or_default();
        println!("{line}");
    }
    Ok((count, child.wait()?.success()))
}

/// Reads `test result: ok. 3 passed; 0 failed; …`.
fn summary(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| -> Option<u32> {
        let part = rest.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Count { passed: number(" passed")?, failed: number(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_libtest_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.05s";
        assert_eq!(summary(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(summary("test a ... ok"), None);
    }
}
