//! A host on which a verb goes wrong, with a neighbour that must not notice.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use tenantry_tests::{
    Output, Tenant,
    leaks::{self, Snapshot},
    poll,
};

use crate::{
    inject::{Counts, Fault, Point},
    site::{LIMIT, Site, VICTIM},
    verbs::{self, Verb},
};

/// How long what ends by itself may take to be gone.
const GONE: Duration = Duration::from_secs(3);
/// How long a repair may take, which removes the files of tenants by and by.
const REPAIRED: Duration = Duration::from_secs(20);
/// After a verb for which nothing more is called, everything it began is over.
const QUIET: Duration = Duration::from_millis(400);
/// The runtime of hostd panics where it cannot have the sockets by which it hears of signals, before hostd serves.
const FOREIGN_PANIC: &str = "failed to create UnixStream";
/// What no message says: forms of the language it is written in, and what a crash prints.
const RAW: [&str; 8] =
    ["panicked", "Os {", "os error", "Some(", "Err(", "RUST_BACKTRACE", "Error {", "Custom {"];

pub(crate) struct Trial {
    site: Site,
    cgroups: Vec<PathBuf>,
    before: Snapshot,
    boot: (i32, u64),
    /// Whether hostd is another process than when `before` was seen.
    is_another_hostd: bool,
}

/// How a point went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The call was never made.
    pub(crate) was_missed: bool,
    pub(crate) succeeded: bool,
    /// What `doctor --repair` had to take away.
    pub(crate) repaired: Vec<String>,
}

impl Trial {
    /// With the neighbour running and no victim.
    pub(crate) fn new() -> Self {
        let mut trial = Self {
            site: Site::new(),
            cgroups: Vec::new(),
            before: Snapshot::default(),
            boot: (0, 0),
            is_another_hostd: false,
        };
        trial.site.start_hostd();
        let neighbour = trial.site.host.boot("stays", &["--image", "busybox"]);
        let (cgroups, boot) = (leaks::cgroups_of(&neighbour), neighbour.boot_id());
        (trial.cgroups, trial.boot) = (cgroups, boot);
        trial
    }

    /// Does a verb once undisturbed and looks what is there then; what it called.
    pub(crate) fn rehearse(&mut self, verb: &Verb) -> Counts {
        let mut counts = Counts::new();
        // What is made once, by the first of its kind, is there after the first time.
        for _ in 0..2 {
            (verb.prepare)(&self.site);
            self.site.injector.begin(None);
            let done = (verb.act)(&self.site).succeeded();
            std::thread::sleep(QUIET);
            counts = self.site.injector.end().0;
            (verb.check)(&self.site, None, &done).expect("what must hold does when nothing fails");
            self.clear(verb, None).expect("an undisturbed verb leaves nothing to be said");
        }
        std::thread::sleep(QUIET);
        self.before = self.look();
        self.is_another_hostd = false;
        counts
    }

    /// A point has failed: nothing of this host is of use any more, and whatever hangs is to be gone.
    pub(crate) fn give_up(self) {
        for dir in &self.cgroups {
            // In cgroup v1 there is no such file.
            let kill = fs::OpenOptions::new().write(true).open(dir.join("cgroup.kill"));
            drop(kill.and_then(|mut file| file.write_all(b"1")));
        }
        if !self.site.has_live_hostd() {
            // The next one, which is started to clear up, takes away what this one left.
            self.site.host.kill_hostd();
        }
    }

    fn look(&self) -> Snapshot {
        Snapshot::of(&self.site.host, &self.cgroups)
    }

    /// Does a verb in which a point is reached. What is wrong then, or how it went.
    pub(crate) fn try_point(&mut self, verb: &Verb, point: &Point) -> Result<Outcome, String> {
        (verb.prepare)(&self.site);
        let begin_of_log = self.site.host.hostd_log().len();
        self.site.injector.begin(Some(point));
        let done = (verb.act)(&self.site);
        // Some of it happens when the answer has been given.
        let begin = Instant::now();
        while !self.site.injector.was_hit() && begin.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(10));
        }
        let (_, hit) = self.site.injector.end();
        let mut outcome =
            Outcome { was_missed: !hit, succeeded: done.status.success(), repaired: Vec::new() };
        let judged = self.judge(verb, point, hit, &done);
        outcome.repaired = judged.map_err(|fault| {
            let said = format!("{}{}", done.stdout, done.stderr).replace('\n', " | ");
            let log = self.site.host.hostd_log();
            let log = log.get(begin_of_log..).unwrap_or_default();
            format!("{fault}\n  it had ended with {}: {said}\n  hostd's log:\n{log}", done.code())
        })?;
        if Tenant::new(&self.site.host, "stays").boot_id() != self.boot {
            return Err("the neighbour was booted again".to_owned());
        }
        let said = self.site.host.hostd_log();
        let log = said.get(begin_of_log..).unwrap_or_default();
        match log.lines().find(|line| line.contains("panicked") && !log.contains(FOREIGN_PANIC)) {
            Some(line) => Err(format!("the log says: {line}")),
            None => Ok(outcome),
        }
    }

    /// What must hold after a verb, and after the next ones; what `doctor --repair` had to take away.
    fn judge(&mut self, verb: &Verb, point: &Point, hit: bool, done: &Output) -> Result<Vec<String>, String> {
        // A program that was killed itself says nothing.
        if !((verb.may_end_hostd || point.role.is_tool()) && point.fault == Fault::Kill) {
            self.is_said_clearly(verb, done)?;
        }
        self.has_hostd(verb, point, hit)?;
        (verb.check)(&self.site, Some(point), done)?;
        self.clear(verb, Some(point))?;
        self.is_as_before()
    }

    fn is_said_clearly(&self, verb: &Verb, done: &Output) -> Result<(), String> {
        let said = format!("{}{}", done.stdout, done.stderr);
        if said.contains(FOREIGN_PANIC) {
            return Ok(());
        }
        if let Some(raw) = RAW.iter().find(|raw| said.contains(*raw)) {
            return Err(format!("it says {raw:?}: {said}"));
        }
        if done.status.success() {
            return Ok(());
        }
        // In a log behind the time and the program.
        let error = done.stderr.lines().find_map(|line| Some(line.split_once("error: ")?.1));
        match error {
            // Of which object, and why. A client whose hostd has gone says so.
            Some(error)
                if error.contains(": ")
                    && [verb.object, VICTIM, "/"].iter().any(|name| error.contains(name)) =>
            {
                Ok(())
            }
            // The dynamic linker says so, before there is a program.
            None if done.stderr.contains("error while loading shared libraries: ") => Ok(()),
            _ => Err(format!("it does not say what failed, and why ({}): {said:?}", done.code())),
        }
    }

    /// Starts hostd again where the point has killed it; that it has ended otherwise is a fault.
    fn has_hostd(&mut self, verb: &Verb, point: &Point, hit: bool) -> Result<(), String> {
        let was_killed = hit && point.role.is_hostd() && point.fault == Fault::Kill;
        // A verb that starts it starts another one.
        self.is_another_hostd |= verb.may_end_hostd;
        if self.site.has_live_hostd() && !was_killed {
            return Ok(());
        }
        self.site.host.kill_hostd();
        self.site.start_hostd();
        self.is_another_hostd = true;
        if was_killed || verb.may_end_hostd { Ok(()) } else { Err("hostd ended".to_owned()) }
    }

    /// The next verbs: the victim can be started, and destroyed. Whichever of them finds it half made may say so once.
    fn clear(&self, verb: &Verb, point: Option<&Point>) -> Result<(), String> {
        let ctl = |words: &[&str]| {
            let done = self.site.host.ctl(words).limit(LIMIT).output();
            if done.status.success() {
                return Ok(done);
            }
            Err(format!("afterwards `{}`: {}", words.join(" "), done.stderr))
        };
        if !verb.is_about_tenants {
            return (verb.again)(&self.site);
        }
        let state = || {
            let list = self.site.host.ctl(&["--json", "list"]).output();
            let list = if list.status.success() { list.json() } else { serde_json::Value::Null };
            let mut all = list.as_array().into_iter().flatten();
            Some(all.find(|tenant| tenant["name"] == VICTIM)?["state"].as_str()?.to_owned())
        };
        let mut found = state();
        if verb.name == "destroy" && found.is_some() {
            ctl(&["destroy", VICTIM, "--force", "--yes"])?;
            found = None;
        }
        if found.is_none() {
            verbs::create(&self.site);
        }
        if found.as_deref() != Some("running") {
            ctl(&["start", VICTIM])?;
        }
        let exec = ["exec", VICTIM, "--", "echo", "up"];
        let was_killed = point.is_some_and(|point| point.fault == Fault::Kill && point.role.is_supervisor());
        let mut says = ctl(&exec);
        if was_killed && says.is_err() {
            // It was killed when its tenant was up, and hostd had not heard of it yet.
            poll::until_true("hostd sees that it is down", || state().as_deref() != Some("running"));
            ctl(&["start", VICTIM])?;
            says = ctl(&exec);
        }
        let says = says?;
        if says.text() != "up" {
            return Err(format!("afterwards it says {:?}", says.text()));
        }
        ctl(&["destroy", VICTIM, "--force", "--yes"])?;
        Ok(())
    }

    /// Waits until nothing is there that was not there before; what had to be repaired for that.
    fn is_as_before(&mut self) -> Result<Vec<String>, String> {
        let left = self.left_after(GONE);
        if left.is_empty() {
            return Ok(left);
        }
        let _repaired = self.site.host.ctl(&["doctor", "--repair"]).limit(LIMIT).output();
        let still = self.left_after(REPAIRED);
        if still.is_empty() {
            return Ok(left);
        }
        Err(format!("left behind: {}", still.join("; ")))
    }

    fn left_after(&mut self, limit: Duration) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let (now, before) = if self.is_another_hostd {
                (self.look().without_descriptors(), self.before.without_descriptors())
            } else {
                (self.look(), self.before.clone())
            };
            let left = now.since(&before);
            if left.is_empty() && self.is_another_hostd {
                self.before = self.look();
                self.is_another_hostd = false;
            }
            if left.is_empty() || begin.elapsed() > limit {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
