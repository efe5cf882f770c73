//! What a hostile system does to its neighbour and to the host: each pool that limits of CPU time, memory and tasks do not
//! cover is used up for some seconds, while a victim and the host are measured. Under Tenantry and under systemd-nspawn, in
//! turns.
//!
//! No limit of memory, tasks or CPU time holds here, for neither: the hierarchy of the bench has no controllers. So the
//! attacks are of a bounded number of processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tenantry_tests::Host;

use super::{
    contestant::{Contestant as _, timed, wait},
    nspawn::Nspawn,
    report::{Figure, Results, Unit},
    rounds::say,
    tenantry::ctl,
};
use crate::sh;

/// How long each attack lasts, seconds.
const SECONDS: u64 = 20;

/// What an attacker does: a name, and a shell script that goes on until it is killed. `$P` is the probe.
const ATTACKS: [(&str, &str); 15] = [
    ("nothing", "sleep 1000"),
    ("CPU time, 8 loops", "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait"),
    ("processes, 8 loops", "for i in 1 2 3 4 5 6 7 8; do (while :; do /bin/true; done) & done; wait"),
    ("sync", "for i in 1 2 3 4; do (while :; do sync; done) & done; wait"),
    (
        "fsync",
        "for i in 1 2 3 4; do (while :; do dd if=/dev/zero of=/var/tmp/f$i bs=4k count=1 conv=fsync 2> /dev/null; done) & done; wait",
    ),
    (
        "writes",
        "while :; do dd if=/dev/zero of=/var/tmp/big bs=1M count=1024 2> /dev/null; rm /var/tmp/big; done",
    ),
    (
        "files",
        "mkdir -p /var/tmp/d; while :; do for i in $(seq 2000); do : > /var/tmp/d/$i; done; rm -r /var/tmp/d; mkdir /var/tmp/d; done",
    ),
    (
        "names that are not there",
        "for i in 1 2; do (n=0; while :; do n=$((n+1)); test -e /tmp/x$i-$n; done) & done; wait",
    ),
    ("inotify", "$P watchers 100000; sleep 1000"),
    ("pseudoterminals", "$P ptys 10000; sleep 1000"),
    ("namespaces", "for i in 1 2 3 4; do (while :; do unshare -Urmni true; done) & done; wait"),
    (
        "mounts",
        "unshare -rm sh -c 'mkdir -p /tmp/m; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); mount -t tmpfs m /tmp/m || break; done'; sleep 1000",
    ),
    (
        "cgroups",
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); mkdir /sys/fs/cgroup/x$i || break; done; sleep 1000",
    ),
    ("console", "yes $(seq 200) > /dev/console"),
    ("journal", "yes 'a line of the attacker' | logger"),
];

/// Who runs attacker and victim.
enum Side<'a> {
    Tenantry(&'a Host),
    Nspawn(&'a Nspawn),
}

impl Side<'_> {
    fn who(&self) -> &'static str {
        match self {
            Self::Tenantry(_) => "Tenantry",
            Self::Nspawn(_) => "systemd-nspawn",
        }
    }

    fn boot(&self, name: &str, probe: &Path) -> Result<()> {
        match self {
            Self::Tenantry(host) => {
                timed(ctl(host, &["create", name, "--image", "debian"]))?;
                timed(ctl(host, &["start", "--allow-unenforced", name]))?;
                let probe = probe.to_str().context("a path")?;
                timed(ctl(host, &["cp", "-a", probe, &format!("{name}:/root/probe")])).map(drop)
            }
            Self::Nspawn(nspawn) => {
                nspawn.boot(name)?;
                let to = format!("/proc/{}/root/root/probe", self.leader(name)?);
                fs::copy(probe, &to).with_context(|| format!("cannot place the probe at {to}"))?;
                fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
                Ok(())
            }
        }
    }

    /// Ends it, however busy it is.
    fn end(&self, name: &str) -> Result<()> {
        match self {
            Self::Tenantry(host) => timed(ctl(host, &["destroy", name, "--force", "--yes"])).map(drop),
            Self::Nspawn(nspawn) => {
                let leader = self.leader(name)?;
                sh::command("kill", &["-KILL", &leader.to_string()]).status()?;
                nspawn.stop(name).map(drop)
            }
        }
    }

    /// The init of a system of systemd-nspawn's.
    fn leader(&self, name: &str) -> Result<u32> {
        let Self::Nspawn(nspawn) = self else { anyhow::bail!("a tenant is entered by its name") };
        let own = nspawn.supervisor(name)?;
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let first = children.split_whitespace().next().context("it has no init")?;
        Ok(first.parse()?)
    }

    /// A shell script inside.
    fn inside(&self, name: &str, script: &str) -> Result<Command> {
        let script = format!("P=/root/probe; export P; {script}");
        let mut command = match self {
            Self::Tenantry(host) => ctl(host, &["exec", name, "--", "/bin/sh", "-c", &script]),
            Self::Nspawn(_) => {
                let leader = self.leader(name)?.to_string();
                sh::command("nsenter", &["--target", &leader, "--all", "/bin/sh", "-c", &script])
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(command)
    }
}

/// Measures all attacks under both.
pub(super) fn run(host: &Host, nspawn: &Nspawn, probe: &Path, results: &mut Results) -> Result<()> {
    let sides = [Side::Tenantry(host), Side::Nspawn(nspawn)];
    for side in &sides {
        side.boot("victim", probe)?;
    }
    let here = host.path("pulse");
    fs::create_dir_all(&here)?;
    let mut measured = Ok(());
    for (what, script) in ATTACKS {
        for side in &sides {
            say(&format!("{what}, {}", side.who()));
            if measured.is_ok() {
                measured = attack(host, side, (what, script), (probe, &here), results);
            }
        }
    }
    for side in &sides {
        let ended = side.end("victim");
        measured = measured.and(ended);
    }
    measured
}

fn attack(
    host: &Host,
    side: &Side<'_>,
    (what, script): (&str, &str),
    (probe, here): (&Path, &Path),
    results: &mut Results,
) -> Result<()> {
    side.boot("attacker", probe)?;
    let mut attacker = side.inside("attacker", script)?.stdout(Stdio::null()).spawn()?;
    // It has begun by then.
    std::thread::sleep(Duration::from_secs(1));
    let seconds = SECONDS.to_string();
    let victim = side.inside("victim", &format!("$P pulse /var/tmp {seconds}"))?.spawn()?;
    let mut own = sh::command(probe, &["pulse", here.to_str().context("a path")?, &seconds]);
    let own = own.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (mut lists, mut failed) = (Vec::new(), 0);
    let end = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < end {
        match timed(ctl(host, &["list"])) {
            Ok(took) => lists.push(took.as_secs_f64() * 1e3),
            Err(_) => failed += 1,
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let told = |child: std::process::Child| -> Result<Value> {
        let output = child.wait_with_output()?;
        serde_json::from_slice(&output.stdout).context("the probe tells nothing")
    };
    let (victim, own) = (told(victim)?, told(own)?);
    side.end("attacker")?;
    wait(&mut attacker, Duration::from_secs(20))?;
    let mut add = |of: &str, unit: Unit, value: f64| {
        let figure = Figure::new(&format!("{what}: {of}"), unit, side.who(), "tuned");
        results.add(figure, value);
    };
    for (place, pulse) in [("victim", &victim), ("host", &own)] {
        for thing in ["fork", "fsync", "http"] {
            let value = |key: &str| pulse[thing][key].as_f64().unwrap_or(f64::NAN);
            add(&format!("{thing} of the {place}, p99"), Unit::Milliseconds, value("p99"));
            add(&format!("{thing} of the {place}, failed"), Unit::Count, value("failed"));
        }
    }
    lists.sort_by(f64::total_cmp);
    let last = lists.len().saturating_sub(1);
    add(
        "list, p99",
        Unit::Milliseconds,
        lists.get((lists.len() * 99 / 100).min(last)).copied().unwrap_or(f64::NAN),
    );
    add("list, failed", Unit::Count, f64::from(failed));
    Ok(())
}
