//! `cargo xtask bench`: what tenants cost, beside LXC and systemd-nspawn over the same image tree in the
//! same run.
//!
//! The contestants take turns, so that whatever else the machine does hits all of them. Every figure is
//! taken from outside and in the same way for each.

mod compare;
mod contestant;
mod generations;
mod hostile;
mod lxc;
mod machine;
mod memory;
mod network;
mod nspawn;
mod page;
mod plots;
mod pools;
mod report;
mod rounds;
mod scale;
mod targets;
mod tenantry;
mod thousand;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::{images, packages, programs, sh, tree};
use contestant::Contestant;
use machine::Machine;
use report::Results;
use scale::Scale;

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Few repetitions, 20 tenants, a hundred in place of a thousand: some three minutes. Nothing is written.
    #[arg(long)]
    quick: bool,
    /// One part alone, in its full length. Nothing is written.
    #[arg(long)]
    only: Option<Part>,
    /// Three rounds against the published ratios, or those of another run: fails when one is worse by 15 % or more.
    /// Nothing is written.
    #[arg(long, value_name = "JSON", num_args = 0..=1, conflicts_with_all = ["only", "thousand_swaps"])]
    compare: Option<Option<PathBuf>>,
    /// Swaps and rollouts of a thousand tenants besides, which takes some minutes more.
    #[arg(long)]
    thousand_swaps: bool,
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
}

/// A part of the bench that can be had alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// From the start to the exec of the first program.
    Exec,
    /// Throughput, and what the network adds to a start.
    Network,
    /// Another version of the image beneath tenants that are running.
    Generations,
    /// A thousand tenants from their creation until nothing is left of them.
    Thousand,
    /// An attacker and a victim, under Tenantry and systemd-nspawn: 12 minutes. Only when it is asked for.
    Hostile,
}

/// Measures everything and writes the report.
pub(crate) fn run(options: &Options) -> Result<()> {
    sh::need_root("the bench")?;
    packages::ensure(packages::Use::Bench, options.no_install)?;
    let bin = programs::build()?;
    let images = images::images(&bin, &["debian", "debian-stock", "busybox"])?;
    // The throughput is measured by it.
    fs::copy(programs::build_probe()?, bin.join("probe")).context("cannot place the probe")?;
    isolate()?;
    let _pools = pools::Raised::new()?;
    let dir = sh::target().join("tenantry-cache/bench");
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir)?;
    let scale = Scale::of(options.quick, options.thousand_swaps);
    let rounds = if options.compare.is_some() { compare::ROUNDS } else { 1 };
    let (mut all, mut measured) = (Vec::new(), Ok(()));
    while measured.is_ok() && all.len() < rounds {
        if options.compare.is_some() {
            machine::wait_until_idle();
        }
        let mut results = Results::new(Machine::look());
        measured = round(&bin, &images, &dir, &scale, options.only, &mut results);
        all.push(results);
    }
    let cleaned = fs::remove_dir_all(&dir).context("cannot remove the directory of the bench");
    drop(fs::remove_dir("/sys/fs/cgroup/lxc.pivot"));
    if let Some(old) = &options.compare {
        measured.and(cleaned)?;
        return compare::run(&all, old.as_deref());
    }
    let results = all.pop().context("nothing was measured")?;
    // Also what was had before something failed.
    let plots = plots::all(&results)?;
    let markdown = page::markdown(&results, &plots);
    println!("{markdown}");
    measured?;
    cleaned?;
    if options.quick || options.only.is_some() {
        eprintln!("not a whole run: docs/reference is left as it was");
        return Ok(());
    }
    let reference = sh::repository().join("docs/reference");
    fs::create_dir_all(&reference)?;
    fs::write(reference.join("benchmarks.md"), markdown)?;
    for plot in plots {
        fs::write(reference.join(plot.file), plot.svg)
            .with_context(|| format!("cannot write {}", plot.file))?;
    }
    let json = serde_json::to_string_pretty(&results)? + "\n";
    fs::write(reference.join("benchmarks.json"), json).context("cannot write the figures")
}

/// Everything once, with a turn for every contestant.
fn round(
    bin: &Path,
    images: &Path,
    dir: &Path,
    scale: &Scale,
    only: Option<Part>,
    results: &mut Results,
) -> Result<()> {
    let mut part = |part: Part, measure: &mut dyn FnMut(&mut Results) -> Result<()>| -> Result<()> {
        if only.is_some_and(|only| only != part) {
            return Ok(());
        }
        let begin = Instant::now();
        measure(results)?;
        let seconds = begin.elapsed().as_secs();
        eprintln!("--- {part:?}: {} min {} s", seconds / 60, seconds % 60);
        Ok(())
    };
    part(Part::Exec, &mut |results| measure(bin, images, dir, scale, only, results))?;
    part(Part::Network, &mut |results| measure_network(bin, images, dir, scale, results))?;
    part(Part::Generations, &mut |results| {
        generations::run(bin, images, &dir.join("hosts"), scale, results).context("the generations")
    })?;
    if only == Some(Part::Hostile) {
        part(Part::Hostile, &mut |results| measure_hostile(bin, images, dir, results))?;
    }
    part(Part::Thousand, &mut |results| {
        thousand::run(bin, images, &dir.join("hosts"), scale.thousand, results).context("the thousand")
    })
}

fn measure_hostile(bin: &Path, images: &Path, dir: &Path, results: &mut Results) -> Result<()> {
    let host = tenantry::host(bin, images, &dir.join("hosts"));
    let tree = tree::tree(bin, images, "debian")?;
    let nspawn = nspawn::Nspawn::new("tuned", &tree, &dir.join("nspawn"))?;
    let measured = hostile::run(&host, &nspawn, &bin.join("probe"), results);
    nspawn.clear();
    measured.context("the hostile part")
}

/// On a host of its own, so that nothing of the other parts is left there.
fn measure_network(
    bin: &Path,
    images: &Path,
    dir: &Path,
    scale: &Scale,
    results: &mut Results,
) -> Result<()> {
    let host = tenantry::host(bin, images, &dir.join("hosts"));
    let tree = tree::tree(bin, images, "debian")?;
    network::run(&host, &tree, dir, scale, results).context("the network part")
}

fn measure(
    bin: &Path,
    images: &Path,
    dir: &Path,
    scale: &Scale,
    only: Option<Part>,
    results: &mut Results,
) -> Result<()> {
    let host = tenantry::host(bin, images, &dir.join("hosts"));
    let mut contestants: Vec<Box<dyn Contestant + '_>> = Vec::new();
    for (kind, image) in [("stock", "debian-stock"), ("tuned", "debian")] {
        let tree = tree::tree(bin, images, image)?;
        contestants.push(Box::new(lxc::Lxc::new(kind, &tree, &dir.join("lxc").join(kind))?));
        contestants.push(Box::new(nspawn::Nspawn::new(kind, &tree, &dir.join("nspawn").join(kind))?));
        contestants.push(Box::new(tenantry::Tenantry::new(&host, kind, image)));
    }
    let measured = match only {
        Some(_) => rounds::execs(&contestants, &host, scale, results),
        None => rounds::run(&contestants, &host, scale, results),
    };
    if let Err(error) = &measured {
        eprintln!("error: {error:#}");
        contestants.iter().for_each(|contestant| contestant.clear());
    }
    measured
}

/// A private mount and network namespace, in which the machine looks like one with cgroup v2 alone:
/// LXC and systemd-nspawn are at their best there, and all contestants get the same.
fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("cannot unshare namespaces")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).context("cannot unmount /sys/fs/cgroup")?;
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none)
        .context("cannot mount cgroup2")?;
    // What the peers note about running containers stays here.
    for path in ["/run/lxc", "/run/systemd"] {
        if fs::exists(path)? {
            mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none)
                .with_context(|| format!("cannot mount over {path}"))?;
        }
    }
    sh::show(sh::command("ip", &["link", "set", "lo", "up"]))
}
