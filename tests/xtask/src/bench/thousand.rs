//! A thousand tenants on a host of their own: made, booted, listed, looked at, stopped and destroyed by one command each,
//! and what is left of them.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tenantry_tests::{Host, Tenant};

use super::{
    contestant::timed,
    memory::{self, Held},
    report::{Figure, Results, Unit},
    rounds::{milliseconds, say},
    tenantry::{self, ctl},
};
use crate::sh;

/// How often what takes a moment is repeated.
const REPETITIONS: usize = 11;
/// How long hostd is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(30);

/// Measures `count` tenants of the tuned image.
pub(super) fn run(bin: &Path, images: &Path, tmp: &Path, count: usize, results: &mut Results) -> Result<()> {
    let host = tenantry::host(bin, images, tmp);
    let mounts = mounts(&host)?;
    let crowd = Crowd { host: &host, count };
    crowd.begin(results)?;
    crowd.look(results)?;
    crowd.hostd(results)?;
    crowd.end(results)?;
    let more = self::mounts(&host)?.saturating_sub(mounts);
    crowd.add(results, "mounts left", Unit::Count, more as f64);
    Ok(())
}

/// Mounts below the root of a host that this process sees.
fn mounts(host: &Host) -> Result<usize> {
    let root = host.root().to_str().context("a root is text")?.to_owned();
    Ok(fs::read_to_string("/proc/self/mountinfo")?.lines().filter(|line| line.contains(&root)).count())
}

struct Crowd<'a> {
    host: &'a Host,
    count: usize,
}

impl Crowd<'_> {
    fn add(&self, results: &mut Results, what: &str, unit: Unit, value: f64) {
        let what = format!("{} tenants: {what}", self.count);
        results.add(Figure::new(&what, unit, "Tenantry", "tuned"), value);
    }

    fn time(&self, results: &mut Results, what: &str, args: &[&str]) -> Result<()> {
        say(&format!("{} tenants: {what}", self.count));
        let took = timed(ctl(self.host, args))?;
        self.add(results, what, Unit::Seconds, took.as_secs_f64());
        Ok(())
    }

    /// By one command each; and the memory that they hold once they stand still.
    fn begin(&self, results: &mut Results) -> Result<()> {
        let names: Vec<String> = (0..self.count).map(|number| format!("m{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.time(results, "create", &[&["create", "--image", "debian"], &names[..]].concat())?;
        memory::settled()?;
        let before = Held::now()?;
        self.time(results, "all multi-user", &["start", "--all", "--allow-unenforced"])?;
        self.time(results, "start of those that are running", &["start", "--all", "--allow-unenforced"])?;
        say(&format!("{} tenants: memory", self.count));
        memory::at_rest()?;
        let held = Held::now()?.since(&before);
        let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        self.add(results, "memory", Unit::Gibibytes, gibibytes(held.all()));
        for (what, bytes) in held.parts() {
            self.add(results, &format!("memory, {what}"), Unit::Gibibytes, gibibytes(bytes));
        }
        let each = held.all() as f64 / f64::from(1 << 20) / self.count as f64;
        self.add(results, "memory of each", Unit::Mebibytes, each);
        Ok(())
    }

    /// What asks for all of them.
    fn look(&self, results: &mut Results) -> Result<()> {
        for _ in 0..REPETITIONS {
            for (what, args) in
                [("list", &["list"][..]), ("scrape of everything", &["--json", "stat", "--all"])]
            {
                let took = timed(ctl(self.host, args))?;
                self.add(results, what, Unit::Milliseconds, milliseconds(took));
            }
        }
        Ok(())
    }

    /// What hostd holds and does while nothing happens, and how long nothing answers when it was killed.
    fn hostd(&self, results: &mut Results) -> Result<()> {
        say(&format!("{} tenants: hostd", self.count));
        let pid = self.host.hostd_pid();
        let before = cpu_time(pid)?;
        let begin = Instant::now();
        thread::sleep(IDLE);
        let used = cpu_time(pid)?.saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64();
        self.add(results, "hostd's CPU time while idle", Unit::Percent, 100.0 * used);
        self.add(results, "hostd's resident memory", Unit::Mebibytes, resident(pid)? as f64 / 1024.0);
        self.host.kill_hostd();
        let begin = Instant::now();
        self.host.start_hostd();
        self.add(results, "hostd killed, answers again", Unit::Seconds, begin.elapsed().as_secs_f64());
        let running = sh::read(ctl(self.host, &["--json", "list", "--state", "running"]))?;
        let running: serde_json::Value = serde_json::from_str(&running).context("list answers no JSON")?;
        let running = running.as_array().map_or(0, Vec::len);
        ensure!(running == self.count, "{running} of {} are running after hostd was killed", self.count);
        Ok(())
    }

    /// Nothing is left of a crowd that was stopped and destroyed.
    fn end(&self, results: &mut Results) -> Result<()> {
        let cgroups = cgroups_of(&Tenant::new(self.host, "m0"))?;
        let there = Left::of(self.host, &cgroups)?;
        ensure!(
            there.parts().iter().all(|(_, count)| *count >= self.count as u64),
            "a crowd that is running is not seen, so what is left of it would not be: {there:?}"
        );
        self.time(results, "stop", &["stop", "--all"])?;
        self.time(results, "destroy", &["destroy", "--all", "--yes"])?;
        let left = Left::of(self.host, &cgroups)?;
        for (what, count) in left.parts() {
            self.add(results, &format!("{what} left"), Unit::Count, count as f64);
        }
        Ok(())
    }
}

/// What tenants have on a host while they are running.
#[derive(Debug)]
struct Left {
    interfaces: u64,
    cgroups: u64,
    processes: u64,
    elements: u64,
    directories: u64,
}

impl Left {
    fn of(host: &Host, cgroups: &Path) -> Result<Self> {
        let links = host.run("ip", &["-o", "link", "show", "type", "veth"]).ok().stdout;
        let rules = host.run("nft", &["--stateless", "list", "ruleset"]).ok().stdout;
        let directory = host.path("var/lib/tenantry/tenants");
        Ok(Self {
            interfaces: links.lines().count() as u64,
            cgroups: directories(cgroups),
            processes: processes(host.root())?,
            elements: elements(&rules),
            directories: directories(&directory),
        })
    }

    fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("interfaces", self.interfaces),
            ("cgroups", self.cgroups),
            ("processes", self.processes),
            ("elements of the filter", self.elements),
            ("directories", self.directories),
        ]
    }
}

/// Ports that are named in the rules.
fn elements(rules: &str) -> u64 {
    let is_port = |word: &&str| word.starts_with('t') && word[1..].starts_with(|c: char| c.is_ascii_digit());
    rules.split('"').skip(1).step_by(2).filter(is_port).count() as u64
}

/// The cgroup in which the units of a host are.
fn cgroups_of(tenant: &Tenant<'_>) -> Result<PathBuf> {
    let state = tenant.run_state();
    let own = state["cgroup"].as_str().map(Path::new).context("state.json has no cgroup")?;
    Ok(own.parent().context("a unit's cgroup has a parent")?.to_owned())
}

fn directories(dir: &Path) -> u64 {
    // It goes with the last of them.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count() as u64
}

/// Supervisors and tenants' processes: programs that were started below a root, and what they have started.
fn processes(root: &Path) -> Result<u64> {
    let root = root.to_str().context("a root is text")?;
    let mut count = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.split('\0').collect();
        count += u64::from(words.contains(&root) && words.contains(&"run"));
    }
    Ok(count)
}

/// User and system time of a process, see proc_pid_stat(5).
fn cpu_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = text.rsplit_once(')').context("stat without a name")?.1;
    let ticks: Vec<u64> = after.split_ascii_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock")?;
    Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / per_second as f64))
}

/// Resident memory of a process, KiB, see proc_pid_status(5).
fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_rules_are_counted_and_no_other_names() {
        let rules = r#"elements = { "t1-0" . 1a:d0:48:57:4d:95 : goto spend,
            "t12-0" counter } iifname "eth0" comment "tenants""#;
        assert_eq!(elements(rules), 2);
        assert_eq!(elements(""), 0);
    }

    #[test]
    fn a_process_that_works_uses_cpu_time() {
        let begin = Instant::now();
        while cpu_time(std::process::id()).unwrap() < Duration::from_millis(10) {
            assert!(begin.elapsed() < Duration::from_secs(30), "no CPU time is seen");
        }
        assert!(resident(std::process::id()).unwrap() > 100);
    }
}
