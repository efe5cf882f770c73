//! The fuzz tier: libFuzzer on each target of `tests/fuzz/`, a while each.
//!
//! Everything is compiled for it, by the stable compiler: coverage without a sanitizer, which safe code has less need of, with
//! debug assertions and checks of overflows.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    count::Count,
    packages::{self, Use},
    programs, sh,
};

/// Coverage that libFuzzer understands, as cargo-fuzz asks for it.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";
/// An input for which a target takes so long, seconds, or so much memory, MiB, is a failure.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=512", "-max_len=65536"];
/// Targets that run at the same time.
const AT_ONCE: usize = 2;

/// What is fuzzed.
pub(crate) struct Wanted<'a> {
    pub(crate) no_install: bool,
    /// Seconds for each target.
    pub(crate) seconds: u32,
    pub(crate) filter: Option<&'a str>,
}

/// A target at work.
struct Run {
    target: String,
    fuzzer: Child,
    log: PathBuf,
}

/// Builds the fuzzer and runs it on each target; each counts as one test.
pub(crate) fn run(wanted: &Wanted<'_>, count: &mut Count) -> Result<()> {
    let mut targets = targets()?;
    targets.retain(|name| wanted.filter.is_none_or(|filter| name.contains(filter)));
    if targets.is_empty() {
        return Ok(());
    }
    packages::ensure(Use::Fuzz, wanted.no_install)?;
    let program = build()?;
    let dir = sh::target().join("fuzz");
    let mut waiting = targets.into_iter();
    let mut runs: Vec<Run> = Vec::new();
    loop {
        while runs.len() < AT_ONCE
            && let Some(target) = waiting.next()
        {
            runs.push(Run::start(&program, &dir, target, wanted.seconds)?);
        }
        if runs.is_empty() {
            return Ok(());
        }
        // They take equally long.
        if runs.remove(0).ended(&dir)? {
            count.passed += 1;
        } else {
            count.failed += 1;
        }
    }
}

/// The targets: a directory of the corpora is one's, which a test of theirs sees to.
fn targets() -> Result<Vec<String>> {
    let corpora = corpora();
    let entries = fs::read_dir(&corpora).with_context(|| format!("cannot read {}", corpora.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

fn corpora() -> PathBuf {
    sh::repository().join("tests/fuzz/corpus")
}

fn build() -> Result<PathBuf> {
    let (triple, target) = (programs::host_triple()?, sh::target().join("fuzz"));
    let manifest = sh::repository().join("tests/fuzz/driver/Cargo.toml");
    let mut cargo = sh::cargo(&["build", "--release", "--locked", "--target", &triple]);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&target);
    cargo.env("RUSTFLAGS", COVERAGE).env_remove("CARGO_ENCODED_RUSTFLAGS");
    sh::show(cargo)?;
    Ok(target.join(triple).join("release/fuzz-driver"))
}

impl Run {
    fn start(program: &Path, dir: &Path, target: String, seconds: u32) -> Result<Self> {
        // What is found is kept for the next time; what is worth it goes into the repository by hand.
        let (found, temporary) = (dir.join("corpus").join(&target), dir.join("tmp"));
        for dir in [&found, &temporary, &failures(dir)] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let log = dir.join(format!("{target}.log"));
        let output = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut fuzzer = Command::new(program);
        fuzzer.env("FUZZ_TARGET", &target).env("TMPDIR", temporary);
        fuzzer.arg(format!("-max_total_time={seconds}")).args(LIMITS);
        fuzzer.arg(format!("-artifact_prefix={}/{target}-", failures(dir).display()));
        fuzzer.arg(found).arg(corpora().join(&target));
        fuzzer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let fuzzer = fuzzer.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self { target, fuzzer, log })
    }

    /// Waits for it; whether it has found nothing.
    fn ended(mut self, dir: &Path) -> Result<bool> {
        let status = self.fuzzer.wait().context("cannot wait for the fuzzer")?;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let target = &self.target;
        if status.success() {
            let runs = log.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("Done");
            eprintln!("fuzz {target}: ok. {runs}");
            return Ok(true);
        }
        if !log.contains("artifact_prefix") && !log.contains("Test unit written") {
            bail!("the fuzzer failed on {target}: {status}\n{log}");
        }
        eprintln!("{log}\nfuzz {target}: FAILED. The input is in {}", failures(dir).display());
        eprintln!("help: mend what it found, and keep the input in tests/fuzz/corpus/{target}/");
        Ok(false)
    }
}

fn failures(dir: &Path) -> PathBuf {
    dir.join("failed")
}

impl Drop for Run {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.fuzzer.kill();
        let _ = self.fuzzer.wait();
    }
}
