//! Verbs on tenants that are parked, and supervisors and hostd that end meanwhile.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, poll};

use super::{IDLE, greets, is_frozen, parked, woken_by};

#[test]
fn any_tenant_can_be_parked_and_woken_by_hand() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    assert!(alice.ctl("park", &[]).ok().stdout.contains("parked"));
    assert!(alice.phase() == "parked" && is_frozen(&alice));
    assert!(alice.ctl("park", &[]).ok().stdout.contains("unchanged"));
    alice.ctl("wake", &[]).ok();
    assert_eq!((alice.phase().as_str(), woken_by(&alice).as_str()), ("running", "admin"));
    assert!(alice.ctl("wake", &[]).ok().stdout.contains("unchanged"));
    alice.ctl("park", &[]).ok();
    assert_eq!(alice.says("echo up"), "up");
    let _session = tenantry_tests::Running::start(&alice.exec(&["sleep", "1000"]));
    poll::until_true("it is in", || alice.says("pgrep -c -x sleep || true") == "1");
    let refused = alice.ctl("park", &[]).output().refused(4);
    assert!(refused.contains("a user or a command is in it"), "{refused}");
}

#[test]
fn a_frozen_tenant_and_a_parked_one_are_told_apart() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    alice.ctl("freeze", &[]).ok();
    assert_eq!(alice.phase(), "frozen");
    let address = alice.field("/ipv4");
    // Its kernel takes the connection, and no process of it says anything before it is thawed.
    assert!(super::greeting_within(&host, &address, 22, std::time::Duration::from_secs(1)).is_err());
    assert_eq!(alice.phase(), "frozen");
    assert!(alice.exec(&["true"]).output().refused(4).contains("frozen"));
    alice.ctl("thaw", &[]).ok();
    assert_eq!(alice.phase(), "running");
    alice.awaits("parked");
    alice.ctl("thaw", &[]).ok();
    assert_eq!((alice.phase().as_str(), woken_by(&alice).as_str()), ("running", "admin"));
    greets(&host, &address, 22);
}

#[test]
fn a_parked_tenant_is_stopped_restarted_killed_and_destroyed_like_another() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    let stopped = alice.ctl("stop", &[]).ok().stdout;
    assert!(!stopped.contains("killed"), "{stopped}");
    assert_eq!(alice.phase(), "stopped");
    alice.start();
    alice.awaits("parked");
    let boot = alice.boot_id();
    alice.ctl("restart", &[]).ok();
    assert_ne!(alice.boot_id(), boot);
    alice.awaits("parked");
    alice.ctl("kill", &[]).ok();
    alice.awaits("stopped");
    alice.start();
    alice.awaits("parked");
    alice.ctl("destroy", &["--force", "--yes"]).ok();
}

#[test]
fn hostd_finds_a_parked_tenant_and_leaves_it_parked() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    let since = alice.show()["parked_ms"].clone();
    host.kill_hostd();
    let address = alice.run_state()["supervisor"]["pid"].clone();
    host.start_hostd();
    assert_eq!((alice.phase().as_str(), alice.show()["parked_ms"].clone()), ("parked", since));
    assert_eq!(alice.run_state()["supervisor"]["pid"], address);
    // It wakes without hostd.
    let ipv4 = alice.field("/ipv4");
    host.kill_hostd();
    greets(&host, &ipv4, 22);
    assert_eq!(alice.run_state()["phase"], "running");
    host.start_hostd();
    assert_eq!(woken_by(&alice), "packet");
}

#[test]
fn a_supervisor_that_is_killed_takes_its_parked_tenant_with_it() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    let (_, supervisor) = alice.pids();
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("it runs");
    poll::until_true("it is down", || ["stopped", "failed"].contains(&alice.phase().as_str()));
    alice.start();
    assert_eq!(alice.says("echo up"), "up");
}

#[test]
fn a_tenant_is_parked_by_its_file_from_its_next_start() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let [_, idle, _, after] = IDLE;
    alice.ctl("set", &[idle, after]).ok();
    assert!(alice.show()["pending"] == true);
    alice.ctl("restart", &[]).ok();
    alice.awaits("parked");
}
