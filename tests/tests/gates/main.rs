//! Gates of a rollout, asked of real tenants: versions that break a unit, a port, a web server, memory; tenants that do
//! what they like meanwhile, and answers that do not end.

mod versions;

use std::{fs, time::Instant};

use serde_json::Value;
use tenantry_tests::{Host, Output, Running, Tenant, poll};

/// Exit code of a rollout that failed.
const FAILED: i32 = 1;

/// What a rollout came to.
struct Outcome {
    rollout: Value,
    code: i32,
}

impl Outcome {
    fn reason(&self) -> &str {
        self.rollout["reason"].as_str().unwrap_or_default()
    }

    /// What became of a tenant, and its note.
    fn of(&self, name: &str) -> (&str, &str) {
        let tenants = self.rollout["tenants"].as_array().expect("tenants");
        let one = tenants.iter().find(|one| one["name"] == name).expect("it is in the rollout");
        (one["state"].as_str().unwrap_or_default(), one["note"].as_str().unwrap_or_default())
    }

    fn has_failed(&self, reason: &str) {
        assert_eq!(
            (self.code, &self.rollout["state"]),
            (FAILED, &Value::from("failed")),
            "{:#}",
            self.rollout
        );
        assert!(self.reason().contains(reason), "{reason:?} is not in {:?}", self.reason());
    }

    fn has_finished(&self) {
        assert_eq!((self.code, &self.rollout["state"]), (0, &Value::from("finished")), "{:#}", self.rollout);
    }
}

fn last(host: &Host) -> Value {
    let history = host.ctl(&["--json", "rollout", "history"]).ok().json();
    let id = history[0]["id"].to_string();
    host.ctl(&["--json", "rollout", "show", &id]).ok().json()
}

const START: [&str; 3] = ["rollout", "start", "gates"];

/// Rolls a version out to these tenants, to the end.
fn rollout(host: &Host, names: &str, to: &str, more: &[&str]) -> Outcome {
    let names: Vec<&str> = names.split(' ').collect();
    let words = [&START[..], &names, &["--to", to, "--watch"], more].concat();
    let code = host.ctl(&words).output().code();
    Outcome { rollout: last(host), code }
}

fn boot<'a>(host: &'a Host, name: &str, more: &[&str]) -> Tenant<'a> {
    let tenant = host.boot(name, &[&["--image", "gates:stable"], more].concat());
    poll::until_true("its web server answers", || connect(&tenant, 8080, "true").status.success());
    tenant
}

/// Connects to a port inside, as descriptor 3 of what follows.
fn connect(tenant: &Tenant<'_>, port: u16, then: &str) -> Output {
    tenant.exec(&["bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port} && {then}")]).output()
}

fn kind(tenant: &Tenant<'_>) -> String {
    tenant.says("cat /usr/lib/fix/kind")
}

/// How many versions a tenant has had.
fn generations(host: &Host, name: &str) -> usize {
    let path = format!("var/lib/tenantry/tenants/{name}/allocation.toml");
    let text = fs::read_to_string(host.path(path)).expect("a record");
    text.lines().filter(|line| line.trim() == "[[generations]]").count()
}

/// Memory that hostd has, KiB.
fn resident(host: &Host) -> u64 {
    // The first process enters a namespace and becomes hostd.
    let status = fs::read_to_string(format!("/proc/{}/status", host.hostd_pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

#[test]
fn a_unit_that_fails_and_a_web_server_that_breaks_are_caught_and_undone_and_no_other_tenant_is_touched() {
    let host = versions::host();
    let tenants = ["t1", "t2", "t3"].map(|name| boot(&host, name, &[]));
    let boots = tenants.each_ref().map(Tenant::boot_id);
    for (gate, reason) in [
        (
            "systemd",
            "tenant \"t1\": gate systemd: fix-watch.service has failed; it holds in t2, t3, not moved yet",
        ),
        (
            "http:8080/health",
            "gate http:8080/health: it answers with status 500; it holds in t2, t3, not moved yet",
        ),
    ] {
        let waves = ["--waves", "1,100%", "--gate", gate, "--gate-timeout", "3s", "--bake", "2s"];
        rollout(&host, "t1 t2 t3", ":failing", &waves).has_failed(reason);
        assert_eq!(tenants.each_ref().map(kind), ["stable", "stable", "stable"], "{gate}");
        // A failed unit is not started again by that its program is well again.
        tenants[0].says("systemctl start fix-watch");
    }
    assert_eq!(tenants.each_ref().map(Tenant::boot_id), boots, "no tenant was booted");
    assert_eq!(["t2", "t3"].map(|name| generations(&host, name)), [1, 1]);

    // The same with a version that is well: units that had failed before are no reason.
    tenants[1].shell("systemd-run --quiet --unit broken --property RemainAfterExit=yes false").ok();
    poll::until_true("it has failed", || tenants[1].shell("systemctl is-failed broken").output().code() == 0);
    let gates = ["--gate", "systemd", "--gate", "http:8080", "--gate", "tcp:22"];
    rollout(&host, "t1 t2 t3", ":candidate", &gates).has_finished();
    assert_eq!(tenants.each_ref().map(kind), ["candidate", "candidate", "candidate"]);
    assert_eq!(tenants.each_ref().map(Tenant::boot_id), boots, "no tenant was booted");
}

#[test]
fn a_port_that_no_service_listens_on_any_more_is_caught_and_a_restart_is_undone_by_one() {
    let host = versions::host();
    let tenants = ["t1", "t2"].map(|name| boot(&host, name, &[]));
    let untouched = tenants[1].boot_id();
    let gates = ["--restart", "--waves", "1,100%", "--gate", "tcp:22", "--gate-timeout", "2s"];
    let outcome = rollout(&host, "t1 t2", ":deaf", &gates);
    outcome.has_failed("tenant \"t1\": gate tcp:22: cannot connect to ");
    outcome.has_failed("refused; it holds in t2, not moved yet");
    assert_eq!(outcome.of("t1").0, "undone");
    assert_eq!(tenants.each_ref().map(kind), ["stable", "stable"]);
    assert_eq!(tenants[1].boot_id(), untouched);
    poll::until_true("sshd listens again", || connect(&tenants[0], 22, "head -c 4 <&3").stdout == "SSH-");
}

#[test]
fn a_web_server_is_asked_for_its_status_alone_however_it_answers() {
    let host = versions::host();
    let _one = boot(&host, "t1", &[]);
    let before = resident(&host);
    for (port, reason) in [
        (8003, "it answers with status 404"),
        (8004, "no answer within 2 s"),
        (8005, "no answer within 2 s"),
        (8006, "it does not answer in HTTP"),
        (8007, "it does not answer in HTTP"),
        (8008, "it answers with status 100"),
        (8009, "it does not answer in HTTP"),
        (8010, "cannot connect to "),
    ] {
        let gate = format!("http:{port}/");
        let since = Instant::now();
        let outcome = rollout(&host, "t1", ":candidate", &["--gate", &gate, "--gate-timeout", "2s"]);
        outcome.has_failed(&format!("tenant \"t1\": gate {gate}: {reason}"));
        assert!(since.elapsed().as_secs() < 10, "{port}: {:?}", since.elapsed());
    }
    // A redirection is an answer, and is not followed; of a body that does not end nothing is read.
    rollout(&host, "t1", ":candidate", &["--gate", "http:8001/x", "--gate", "http:8002/"]).has_finished();
    assert!(resident(&host) < before + (32 << 10), "{before} KiB, then {} KiB", resident(&host));
}

#[test]
fn a_command_that_never_answers_or_never_stops_talking_is_ended_with_all_that_it_began() {
    let host = versions::host();
    let one = boot(&host, "t1", &[]);
    let before = resident(&host);
    for (command, reason) in [
        ("sleep 98765", "no answer within 2 s"),
        ("cat /dev/zero", "it prints more than 1 MiB"),
        ("trap '' TERM HUP INT; while :; do sleep 98765; done", "no answer within 2 s"),
    ] {
        let gate = format!("exec:{command}");
        let outcome = rollout(&host, "t1", ":candidate", &["--gate", &gate, "--gate-timeout", "2s"]);
        outcome.has_failed(reason);
    }
    let left = || one.says("pgrep -fa 'sleep 98765|cat /dev/zero' | grep -v pgrep || true");
    poll::until("the commands have ended", || left().is_empty().then_some(()));
    let clients =
        || host.run("pgrep", &["-f", &format!("tenant --root {} exec", host.root().display())]).output();
    poll::until_true("so have their clients", || clients().stdout.is_empty());
    assert!(resident(&host) < before + (32 << 10), "{before} KiB, then {} KiB", resident(&host));
    let said = ["--gate", "exec:printf 'no\\033[2J\\nmore\\n' >&2; exit 3", "--gate-timeout", "300ms"];
    rollout(&host, "t1", ":candidate", &said).has_failed("it ended with 3: no[2J");
}

#[test]
fn processes_that_are_killed_for_memory_and_a_reboot_stop_the_wave_and_are_undone() {
    let host = versions::host();
    let tenants = ["t1", "t2"].map(|name| boot(&host, name, &["--set", "memory_max=\"256M\""]));
    let untouched = tenants[1].boot_id();
    for (version, reason) in [
        (":hungry", "tenant \"t1\": the kernel killed 1 of its processes because its memory was used up"),
        (":rebooting", "tenant \"t1\": it rebooted"),
        // Seen after its first reboot, or after the last one that its supervisor lets it do.
        (":looping", " rebooted"),
    ] {
        let outcome = rollout(&host, "t1 t2", version, &["--waves", "1,100%", "--bake", "20s"]);
        outcome.has_failed(reason);
        assert_eq!(outcome.of("t1").0, "undone", "{:#}", outcome.rollout);
        poll::until_true("it is up with what it had", || {
            tenants[0].phase() == "running"
                && tenants[0].shell("cat /usr/lib/fix/kind").output().stdout.trim() == "stable"
        });
        tenants[0].says("systemctl restart fix-watch");
    }
    assert_eq!((kind(&tenants[1]), tenants[1].boot_id()), ("stable".to_owned(), untouched));
}

#[test]
fn tenants_that_an_admin_freezes_stops_destroys_or_restarts_while_a_gate_is_asked_hold_nothing_up() {
    let host = versions::host();
    let names = ["t1", "t2", "t3", "t4", "t5"];
    let tenants = names.map(|name| boot(&host, name, &[]));
    let gate = "exec:until test -e /run/go; do sleep 0.1; done";
    let words = [&START[..], &names, &["--to", ":candidate", "--waves", "100%", "--gate", gate, "--watch"]];
    let mut watched = Running::start(&host.ctl(&[&words.concat()[..], &["--gate-timeout", "5m"]].concat()));
    let is_asked = |tenant: &Tenant<'_>| tenant.shell("pgrep -f 'until test'").output().status.success();
    for tenant in &tenants {
        poll::until_true("it is asked", || is_asked(tenant));
    }
    host.ctl(&["freeze", "t1"]).ok();
    tenants[1].stop();
    host.ctl(&["destroy", "t3", "--force", "--yes"]).ok();
    host.ctl(&["restart", "t4"]).ok();
    for tenant in &tenants[3..] {
        tenant.says("touch /run/go");
    }
    poll::until_true("it is over", || !watched.goes_on());
    let outcome = Outcome { rollout: last(&host), code: 0 };
    outcome.has_finished();
    for (name, note) in [("t1", "it is frozen"), ("t2", "it is not running")] {
        let (state, said) = outcome.of(name);
        assert!(
            state == "passed" && said.ends_with(&format!("{note}: its gates were not asked")),
            "{name}: {said}"
        );
    }
    assert_eq!(outcome.of("t3").0, "gone");
    assert_eq!([outcome.of("t4").0, outcome.of("t5").0], ["passed", "passed"]);
    host.ctl(&["thaw", "t1"]).ok();
    tenants[1].start();
    assert_eq!([&tenants[0], &tenants[1]].map(kind), ["candidate", "candidate"]);
}
