//! A tenant that waits for its turn to boot is there: everybody sees it, and it answers.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::Duration,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, Running, Tenant, poll};

/// So many others that boot that it is nobody's turn, as long as this lives.
struct Crowd(Vec<(PathBuf, Flock<File>)>);

impl Crowd {
    fn on(host: &Host) -> Self {
        let dir = host.path("run/tenantry/turns");
        fs::create_dir_all(&dir).expect("the directory of the queue");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        // Beyond eight for each CPU nobody is let in, whatever the pressure on the host.
        let all = (0..8 * cpus).map(|number| {
            let path = dir.join(format!("0000-other{number}.booting"));
            let file = File::create(&path).expect("a file of the queue");
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno);
            (path, lock.expect("nobody else has it"))
        });
        Self(all.collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (path, _lock) in &self.0 {
            fs::remove_file(path).expect("a file of the queue can be removed");
        }
    }
}

/// A busybox tenant whose start waits.
fn queued<'a>(host: &'a Host, name: &str) -> (Tenant<'a>, Running) {
    let tenant = host.create(name, &["--image", "busybox"]);
    let start = Running::start(&tenant.ctl("start", &[]));
    tenant.awaits("queued");
    (tenant, start)
}

fn entries(host: &Host, name: &str) -> Vec<String> {
    let dir = fs::read_dir(host.path("run/tenantry/turns")).into_iter().flatten().flatten();
    let names = dir.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|entry| entry.contains(&format!("-{name}."))).collect()
}

#[test]
fn a_new_hostd_finds_a_tenant_that_waits_and_does_not_take_it_for_a_dead_one() {
    let host = Host::start();
    let crowd = Crowd::on(&host);
    let (alice, _start) = queued(&host, "alice");
    let supervisor = alice.run_state()["supervisor"].clone();
    host.kill_hostd();
    host.start_hostd();
    assert_eq!(alice.phase(), "queued", "{}", host.hostd_log());
    assert_eq!(alice.run_state()["supervisor"], supervisor);
    drop(crowd);
    alice.awaits("running");
    assert_eq!(alice.run_state()["supervisor"], supervisor);
    assert_eq!(alice.says("echo up"), "up");
}

#[test]
fn a_tenant_that_waits_is_up_for_destroy_and_no_fault_for_doctor() {
    let host = Host::start();
    let crowd = Crowd::on(&host);
    let (alice, _start) = queued(&host, "alice");
    host.kill_hostd();
    host.start_hostd();
    let said = alice.ctl("destroy", &["--yes"]).output().refused(4);
    assert!(said.contains("alice"), "{said}");
    let findings = host.ctl(&["--json", "doctor"]).output().json();
    let findings = findings["findings"].as_array().cloned().unwrap_or_default();
    let about: Vec<_> = findings.iter().filter(|finding| finding["tenant"] == "alice").collect();
    assert!(about.is_empty(), "{about:?}");
    host.ctl(&["doctor", "--repair"]).output();
    assert_eq!(alice.phase(), "queued", "doctor leaves it alone");
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    assert!(host.names().is_empty());
    assert_eq!(entries(&host, "alice"), [""; 0]);
    drop(crowd);
}

#[test]
fn a_tenant_that_waits_answers_on_both_sockets_and_its_console_says_why() {
    let host = Host::start();
    let crowd = Crowd::on(&host);
    let (alice, mut start) = queued(&host, "alice");
    let status = host.tool("tenant", &["control", "alice", "status"]).limit(Duration::from_secs(10)).ok();
    assert_eq!(status.json()["state"]["phase"], "queued", "{}", status.stdout);
    let mut terminal = alice.console(&[]);
    terminal.expect("is waiting to boot");
    drop(crowd);
    alice.awaits("running");
    // The same visit goes on with the console of the boot.
    terminal.type_until("\r", "login:");
    poll::until_true("the start returns", || !start.goes_on());
}

/// How often a process has waited for something, see `voluntary_ctxt_switches` in proc_pid_status(5).
fn waits(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("the kernel counts them")
}

#[test]
fn a_tenant_that_waits_leaves_the_cpu_to_those_that_boot() {
    let host = Host::start();
    let crowd = Crowd::on(&host);
    let (alice, _start) = queued(&host, "alice");
    let supervisor = alice.run_state()["supervisor"]["pid"].as_i64().expect("it has a supervisor");
    let supervisor = i32::try_from(supervisor).expect("a process id");
    let before = waits(supervisor);
    std::thread::sleep(Duration::from_secs(1));
    // It looks every 50 ms whether it is its turn.
    let woken = waits(supervisor) - before;
    assert!((1..100).contains(&woken), "it was woken up {woken} times in a second");
    drop(crowd);
    alice.awaits("running");
}

#[test]
fn a_tenant_that_waits_is_stopped_or_killed_at_once() {
    let host = Host::start();
    let crowd = Crowd::on(&host);
    for (name, verb) in [("alice", "stop"), ("bob", "kill")] {
        let (tenant, mut start) = queued(&host, name);
        let done = tenant.ctl(verb, &[]).limit(Duration::from_secs(20)).ok();
        assert!(done.took < Duration::from_secs(10), "{verb} took {:?}", done.took);
        poll::until_true("the start returns", || !start.goes_on());
        poll::until_true("the start says why", || {
            let said = start.lines().join("\n");
            said.contains("stopped before it was ready") && said.contains("help:")
        });
        assert_eq!(tenant.phase(), "stopped");
        assert_eq!(entries(&host, name), [""; 0]);
    }
    drop(crowd);
    let alice = Tenant::new(&host, "alice");
    alice.start();
    assert_eq!(alice.says("echo up"), "up");
}

#[test]
fn what_dead_ones_left_in_the_queue_goes_with_the_next_stop_or_death() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    assert_eq!(entries(&host, "alice"), [""; 0]);
    let leave = || {
        for entry in ["0100-alice.booting", "0900-alice.waiting"] {
            fs::write(host.path("run/tenantry/turns").join(entry), "").expect("an entry of a dead one");
        }
    };
    leave();
    alice.stop();
    assert_eq!(entries(&host, "alice"), [""; 0]);
    alice.start();
    leave();
    kill(Pid::from_raw(alice.pids().1), Signal::SIGKILL).expect("the supervisor runs");
    poll::until_true("alice is down", || alice.phase() != "running");
    assert_eq!(entries(&host, "alice"), [""; 0]);
}
