//! The measurements, in rounds in which every contestant has its turn.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use tenantry_tests::Host;

use super::{
    contestant::{Contestant, timed},
    memory,
    report::{Figure, Results, Unit},
    scale::Scale,
    tenantry,
};
use crate::sh;

type Contestants<'a> = [Box<dyn Contestant + 'a>];

/// Starts in a crowd: as many at once as keep two cores busy.
pub(super) const WORKERS: usize = 4;

/// Measures everything at this scale.
pub(super) fn run(
    contestants: &Contestants<'_>,
    host: &Host,
    scale: &Scale,
    results: &mut Results,
) -> Result<()> {
    say("boot, stop");
    boots(contestants, scale, results)?;
    say("start to exec");
    execs(contestants, host, scale, results)?;
    say("create, disk");
    creations(host, scale, results)?;
    say("start rate");
    rates(contestants, scale, results)?;
    for &(size, repetitions) in &scale.crowds {
        for _ in 0..repetitions {
            for contestant in contestants {
                say(&format!("{size} on {} ({})", contestant.who(), contestant.image()));
                crowd(contestant.as_ref(), host, size, results)?;
            }
        }
    }
    Ok(())
}

pub(super) fn say(what: &str) {
    eprintln!("--- {what}");
}

fn add(results: &mut Results, what: &str, unit: Unit, contestant: &dyn Contestant, value: f64) {
    results.add(Figure::new(what, unit, contestant.who(), contestant.image()), value);
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One system at a time: the first boot of a new one, its stop, a second boot.
fn boots(contestants: &Contestants<'_>, scale: &Scale, results: &mut Results) -> Result<()> {
    // The first round only fills the caches.
    for round in 0..=scale.repetitions {
        for contestant in contestants {
            let contestant = contestant.as_ref();
            contestant.make("boot")?;
            let first = contestant.boot("boot")?;
            let stop = contestant.stop("boot")?;
            // What --volatile=overlay boots is new every time.
            let again = match contestant.who() {
                "systemd-nspawn" => first,
                _ => {
                    let again = contestant.boot("boot")?;
                    contestant.stop("boot")?;
                    again
                }
            };
            contestant.remove("boot")?;
            if round > 0 {
                add(results, "first boot to multi-user", Unit::Milliseconds, contestant, milliseconds(first));
                add(results, "start to multi-user", Unit::Milliseconds, contestant, milliseconds(again));
                add(results, "stop", Unit::Milliseconds, contestant, milliseconds(stop));
            }
        }
    }
    Ok(())
}

/// `/bin/date` instead of init, then `/bin/true`.
pub(super) fn execs(
    contestants: &Contestants<'_>,
    host: &Host,
    scale: &Scale,
    results: &mut Results,
) -> Result<()> {
    for contestant in contestants {
        contestant.make("exec")?;
        if contestant.who() == "Tenantry" {
            let name = format!("{}-exec", contestant.image());
            let args = ["set", &name, r#"init=["/bin/sh", "-c", "exec /bin/date +%s%N"]"#, "ready=exec"];
            sh::read(tenantry::ctl(host, &args))?;
        }
    }
    for round in 0..=scale.repetitions * 2 {
        for contestant in contestants {
            let took = contestant.run_date("exec")?;
            if round > 0 {
                add(results, "start to exec", Unit::Milliseconds, contestant.as_ref(), milliseconds(took));
            }
        }
    }
    for contestant in contestants.iter().filter(|contestant| contestant.who() == "Tenantry") {
        let name = format!("{}-exec", contestant.image());
        sh::read(tenantry::ctl(host, &["set", &name, r#"init=["/bin/true"]"#]))?;
    }
    for round in 0..=scale.repetitions * 2 {
        for contestant in contestants {
            let contestant = contestant.as_ref();
            let took = contestant.run_true("exec")?;
            if round > 0 {
                let what = "start, exec /bin/true, end";
                add(results, what, Unit::Milliseconds, contestant, milliseconds(took));
                if contestant.who() == "Tenantry" {
                    let name = format!("{}-exec", contestant.image());
                    let state = tenantry_tests::Tenant::new(host, &name).run_state();
                    let exec = state["exec_us"].as_f64().context("state.json has no exec_us")? / 1e3;
                    add(results, "of which until the exec", Unit::Milliseconds, contestant, exec);
                }
            }
        }
    }
    contestants.iter().try_for_each(|contestant| contestant.remove("exec"))
}

/// `tenantctl create`, until it returns: the record is durable then.
fn creations(host: &Host, scale: &Scale, results: &mut Results) -> Result<()> {
    let names: Vec<String> = (0..scale.repetitions * 2).map(|number| format!("new-{number}")).collect();
    for name in &names {
        let took = timed(tenantry::ctl(host, &["create", name, "--image", "debian"]))?;
        let figure = Figure::new("create, durable", Unit::Milliseconds, "Tenantry", "tuned");
        results.add(figure, milliseconds(took));
        let disk = allocated(host, name)?;
        let figure = Figure::new("disk per new tenant", Unit::Kibibytes, "Tenantry", "tuned");
        results.add(figure, disk as f64 / 1024.0);
    }
    for name in &names {
        let took = timed(tenantry::ctl(host, &["destroy", name, "--yes"]))?;
        let figure = Figure::new("destroy", Unit::Milliseconds, "Tenantry", "tuned");
        results.add(figure, milliseconds(took));
    }
    Ok(())
}

/// Bytes of disk blocks that a tenant takes, its configuration included.
fn allocated(host: &Host, name: &str) -> Result<u64> {
    let mut du = sh::command("du", &["--block-size=1", "--summarize", "--total"]);
    du.arg(host.path(format!("var/lib/tenantry/tenants/{name}")));
    du.arg(host.path(format!("etc/tenantry/tenants/{name}.toml")));
    let text = sh::read(du)?;
    let total = text.lines().last().and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    total.context("du prints no total")
}

/// Systems booted per second with 1 to 16 starts at once.
fn rates(contestants: &Contestants<'_>, scale: &Scale, results: &mut Results) -> Result<()> {
    let names: Vec<String> = (0..scale.starts).map(|number| format!("r{number}")).collect();
    for contestant in contestants {
        names.iter().try_for_each(|name| contestant.make(name))?;
    }
    for _ in 0..scale.rates {
        for &at_once in &scale.at_once {
            for contestant in contestants {
                let contestant = contestant.as_ref();
                let took = each(&names, at_once, |name| contestant.boot(name).map(drop))?;
                each(&names, WORKERS, |name| contestant.stop(name).map(drop))?;
                let rate = names.len() as f64 / took.as_secs_f64();
                let what = format!("starts per second, {at_once} at once");
                add(results, &what, Unit::PerSecond, contestant, rate);
            }
        }
    }
    for contestant in contestants {
        names.iter().try_for_each(|name| contestant.remove(name))?;
    }
    Ok(())
}

/// Does something for every name on a few threads; the time all of it took.
pub(super) fn each(
    names: &[String],
    threads: usize,
    act: impl Fn(&str) -> Result<()> + Sync,
) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let work = || -> Result<()> {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            act(name)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.collect::<Result<Vec<()>>>()
    })?;
    Ok(begin.elapsed())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Memory of many idle systems, per system.
fn crowd(contestant: &dyn Contestant, host: &Host, size: usize, results: &mut Results) -> Result<()> {
    let names: Vec<String> = (0..size).map(|number| format!("c{number}")).collect();
    names.iter().try_for_each(|name| contestant.make(name))?;
    let before = memory::settled()?;
    let took = each(&names, WORKERS, |name| contestant.boot(name).map(drop))?;
    let after = memory::settled()?;
    let per_system = mebibytes(after.saturating_sub(before)) / size as f64;
    add(results, &format!("memory per system, {size} idle"), Unit::Mebibytes, contestant, per_system);
    add(results, &format!("all {size} booted"), Unit::Seconds, contestant, took.as_secs_f64());
    if contestant.who() == "Tenantry" {
        for _ in 0..11 {
            let took = timed(tenantry::ctl(host, &["list"]))?;
            add(
                results,
                &format!("list, {size} tenants"),
                Unit::Milliseconds,
                contestant,
                milliseconds(took),
            );
        }
    }
    // Measured among others like it: alone, a process has its program's pages to itself.
    for name in names.iter().take(20) {
        let bytes = memory::private(contestant.supervisor(name)?)?;
        add(
            results,
            &format!("supervisor, private, of {size}"),
            Unit::Mebibytes,
            contestant,
            mebibytes(bytes),
        );
    }
    each(&names, WORKERS, |name| contestant.stop(name).map(drop))?;
    each(&names, WORKERS, |name| contestant.remove(name))?;
    Ok(())
}
