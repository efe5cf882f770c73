//! A stop takes as long as it is told, asks each init in its own way, and says when it had to kill.

use std::{fs, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, Run, Running, Tenant, poll};

/// An init that hears nothing.
const DEAF: &str = r#"init=["/bin/sh","-c","trap '' TERM PWR INT USR1 USR2; while :; do sleep 1; done"]"#;

/// Far more than a takedown needs, and far less than the limits that are not meant.
const SOON: Duration = Duration::from_secs(15);

fn deaf<'a>(host: &'a Host, name: &str) -> Tenant<'a> {
    host.boot(name, &["--image", "busybox", "--set", DEAF])
}

#[test]
fn a_stop_takes_as_long_as_it_is_told_and_says_that_it_killed() {
    let host = Host::start();
    let alice = deaf(&host, "alice");
    let stopped = host.ctl(&["--json", "stop", "alice", "--timeout", "2"]).ok();
    assert!(stopped.took >= Duration::from_secs(2) && stopped.took < SOON, "{:?}", stopped.took);
    let killed = stopped.json()["killed"].as_str().unwrap_or_default().to_owned();
    assert!(killed.contains("within 2 s") && killed.contains("SIGUSR2"), "{}", stopped.stdout);
    assert_eq!((alice.phase().as_str(), alice.field("/killed")), ("stopped", killed));
    assert!(alice.ctl("show", &[]).ok().stdout.contains("killed        it did not stop within 2 s"));
    // The next boot knows nothing of it, and people are told as well.
    alice.start();
    assert_eq!(alice.show().get("killed"), None);
    let said = alice.ctl("stop", &["--timeout", "1"]).ok().stdout;
    assert!(said.starts_with("alice: stopped (") && said.contains("; killed: it did not stop"), "{said}");
}

#[test]
fn a_stop_that_worked_mentions_no_kill() {
    let host = Host::start();
    for image in ["busybox", "debian"] {
        let tenant = host.boot(image, &["--image", image]);
        let stopped = host.ctl(&["--json", "stop", image]).ok();
        assert_eq!(stopped.json().get("killed"), None, "{}", stopped.stdout);
        assert_eq!(tenant.run_state().get("killed"), None);
        tenant.start();
        // A kill is what was asked for.
        tenant.ctl("kill", &[]).ok();
        assert_eq!(tenant.run_state().get("killed"), None);
    }
}

#[test]
fn a_shorter_stop_shortens_the_one_before_it() {
    let host = Host::start();
    let alice = deaf(&host, "alice");
    for first in [&["--timeout", "100"][..], &[]] {
        let mut long = Running::start(&alice.ctl("stop", first));
        alice.awaits("stopping");
        let short = alice.ctl("stop", &["--timeout", "1"]).ok();
        assert!(short.took < SOON, "{:?}", short.took);
        assert!(short.stdout.contains("killed"), "{}", short.stdout);
        poll::within(SOON, "the first stop returns", || (!long.goes_on()).then_some(()));
        poll::until_true("it says that it killed", || long.lines().join("\n").contains("killed"));
        alice.start();
    }
}

#[test]
fn a_stop_does_not_wait_for_a_boot_that_never_ends() {
    let host = Host::start();
    let sleeper = r#"init=["/bin/sh","-c","trap 'exit 0' USR2; while :; do sleep 0.1; done"]"#;
    let set =
        ["--image", "busybox", "--set", sleeper, "--set", "ready=notify", "--set", "start_timeout_sec=300"];
    let alice = host.create("alice", &set);
    for words in [&["stop", "alice"][..], &["destroy", "alice", "--force", "--yes"]] {
        let mut start = Running::start(&alice.ctl("start", &[]));
        alice.awaits("booting");
        let done = host.ctl(words).limit(SOON).ok();
        assert!(!done.stdout.contains("killed"), "{}", done.stdout);
        poll::until_true("the start returns", || !start.goes_on());
        poll::until_true("the start says why", || start.lines().join("\n").contains("before it was ready"));
    }
    assert!(host.names().is_empty());
}

#[test]
fn reboots_do_not_stretch_a_start() {
    let host = Host::start();
    let restless = r#"init=["/bin/sh","-c","sleep 1; exec reboot -f"]"#;
    let set =
        ["--image", "busybox", "--set", restless, "--set", "ready=notify", "--set", "start_timeout_sec=4"];
    let alice = host.create("alice", &set);
    let refused = alice.ctl("start", &[]).limit(SOON).output();
    assert!(refused.took >= Duration::from_secs(4), "{:?}", refused.took);
    let said = refused.refused(1);
    assert!(said.contains("was not ready within 4 s"), "{said}");
    assert_eq!(alice.phase(), "failed");
    let boots = alice.run_state()["boots"].as_u64().expect("a number");
    assert!((2..=4).contains(&boots), "it rebooted: {boots} boots");
}

#[test]
fn a_longer_stop_than_the_files_is_given_its_time() {
    let host = Host::start();
    let slow = r#"init=["/bin/sh","-c","trap 'sleep 4; exit 0' USR2; while :; do sleep 0.1; done"]"#;
    let set = ["--image", "busybox", "--set", slow, "--set", "stop_timeout_sec=1"];
    let alice = host.boot("alice", &set);
    let stopped = host.ctl(&["--json", "stop", "alice", "--timeout", "60"]).ok();
    assert_eq!(stopped.json().get("killed"), None, "{}", stopped.stdout);
    assert!(stopped.took >= Duration::from_secs(3), "{:?}", stopped.took);
    assert_eq!(alice.phase(), "stopped");
}

#[test]
fn a_supervisor_that_hangs_does_not_stretch_a_stop() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    kill(Pid::from_raw(alice.pids().1), Signal::SIGSTOP).expect("the supervisor runs");
    let stopped = host.ctl(&["--json", "stop", "alice", "--timeout", "1"]).limit(SOON).ok();
    assert!(stopped.took < Duration::from_secs(8), "{:?}", stopped.took);
    assert!(
        stopped.json()["killed"].as_str().is_some_and(|why| why.contains("supervisor")),
        "{}",
        stopped.stdout
    );
    assert_eq!(host.run("ip", &["-brief", "link", "show", "type", "veth"]).ok().stdout, "");
    alice.start();
    assert_eq!(alice.says("echo up"), "up");
}

/// An image whose init is a script; `kind` is what its manifest says of it.
fn image(host: &Host, name: &str, kind: &str, script: &str) {
    host.another_version("busybox", name, |tree| {
        let init = tree.join("usr/sbin/init");
        fs::remove_file(&init).expect("the init of busybox");
        fs::write(&init, script).expect("an init of its own");
        Run::new("chmod", ["755"]).args([&init]).ok();
    });
    say_kind(&host.version(name).join("manifest.toml"), kind);
}

/// Has a manifest say which init there is, whatever was found out about it.
fn say_kind(manifest: &Path, kind: &str) {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let others = text.lines().filter(|line| !line.starts_with("init_kind"));
    let lines: Vec<&str> = others.collect();
    fs::write(manifest, format!("init_kind = \"{kind}\"\n{}\n", lines.join("\n")))
        .expect("it can be written");
}

/// What sysvinit does of it: process 1 reads what a second init writes to a FIFO. It takes no signal.
const SYSV: &str = "#!/bin/sh\n\
    if [ $$ != 1 ]; then echo \"$1\" > /run/initctl; exit; fi\n\
    trap 'echo power failed' PWR; trap '' TERM USR1 USR2 INT HUP\n\
    mkfifo /run/initctl\n\
    while :; do read level < /run/initctl && [ \"$level\" = 0 ] && echo runlevel 0 && exec busybox poweroff -f; done\n";

/// What runit does of it: SIGCONT has it look at a file.
const RUNIT: &str = "#!/bin/sh\n\
    if [ $$ != 1 ]; then [ \"$1\" = 0 ] && : > /run/stopit && exec kill -CONT 1; exit 1; fi\n\
    trap '' TERM USR1 USR2 INT HUP PWR\n\
    trap '[ -e /run/stopit ] && echo stage 3 && exec busybox poweroff -f' CONT\n\
    while :; do sleep 0.1; done\n";

/// What openrc-init does of it: SIGTERM halts, SIGINT reboots.
const OPENRC: &str = "#!/bin/sh\n\
    trap 'echo shutdown; exec busybox halt -f' TERM; trap '' USR1 USR2 HUP\n\
    while :; do sleep 0.1; done\n";

#[test]
fn each_init_is_asked_in_its_own_way() {
    let host = Host::bare();
    host.copy_images();
    host.start_hostd();
    for (kind, script, how, heard) in [
        ("sysv", SYSV, "stop        with `/sbin/init 0`", "runlevel 0"),
        ("runit", RUNIT, "stop        with `/sbin/init 0`", "stage 3"),
        ("openrc", OPENRC, "stop        with SIGTERM", "shutdown"),
    ] {
        image(&host, kind, kind, script);
        let tenant = host.boot(kind, &["--image", kind]);
        assert!(tenant.ctl("plan", &[]).ok().stdout.contains(how), "{kind}");
        let stopped = host.ctl(&["--json", "stop", kind, "--timeout", "60"]).ok();
        assert!(stopped.took < Duration::from_secs(30), "{kind}: {:?}", stopped.took);
        assert_eq!(stopped.json().get("killed"), None, "{kind}: {}", stopped.stdout);
        assert!(tenant.ctl("logs", &[]).ok().stdout.contains(heard), "{kind}");
        assert_eq!(tenant.run_state()["exit"], "poweroff", "{kind}");
    }
}

#[test]
fn a_stop_command_that_has_no_effect_is_told_and_the_tenant_killed() {
    let host = Host::bare();
    host.copy_images();
    host.start_hostd();
    let fails = "#!/bin/sh\n[ $$ != 1 ] && { echo no such runlevel; exit 3; }\nwhile :; do sleep 1; done\n";
    image(&host, "fails", "sysv", fails);
    let tenant = host.boot("fails", &["--image", "fails"]);
    let stopped = host.ctl(&["--json", "stop", "fails", "--timeout", "3"]).ok();
    assert!(stopped.took >= Duration::from_secs(3) && stopped.took < SOON, "{:?}", stopped.took);
    let why = stopped.json()["killed"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("`/sbin/init 0`: it exited with code 3"), "{}", stopped.stdout);
    assert!(tenant.ctl("logs", &[]).ok().stdout.contains("no such runlevel"));
    // One that hangs is not waited for either.
    let hangs = fails.replace("echo no such runlevel; exit 3", "exec sleep 1000");
    image(&host, "hangs", "sysv", &hangs);
    host.boot("hangs", &["--image", "hangs"]);
    let stopped = host.ctl(&["--json", "stop", "hangs", "--timeout", "2"]).ok();
    assert!(stopped.took < SOON && stopped.json()["killed"].is_string(), "{}", stopped.stdout);
}
