//! A whole machine whose PID 1 is systemd, with the package installed: the one that the test runs on. Only the tier
//! in a virtual machine has it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{Output, Run, poll};

/// How long anything that a test waits for may take on an emulated processor.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// A program of the machine.
pub fn run(words: &[&str]) -> Run {
    Run::new(words[0], &words[1..]).limit(PATIENCE)
}

/// `tenantctl …`.
pub fn tenantctl(words: &[&str]) -> Run {
    Run::new("tenantctl", words).limit(PATIENCE)
}

/// `systemctl …`.
pub fn systemctl(words: &[&str]) -> Run {
    Run::new("systemctl", words).limit(PATIENCE)
}

/// A property of a unit, see `systemctl show`.
///
/// # Panics
/// When systemd does not answer.
pub fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--property", name, "--value", unit]).ok().text().to_owned()
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    poll::within(PATIENCE, what, || condition().then_some(()));
}

/// What the journal has said since a cursor, or at all.
///
/// # Panics
/// When it cannot be read.
pub fn journal(matches: &[&str]) -> String {
    run(&["journalctl", "--sync"]).ok();
    run(&["journalctl", "--no-pager", "--output=short"]).args(matches).output().stdout
}

/// Waits until hostd answers.
///
/// # Panics
/// When it does not in time.
pub fn hostd_answers() {
    until("hostd answers", || tenantctl(&["--json", "list"]).output().status.success());
}

/// Held by a test that disturbs the machine: no other does at the same time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the two packages on the second disk.
///
/// # Panics
/// When it is not there.
pub fn package(is_newer: bool) -> String {
    let files = fs::read_dir("/payload").expect("the second disk is mounted").flatten();
    let mut names = files.map(|entry| entry.path().to_string_lossy().into_owned());
    let found = names.find(|path| path.ends_with(".deb") && path.contains("+newer") == is_newer);
    found.expect("both packages are on the second disk")
}

/// One tenant of this machine, as a unit; destroyed when dropped.
#[derive(Debug)]
pub struct Unit {
    name: String,
    keep: bool,
}

impl Unit {
    /// Creates a tenant of the busybox image, which boots fast, or of another with `--image`.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn create(name: &str, options: &[&str]) -> Self {
        let image: &[&str] = if options.contains(&"--image") { &[] } else { &["--image", "busybox"] };
        tenantctl(&["create", name]).args(image).args(options).ok();
        Self { name: name.to_owned(), keep: false }
    }

    /// A tenant that exists already, and stays.
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), keep: true }
    }

    /// Creates and starts one.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(name: &str, options: &[&str]) -> Self {
        let unit = Self::create(name, options);
        unit.systemctl("start").ok();
        unit
    }

    /// Leaves it where it is when this goes.
    pub fn keep(mut self) {
        self.keep = true;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its unit.
    pub fn unit(&self) -> String {
        format!("tenant@{}.service", self.name)
    }

    /// `systemctl VERB tenant@NAME.service`.
    pub fn systemctl(&self, verb: &str) -> Run {
        systemctl(&[verb, &self.unit()])
    }

    /// `tenantctl VERB NAME …`.
    pub fn ctl(&self, verb: &str, more: &[&str]) -> Run {
        tenantctl(&[verb, &self.name]).args(more)
    }

    /// A property of its unit.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub fn property(&self, name: &str) -> String {
        property(&self.unit(), name)
    }

    /// `active`, `inactive`, `failed`, ….
    pub fn active_state(&self) -> String {
        self.property("ActiveState")
    }

    /// Waits until its unit is in a state.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn awaits(&self, state: &str) {
        until(&format!("{} is {state}", self.unit()), || self.active_state() == state);
    }

    /// The supervisor's process id.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub fn main_pid(&self) -> String {
        self.property("MainPID")
    }

    /// What `tenantctl show` tells.
    ///
    /// # Panics
    /// When hostd does not answer.
    pub fn show(&self) -> Value {
        tenantctl(&["--json", "show", &self.name]).ok().json()
    }

    /// `running`, `stopped`, ….
    ///
    /// # Panics
    /// As [`Self::show`].
    pub fn state(&self) -> String {
        self.show()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Its `state.json`.
    ///
    /// # Panics
    /// When it has never run.
    pub fn run_state(&self) -> Value {
        let path = format!("/run/tenantry/tenants/{}/state.json", self.name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).expect("state.json is JSON")
    }

    /// What stands for this boot of it: its init's process.
    ///
    /// # Panics
    /// As [`Self::run_state`].
    pub fn boot(&self) -> Value {
        self.run_state()["init"].clone()
    }

    /// The directory of its unit's cgroup.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub fn cgroup(&self) -> PathBuf {
        PathBuf::from("/sys/fs/cgroup").join(self.property("ControlGroup").trim_start_matches('/'))
    }

    /// A number in a file of its cgroup, by key where the file has keys.
    pub fn reads(&self, file: &str, key: &str) -> u64 {
        let text = fs::read_to_string(self.cgroup().join(file)).unwrap_or_default();
        let found = text.lines().find_map(|line| {
            let rest = if key.is_empty() { line } else { line.strip_prefix(key)? };
            rest.trim().parse().ok()
        });
        found.unwrap_or_default()
    }

    /// A shell script inside, as root.
    pub fn shell(&self, script: &str) -> Run {
        self.ctl("exec", &["--", "/bin/sh", "-c", script])
    }

    /// What a shell script inside prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn says(&self, script: &str) -> String {
        self.shell(script).ok().text().to_owned()
    }

    /// Puts the probe inside, and asks it.
    ///
    /// # Panics
    /// When it cannot be put there.
    pub fn probe(&self, topics: &[&str]) -> Output {
        let bytes = fs::read("/payload/bin/probe").expect("the probe is on the second disk");
        self.shell("[ -e /root/probe ] || { cat > /root/probe && chmod 755 /root/probe; }").stdin(bytes).ok();
        self.ctl("exec", &["--", "/root/probe"]).args(topics).output()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if thread::panicking() && !Path::new("/usr/bin/tenantctl").exists() {
            eprintln!("{} is left: the package is not installed", self.name);
            return;
        }
        if thread::panicking() {
            eprintln!("--- journal of {} ---\n{}", self.unit(), journal(&["-n", "60", "-u", &self.unit()]));
        }
        let done = tenantctl(&["destroy", &self.name, "--force", "--yes"]).output();
        if !done.status.success() && !thread::panicking() {
            panic!("{} cannot be destroyed:\n{}", self.name, done.stderr);
        }
    }
}
