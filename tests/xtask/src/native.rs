//! The native tier: tests with real tenants, as root, where nothing else can be touched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde::Deserialize;
use tenantry_tests::{debian, guard::World, host};

use crate::{
    count::{Count, counted},
    images::images,
    packages, programs, sh,
};

/// What is asked of this tier.
pub(crate) struct Wanted<'a> {
    pub(crate) no_install: bool,
    pub(crate) tenants: u32,
    pub(crate) filter: Option<&'a str>,
}

/// Prepares programs, images and namespaces, runs every native test program, and looks for leftovers.
pub(crate) fn run(wanted: &Wanted<'_>, count: &mut Count) -> Result<()> {
    sh::need_root("the native tier")?;
    packages::ensure(packages::Use::Native, wanted.no_install)?;
    let bin = programs::build()?;
    programs::build_unprotected()?;
    fs::copy(programs::build_probe()?, bin.join("probe")).context("cannot place the probe")?;
    let images = images(&bin, &["debian", "busybox", "bird", "services"])?;
    let tests = build_tests("native")?;
    let tmp = sh::target().join("tenantry-cache/tmp");
    fs::create_dir_all(&tmp)?;
    debian::prepare(&host::Place { bin: bin.clone(), images: images.clone(), tmp: tmp.clone() });
    isolate()?;
    let path = packages::path(packages::Use::Native)?;
    let tenants = wanted.tenants.to_string();
    let place = host::Place { bin, images, tmp };
    run_programs(&tests, &place, count, |command| {
        command.arg("--test-threads=2").args(wanted.filter);
        command.env("PATH", &path).env("TENANTRY_TEST_TENANTS", &tenants);
    })
}

/// Runs test programs one by one, in namespaces that nothing else is in, and looks for leftovers.
pub(crate) fn run_programs(
    tests: &[PathBuf],
    place: &host::Place,
    count: &mut Count,
    prepare: impl Fn(&mut Command),
) -> Result<()> {
    let before = World::now(&place.tmp);
    for test in tests {
        let mut command = Command::new(test);
        command
            .current_dir(sh::repository().join("tests"))
            .env(host::BIN_DIR, &place.bin)
            .env(host::IMAGES, &place.images)
            .env(host::TMP, &place.tmp);
        prepare(&mut command);
        let begin = Instant::now();
        let name = test.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name).to_owned();
        println!("\n     Running {name}");
        let (here, ended) = counted(command)?;
        eprintln!("{name}: {:.1} s", begin.elapsed().as_secs_f64());
        *count += here;
        if !ended && here.failed == 0 {
            count.failed += 1;
            eprintln!("error: {name} ended without a summary");
        }
    }
    leftovers(&place.tmp, &before)
}

/// Waits a little for processes that are just ending, then names what was left behind.
fn leftovers(tmp: &Path, before: &World) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let left = loop {
        let left = World::now(tmp).since(before);
        if left.is_empty() || Instant::now() > deadline {
            break left;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let roots: Vec<_> = fs::read_dir(tmp)?.flatten().map(|entry| entry.path()).collect();
    let roots = roots.iter().map(|path| format!("directory {}", path.display()));
    let left: Vec<String> = left.into_iter().chain(roots).collect();
    if !left.is_empty() {
        bail!("the tests left behind:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// Moves this process into a private mount and network namespace with loopback up.
pub(crate) fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("cannot unshare namespaces")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")?;
    sh::show(sh::command("ip", &["link", "set", "lo", "up"]))
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// Builds the test programs of a tier, which is a feature of their package; their paths.
pub(crate) fn build_tests(tier: &str) -> Result<Vec<PathBuf>> {
    let args = ["test", "--package", "tenantry-tests", "--features", tier, "--tests", "--no-run"];
    let mut cargo = sh::cargo(&args);
    cargo.args(["--locked", "--message-format", "json-render-diagnostics"]);
    eprintln!("$ cargo {}", args.join(" "));
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the tests of the tier {tier} do not build");
    }
    let text = String::from_utf8(output.stdout).context("cargo did not print UTF-8")?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let tests = messages.filter(|message| {
        let kind = message.target.as_ref().map(|target| target.kind.as_slice()).unwrap_or_default();
        message.reason == "compiler-artifact" && kind.iter().any(|kind| kind == "test")
    });
    let mut paths: Vec<PathBuf> = tests.filter_map(|message| message.executable).collect();
    paths.sort();
    Ok(paths)
}
