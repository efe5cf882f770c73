//! A tenant as its users see it.

use std::fs;

use serde_json::Value;

use crate::{Host, Output, Run, poll, terminal::Terminal};

/// One tenant of a [`Host`].
#[derive(Clone, Debug)]
pub struct Tenant<'a> {
    host: &'a Host,
    name: String,
}

/// Where [`Tenant::probe`] puts the probe.
const PROBE: &str = "/root/probe";

/// Looks, in what the probe says of `mounts`, where the host's mounts are in every tenant, and of which type.
///
/// # Panics
/// When one is missing, or another.
pub fn assert_mounts_of_the_host(seen: &Value, what: &str) {
    let mounts = seen["mounts"].as_array().expect("mounts");
    for (at, kind) in [
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/sys/fs/cgroup", "cgroup2"),
        ("/run", "tmpfs"),
        ("/tmp", "tmpfs"),
    ] {
        let mount = mounts.iter().rfind(|mount| mount["at"] == at);
        assert_eq!(mount.map(|mount| &mount["type"]), Some(&kind.into()), "{what}: {at}");
    }
}

/// What makes tenants.
impl Host {
    /// Creates a tenant.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn create(&self, name: &str, options: &[&str]) -> Tenant<'_> {
        self.ctl(&["create", name]).args(options).ok();
        Tenant::new(self, name)
    }

    /// Creates and starts a tenant.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn boot(&self, name: &str, options: &[&str]) -> Tenant<'_> {
        let tenant = self.create(name, options);
        tenant.start();
        tenant
    }
}

impl<'a> Tenant<'a> {
    /// A tenant that exists.
    pub fn new(host: &'a Host, name: &str) -> Self {
        Self { host, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `tenantctl VERB NAME …`.
    pub fn ctl(&self, verb: &str, more: &[&str]) -> Run {
        self.host.ctl(&[verb, &self.name]).args(more)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn start(&self) {
        self.ctl("start", &[]).ok();
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&self) {
        self.ctl("stop", &[]).ok();
    }

    /// A program inside, as root.
    pub fn exec(&self, words: &[&str]) -> Run {
        self.ctl("exec", &["--"]).args(words)
    }

    /// A shell script inside, as root.
    pub fn shell(&self, script: &str) -> Run {
        self.exec(&["/bin/sh", "-c", script])
    }

    /// What a shell script inside prints, without the last newline.
    ///
    /// # Panics
    /// When it fails.
    pub fn says(&self, script: &str) -> String {
        self.shell(script).ok().text().to_owned()
    }

    /// What `tenantctl show` tells.
    ///
    /// # Panics
    /// When it tells nothing.
    pub fn show(&self) -> Value {
        self.host.ctl(&["--json", "show", &self.name]).ok().json()
    }

    /// A field of [`Self::show`], by its path in JSON-pointer form, as text.
    ///
    /// # Panics
    /// When there is none.
    pub fn field(&self, pointer: &str) -> String {
        let show = self.show();
        match show.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => panic!("tenantctl show has no {pointer}: {show:#}"),
        }
    }

    /// The phase it is in: `running`, `stopped`, ….
    ///
    /// # Panics
    /// When hostd does not answer.
    pub fn phase(&self) -> String {
        self.field("/state")
    }

    /// Waits until it is in a phase.
    ///
    /// # Panics
    /// When it does not get there in time.
    pub fn awaits(&self, phase: &str) {
        poll::until_true(&format!("{} is {phase}", self.name), || self.phase() == phase);
    }

    /// Its `state.json`, as the supervisor writes it.
    ///
    /// # Panics
    /// When there is none.
    pub fn run_state(&self) -> Value {
        let path = self.host.path(format!("run/tenantry/tenants/{}/state.json", self.name));
        let text = fs::read_to_string(&path).expect("a tenant that ran has a state.json");
        serde_json::from_str(&text).expect("state.json is JSON")
    }

    /// Process ids of its init and of its supervisor, as the host sees them.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pids(&self) -> (i32, i32) {
        let state = self.run_state();
        let pid = |key: &str| state.pointer(&format!("/{key}/pid")).and_then(Value::as_i64);
        let pid = |key| i32::try_from(pid(key).expect("a running tenant has it")).expect("a pid");
        (pid("init"), pid("supervisor"))
    }

    /// The id of this boot: changes when and only when the tenant is booted again.
    ///
    /// # Panics
    /// When it does not run.
    pub fn boot_id(&self) -> (i32, u64) {
        let state = self.run_state();
        let ticks = state.pointer("/init/start_ticks").and_then(Value::as_u64).unwrap_or_default();
        (self.pids().0, ticks)
    }

    /// Puts the probe inside and asks it about `topics`; see the program `probe`.
    ///
    /// # Panics
    /// When it has no answer.
    pub fn probe(&self, topics: &[&str]) -> Value {
        self.bring_probe();
        self.exec(&[PROBE]).args(topics).ok().json()
    }

    /// Puts the probe inside.
    ///
    /// # Panics
    /// When it cannot be put there.
    pub fn bring_probe(&self) {
        let bytes = fs::read(self.host.program("probe")).expect("the probe was built");
        let script = format!("cat > {PROBE}.new && chmod 755 {PROBE}.new && mv {PROBE}.new {PROBE}");
        self.shell(&script).stdin(bytes).ok();
    }

    /// Asks the probe that is already inside.
    pub fn probe_again(&self, topics: &[&str]) -> Output {
        self.exec(&[PROBE]).args(topics).output()
    }

    /// Attaches to a terminal of it.
    pub fn console(&self, more: &[&str]) -> Terminal {
        Terminal::open(&self.host.ctl(&["console", &self.name]).args(more))
    }
}
