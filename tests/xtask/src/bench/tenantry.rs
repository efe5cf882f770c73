//! Tenantry: user namespace, network, seccomp, limits, console log; by `tenantctl`, as users do.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use tenantry_tests::{Host, host::Place};

use super::contestant::{Contestant, in_cgroup, remove_cgroups, since, timed};
use crate::sh;

pub(super) struct Tenantry<'a> {
    host: &'a Host,
    image: &'static str,
    built_as: &'static str,
}

/// A host for all tenants of the bench.
pub(super) fn host(bin: &Path, images: &Path, tmp: &Path) -> Host {
    Host::start_in(Place { bin: bin.to_owned(), images: images.to_owned(), tmp: tmp.to_owned() })
}

/// `tenantctl …` for a host.
pub(super) fn ctl(host: &Host, args: &[&str]) -> Command {
    let mut command = sh::command(host.program("tenantctl"), args);
    command.env("TENANTRY_ROOT", host.root());
    command
}

impl<'a> Tenantry<'a> {
    pub(super) fn new(host: &'a Host, image: &'static str, built_as: &'static str) -> Self {
        Self { host, image, built_as }
    }

    fn ctl(&self, args: &[&str]) -> Result<Duration> {
        timed(ctl(self.host, args))
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.image)
    }
}

impl Contestant for Tenantry<'_> {
    fn who(&self) -> &'static str {
        "Tenantry"
    }

    fn image(&self) -> &str {
        self.image
    }

    fn make(&self, name: &str) -> Result<()> {
        self.ctl(&["create", &self.name(name), "--image", self.built_as]).map(drop)
    }

    fn boot(&self, name: &str) -> Result<Duration> {
        // The hierarchy of the bench has no controllers, for nobody: see its notes.
        self.ctl(&["start", "--allow-unenforced", &self.name(name)])
    }

    fn stop(&self, name: &str) -> Result<Duration> {
        self.ctl(&["stop", &self.name(name)])
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.ctl(&["destroy", &self.name(name), "--yes", "--force"]).map(drop)
    }

    fn clear(&self) {
        // The host takes all its tenants down when it is dropped.
    }

    fn run_true(&self, name: &str) -> Result<Duration> {
        // The supervisor itself, born in its unit's cgroup, as hostd starts it.
        let unit = Path::new("/sys/fs/cgroup/bench-tenantry");
        let mut run = Command::new(self.host.program("tenant"));
        run.arg("run").arg(self.name(name)).arg("--cgroup").arg(unit);
        run.env("TENANTRY_ROOT", self.host.root());
        let took = in_cgroup("bench-tenantry/supervisor", || timed(run));
        remove_cgroups(unit);
        took
    }

    fn run_date(&self, name: &str) -> Result<Duration> {
        let name = self.name(name);
        let begin = SystemTime::now();
        self.ctl(&["start", "--allow-unenforced", &name])?;
        let log = self.host.path(format!("var/lib/tenantry/tenants/{name}/log/console.log"));
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            match since(begin, &text) {
                Ok(took) if text.ends_with('\n') => {
                    self.ctl(&["stop", &name])?;
                    return Ok(took);
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn supervisor(&self, name: &str) -> Result<u32> {
        let tenant = tenantry_tests::Tenant::new(self.host, &self.name(name));
        u32::try_from(tenant.pids().1).context("a process id is positive")
    }
}
