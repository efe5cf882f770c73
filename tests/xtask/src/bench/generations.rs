//! Another version of the image beneath tenants that are running: what a swap takes, and what two versions cost together.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tenantry_tests::{Host, host::Place};

use super::{
    contestant::timed,
    memory,
    report::{Figure, Results, Unit},
    rounds::{WORKERS, each, say},
    scale::Scale,
    tenantry::ctl,
};
use crate::sh;

/// The file that the second version changes: a library that sshd, systemd and others have mapped.
const CHANGED: &str = "usr/lib/x86_64-linux-gnu/libcrypto.so.3";
/// Rounds of swaps to and fro.
const ROUNDS: usize = 5;
/// What must hold after each wave of a rollout: a command inside, and no failed unit, which is two of them.
const GATES: [(&str, &str); 2] = [("exec:true", "one gate"), ("systemd", "gate systemd")];

/// Measures all of it on a host of its own.
pub(super) fn run(bin: &Path, images: &Path, tmp: &Path, scale: &Scale, results: &mut Results) -> Result<()> {
    let host = Host::bare_in(Place { bin: bin.to_owned(), images: images.to_owned(), tmp: tmp.to_owned() });
    host.copy_images();
    let (old, new) = second_version(&host);
    host.start_hostd();
    for &count in &scale.generations {
        say(&format!("swaps of {count}"));
        swaps(&host, count, (&old, &new), results)?;
    }
    Ok(())
}

fn add(results: &mut Results, what: &str, unit: Unit, value: f64) {
    results.add(Figure::new(what, unit, "Tenantry", "tuned"), value);
}

/// Publishes the same tree with one changed library as `debian:candidate`; the trees of both.
fn second_version(host: &Host) -> (PathBuf, PathBuf) {
    let old = host.version("debian").join("tree");
    host.another_version("debian", "debian:candidate", |tree| {
        // A byte behind what the loader looks at.
        let library = fs::File::options().append(true).open(tree.join(CHANGED));
        library.and_then(|mut file| file.write_all(&[0])).expect("a library that can be changed");
    });
    (old, host.version("debian:candidate").join("tree"))
}

/// Swaps a crowd to and fro.
fn swaps(host: &Host, count: usize, (old, new): (&Path, &Path), results: &mut Results) -> Result<()> {
    let names: Vec<String> = (0..count).map(|number| format!("g{number}")).collect();
    for name in &names {
        timed(ctl(host, &["create", name, "--image", "debian", "--set", "labels.crowd=\"bench\""]))?;
    }
    each(&names, WORKERS, |name| timed(ctl(host, &["start", "--allow-unenforced", name])).map(drop))?;
    let before = memory::at_rest()?;
    for round in 0..ROUNDS {
        let to = if round % 2 == 0 { ":candidate" } else { ":stable" };
        let mut rebase = ctl(host, &["--json", "rebase", "--label", "crowd=bench", "--to", to]);
        let begin = Instant::now();
        let output = rebase.output().context("cannot run tenantctl")?;
        let took = begin.elapsed();
        let answers: Value = serde_json::from_slice(&output.stdout).context("rebase answers no JSON")?;
        let answers = answers.as_array().context("rebase answers no list")?;
        let work: Vec<f64> = answers.iter().filter_map(|answer| answer["swap_us"].as_f64()).collect();
        anyhow::ensure!(work.len() == count, "{} of {count} were swapped: {answers:?}", work.len());
        for micros in &work {
            add(results, &format!("swap, {count} running"), Unit::Milliseconds, micros / 1e3);
        }
        let all = work.iter().sum::<f64>() / 1e6;
        add(results, &format!("work of {count} swaps"), Unit::Seconds, all);
        add(results, &format!("rebase of {count} tenants"), Unit::Seconds, took.as_secs_f64());
        if round == 0 {
            // All that was running still has the old version; each tenant shows the new one.
            let after = memory::at_rest()?;
            let per_tenant = after.saturating_sub(before) as f64 / 1024.0 / count as f64;
            add(
                results,
                &format!("memory per tenant on two versions, {count} running"),
                Unit::Kibibytes,
                per_tenant,
            );
            pages(host, &names[0], (old, new), results)?;
        }
    }
    stale(host, count, results)?;
    rollouts(host, count, results)?;
    each(&names, WORKERS, |name| timed(ctl(host, &["destroy", name, "--yes", "--force"])).map(drop))?;
    Ok(())
}

/// Looks at what is stale in a crowd, of which everything is.
fn stale(host: &Host, count: usize, results: &mut Results) -> Result<()> {
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let output = ctl(host, &["--json", "stale", "--all"]).output().context("cannot run tenantctl")?;
        let took = begin.elapsed();
        let looked: Value = serde_json::from_slice(&output.stdout).context("stale answers no JSON")?;
        let looked = looked.as_array().context("stale answers no list")?;
        let is_stale = |one: &&Value| one["units"].as_array().is_some_and(|units| !units.is_empty());
        let found = looked.iter().filter(is_stale).count();
        anyhow::ensure!(found == count, "{found} of {count} are stale");
        add(results, &format!("stale of {count} tenants"), Unit::Seconds, took.as_secs_f64());
    }
    Ok(())
}

/// Rolls a version out to a crowd and the other one again, in the usual waves, with a gate after each.
fn rollouts(host: &Host, count: usize, results: &mut Results) -> Result<()> {
    for (gate, what) in GATES {
        for to in [":stable", ":candidate"] {
            let words = ["rollout", "start", "debian", "--label", "crowd=bench", "--to", to];
            let begin = Instant::now();
            timed(ctl(host, &[&words[..], &["--gate", gate, "--watch"]].concat()))?;
            let figure = format!("rollout to {count} tenants, {what}");
            add(results, &figure, Unit::Seconds, begin.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// What the new version adds to the page cache when a tenant reads all its programs and libraries, and the old one's are
/// there too, without the files that it changed.
fn pages(host: &Host, tenant: &str, (old, new): (&Path, &Path), results: &mut Results) -> Result<()> {
    for tree in [old, new] {
        let mut read = sh::command("sh", &["-c", "find usr/bin usr/lib -type f -exec cat {} + > /dev/null"]);
        read.current_dir(tree);
        sh::read(read)?;
    }
    let inside = "find /usr/bin /usr/lib -type f -exec cat {} + > /dev/null";
    timed(ctl(host, &["exec", tenant, "--", "sh", "-c", inside]))?;
    let files = |tree: &Path| -> Result<BTreeSet<(u64, PathBuf)>> {
        let mut find = sh::command("find", &["usr/bin", "usr/lib", "-type", "f"]);
        find.current_dir(tree);
        let names = sh::read(find)?;
        names.lines().map(|name| tree.join(name)).map(|path| Ok((fs::metadata(&path)?.ino(), path))).collect()
    };
    let known: BTreeSet<u64> = files(old)?.into_iter().map(|(inode, _)| inode).collect();
    let mut own = 0;
    for (_, path) in files(new)?.into_iter().filter(|(inode, _)| !known.contains(inode)) {
        if !path.ends_with(CHANGED) {
            own += resident(&path)?;
        }
    }
    add(
        results,
        "page cache of a second version, without what it changes",
        Unit::Kibibytes,
        own as f64 / 1024.0,
    );
    Ok(())
}

/// Bytes of a file that are in the page cache, by fincore(1).
fn resident(path: &Path) -> Result<u64> {
    let mut fincore = sh::command("fincore", &["--bytes", "--noheadings", "--output", "RES"]);
    fincore.arg(path);
    sh::read(fincore)?.trim().parse().context("fincore prints no number")
}
