//! `cargo xtask test`: builds and runs every test.

use anyhow::{Result, bail};

use crate::{
    count::{Count, counted},
    faults, fuzz, native, packages, programs, sh, vm,
};

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
    /// How long the fuzzer works on each kind of input, seconds.
    #[arg(long, default_value_t = 20)]
    fuzz_seconds: u32,
    /// Of the fault tier, every point instead of a sample: takes an hour.
    #[arg(long)]
    all: bool,
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
    /// A fuzzer on each kind of input.
    Fuzz,
    /// Calls of the kernel that fail, and processes that are killed, in the middle of every verb.
    Faults,
    /// All of them.
    All,
}

/// Runs the tests of the tiers asked for; the last line printed is `N passed, N failed`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut count = Count::default();
    let mut errors = Vec::new();
    let has = |tier| options.tier == tier || options.tier == Tier::All;
    if has(Tier::Pure) {
        pure(options, &mut count).unwrap_or_else(|error| errors.push(format!("{error:#}")));
    }
    if has(Tier::Fuzz) {
        let wanted = fuzz::Wanted {
            no_install: options.no_install,
            seconds: options.fuzz_seconds,
            filter: options.filter.as_deref(),
        };
        fuzz::run(&wanted, &mut count).unwrap_or_else(|error| errors.push(format!("{error:#}")));
    }
    // Before the native tier, which leaves this machine's network.
    if has(Tier::Vm) {
        let wanted = vm::Wanted { no_install: options.no_install, filter: options.filter.as_deref() };
        vm::run(&wanted, &mut count).unwrap_or_else(|error| errors.push(format!("{error:#}")));
    }
    if has(Tier::Native) {
        let wanted = native::Wanted {
            no_install: options.no_install,
            tenants: options.tenants,
            filter: options.filter.as_deref(),
        };
        native::run(&wanted, &mut count).unwrap_or_else(|error| errors.push(format!("{error:#}")));
    }
    if has(Tier::Faults) {
        let wanted = faults::Wanted {
            no_install: options.no_install,
            is_all: options.all,
            filter: options.filter.as_deref(),
        };
        faults::run(&wanted, &mut count).unwrap_or_else(|error| errors.push(format!("{error:#}")));
    }
    for error in &errors {
        eprintln!("error: {error}");
    }
    // A tier that could not run, or left something behind, counts as one test that failed.
    count.failed += u32::try_from(errors.len()).unwrap_or(u32::MAX);
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
