//! The life of a tenant: start, stop, reboot, and everything that can end it.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, guard::World, poll};

fn seconds(text: &str) -> f64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("seconds")
}

#[test]
fn a_debian_tenant_is_running_and_not_degraded() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    assert_eq!(alice.says("systemctl is-system-running"), "running");
    assert_eq!(alice.says("systemctl --failed --no-legend --plain"), "");
}

#[test]
fn a_busybox_tenant_runs_and_stops() {
    let host = Host::start();
    let tiny = host.boot("tiny", &["--image", "busybox"]);
    assert_eq!(tiny.says("hostname"), "tiny");
    tiny.stop();
    assert_eq!(tiny.phase(), "stopped");
}

#[test]
fn start_returns_when_the_boot_is_finished() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    assert_eq!(alice.phase(), "running");
    assert_eq!(alice.says("systemctl list-jobs --no-legend"), "");
}

#[test]
fn uptime_inside_starts_at_zero() {
    let host = Host::start();
    let alice = host.create("alice", &[]);
    let begin = Instant::now();
    alice.start();
    let inside = seconds(&alice.says("cat /proc/uptime"));
    let passed = begin.elapsed().as_secs_f64();
    assert!(inside <= passed + 1.0, "{inside} s of uptime, {passed} s after the start");
}

#[test]
fn create_and_start_twice_change_nothing() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let boot = alice.boot_id();
    let again = host.ctl(&["create", "alice", "--image", "busybox"]).ok();
    assert!(again.stdout.contains("unchanged"), "{}", again.stdout);
    let again = alice.ctl("start", &[]).ok();
    assert!(again.stdout.contains("unchanged"), "{}", again.stdout);
    assert_eq!(alice.boot_id(), boot);
}

#[test]
fn a_restart_keeps_what_the_tenant_wrote() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &[]));
    alice.says("echo from-alice > /etc/motd; echo kept > /root/file; echo gone > /run/file");
    assert!(!bob.says("cat /etc/motd").contains("from-alice"));
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("cat /etc/motd /root/file"), "from-alice\nkept");
    assert_eq!(alice.shell("test -e /run/file").output().code(), 1);
}

#[test]
fn a_reboot_from_inside_boots_in_the_same_supervisor() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let (boot, (_, supervisor)) = (alice.boot_id(), alice.pids());
    // The answer may be lost with the system that gives it.
    let _answer = alice.exec(&["/usr/bin/systemctl", "reboot"]).output();
    poll::until_true("alice boots again", || {
        let state = alice.run_state();
        state["phase"] == "running" && state["boots"] == 2
    });
    assert_ne!(alice.boot_id(), boot);
    assert_eq!(alice.pids().1, supervisor);
    assert_eq!(alice.says("systemctl is-system-running --wait"), "running");
}

#[test]
fn a_poweroff_from_inside_ends_the_tenant() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let (_, supervisor) = alice.pids();
    let _answer = alice.exec(&["systemctl", "poweroff"]).output();
    alice.awaits("stopped");
    poll::until_true("the supervisor ends", || kill(Pid::from_raw(supervisor), None).is_err());
    assert_eq!(alice.run_state()["exit"], "poweroff");
    alice.start();
    assert_eq!(alice.phase(), "running");
}

#[test]
fn the_exit_code_of_init_is_kept() {
    let host = Host::start();
    let set = ["--image", "busybox", "--set", r#"init=["/bin/sh","-c","exit 7"]"#];
    let brief = host.create("brief", &set);
    let _may_be_too_brief = brief.ctl("start", &[]).output();
    poll::until_true("init ends", || brief.phase() != "running");
    assert_eq!(brief.run_state()["exit"]["code"], 7);
}

#[test]
fn an_init_that_dies_at_once_is_reported_with_its_last_output() {
    let host = Host::start();
    let script = r#"init=["/bin/sh","-c","echo cannot go on; exit 3"]"#;
    let doomed = host.create("doomed", &["--image", "busybox", "--set", script, "--set", "ready=notify"]);
    let said = doomed.ctl("start", &[]).output().refused(1);
    assert!(said.contains("doomed") && said.contains("cannot go on"), "{said}");
    assert_ne!(doomed.phase(), "running");
}

#[test]
fn an_init_that_is_missing_is_named() {
    let host = Host::start();
    let doomed = host.create("doomed", &["--image", "busybox", "--set", r#"init=["/sbin/nothing"]"#]);
    let said = doomed.ctl("start", &[]).output().refused(1);
    assert!(said.contains("/sbin/nothing"), "{said}");
}

#[test]
fn a_boot_that_never_gets_ready_is_given_up() {
    let host = Host::start();
    let set = [
        "--image",
        "busybox",
        "--set",
        r#"init=["/bin/sleep","1000"]"#,
        "--set",
        "ready=notify",
        "--set",
        "start_timeout_sec=1",
    ];
    let stuck = host.create("stuck", &set);
    stuck.ctl("start", &[]).output().refused(1);
    poll::until_true("the stuck boot is taken down", || {
        !matches!(stuck.phase().as_str(), "running" | "booting" | "starting")
    });
}

#[test]
fn killing_hostd_disturbs_no_tenant() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &["--image", "busybox"]));
    host.create("carol", &["--image", "busybox"]);
    let boots = (alice.boot_id(), bob.boot_id());
    for _ in 0..10 {
        host.kill_hostd();
        host.start_hostd();
    }
    assert_eq!((alice.boot_id(), bob.boot_id()), boots);
    assert_eq!(host.names(), ["alice", "bob", "carol"]);
    let phases = ["alice", "bob", "carol"].map(|name| tenantry_tests::Tenant::new(&host, name).phase());
    assert_eq!(phases, ["running", "running", "stopped"]);
    assert_eq!(alice.says("systemctl is-system-running"), "running");
}

#[test]
fn a_tenant_runs_on_while_no_hostd_is_there() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    host.kill_hostd();
    let (init, supervisor) = alice.pids();
    for pid in [init, supervisor] {
        kill(Pid::from_raw(pid), None).expect("it runs");
    }
    let reboot = ["--all", &format!("--target={init}"), "/usr/bin/systemctl", "reboot"];
    let answer = host.run("nsenter", &reboot).limit(Duration::from_secs(20)).output();
    // The way to the answer may be gone before it is given.
    assert!(!answer.stderr.contains("failed to execute"), "{}", answer.stderr);
    poll::until_true("alice boots again without hostd", || {
        let state = alice.run_state();
        state["phase"] == "running" && state["boots"] == 2
    });
    host.start_hostd();
    assert_eq!(alice.phase(), "running");
}

#[test]
fn a_killed_supervisor_takes_its_tenant_along_and_the_next_start_works() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let (init, supervisor) = alice.pids();
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("the supervisor runs");
    poll::until_true("alice does not run", || alice.phase() != "running");
    alice.start();
    assert_ne!(alice.pids(), (init, supervisor));
    assert_eq!(alice.says("systemctl is-system-running"), "running");
}

#[test]
fn a_frozen_tenant_stands_still_until_it_is_thawed() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let mut ticking = alice.shell("while :; do date +%s%N > /run/tick; done").spawn();
    poll::until_true("the clock ticks", || alice.shell("test -s /run/tick").output().code() == 0);
    alice.ctl("freeze", &[]).ok();
    assert_eq!(alice.phase(), "frozen");
    alice.ctl("thaw", &[]).ok();
    assert_eq!(alice.phase(), "running");
    let before = alice.says("cat /run/tick");
    poll::until_true("the clock ticks again", || alice.says("cat /run/tick") != before);
    ticking.kill().expect("the client can be killed");
    ticking.wait().expect("the client can be waited for");
}

#[test]
fn kill_ends_a_tenant_that_does_not_listen() {
    let host = Host::start();
    let deaf = r#"init=["/bin/sh","-c","trap '' TERM PWR INT USR1 USR2; while :; do sleep 1; done"]"#;
    let deaf = host.boot("deaf", &["--image", "busybox", "--set", deaf]);
    deaf.ctl("kill", &[]).ok();
    deaf.awaits("stopped");
}

#[test]
fn stop_uses_force_after_its_deadline() {
    let host = Host::start();
    let deaf = r#"init=["/bin/sh","-c","trap '' TERM PWR INT USR1 USR2; while :; do sleep 1; done"]"#;
    let set = ["--image", "busybox", "--set", deaf, "--set", "stop_timeout_sec=1"];
    let deaf = host.boot("deaf", &set);
    deaf.stop();
    assert_eq!(deaf.phase(), "stopped");
}

#[test]
fn start_stop_destroy_leave_nothing() {
    let host = Host::start();
    let look = || {
        let links = host.run("ip", &["-brief", "link"]).ok().stdout;
        let routes = host.run("ip", &["route"]).ok().stdout + &host.run("ip", &["-6", "route"]).ok().stdout;
        let rules = host.run("nft", &["list", "ruleset"]).ok().stdout;
        let files = tenantry_tests::Run::new("find", [host.root()]).ok().stdout;
        // What a supervisor of another test made is not looked at: only what bears this root.
        (links, routes, rules, files)
    };
    // The first tenant makes what the host keeps: tables, slices, directories.
    let first = host.boot("first", &["--image", "busybox"]);
    first.ctl("destroy", &["--force", "--yes"]).ok();
    // A link goes with its network namespace, a moment after the last process.
    poll::until_true("its link is gone", || look().0.lines().count() == 1);
    let before = look();
    for round in 0..3 {
        let name = format!("t{round}");
        let tenant = host.boot(&name, &["--image", if round == 0 { "debian" } else { "busybox" }]);
        assert_ne!(look().0, before.0, "a running tenant has a link");
        tenant.stop();
        poll::until_true("a stopped tenant has no link", || look().0 == before.0);
        tenant.ctl("destroy", &["--yes"]).ok();
    }
    let after = look();
    assert_eq!(after.0, before.0, "links");
    assert_eq!(after.1, before.1, "routes");
    assert_eq!(after.2, before.2, "rules");
    assert_eq!(after.3, before.3, "files");
}

#[test]
fn a_host_that_is_taken_down_leaves_nothing() {
    let host = Host::start();
    let root = host.root().to_string_lossy().into_owned();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let cgroup = alice.field("/cgroup");
    let instance = cgroup.rsplit('/').nth(1).expect("a cgroup of this host").to_owned();
    let (init, supervisor) = alice.pids();
    let own = |world: World| {
        world.naming(&[&root, &instance, &format!("process {init} "), &format!("process {supervisor} ")])
    };
    let there = own(World::now(host.root()));
    assert!(there.len() > 3, "what is there of a host is seen: {there:?}");
    drop(host);
    assert_eq!(own(World::now(root.as_ref())), Vec::<String>::new());
}
