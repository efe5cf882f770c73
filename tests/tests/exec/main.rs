//! Programs that join a running tenant: their powers, their streams, their end.

mod streams;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use tenantry_tests::{Host, Run, Running, Tenant, Terminal, poll};

/// More than any machine takes to carry what lies in a pipe.
const SOON: Duration = Duration::from_secs(20);

/// A program in front of a command.
fn before(words: &[&str], run: &Run) -> Run {
    let mut all = Run::new(words[0], &words[1..]).args(run.words());
    for (key, value) in run.command().get_envs() {
        all = all.env(&key.to_string_lossy(), value.unwrap_or_default());
    }
    all
}

/// The same command in a pipeline of bash(1), as `"$@"`.
fn in_bash(script: &str, run: &Run) -> Run {
    before(&["bash", "-c", script, "bash"], run)
}

/// What a process inside can do, next to the same of init.
const POWERS: &str =
    "for p in self 1; do grep -E '^(CapBnd|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/$p/status; done";

/// Asserts that a process has no more power than init; the bounding set of both.
fn assert_powers(said: &str) -> u64 {
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 8, "{said}");
    assert_eq!(lines[..4], lines[4..], "own powers and those of init");
    let set = lines[0].strip_prefix("CapBnd:").expect("the bounding set comes first");
    u64::from_str_radix(set.trim(), 16).expect("a mask")
}

const NET_RAW: u64 = 1 << 13;

#[test]
fn a_command_has_the_powers_of_the_start_and_not_those_of_todays_files() {
    let host = Host::start();
    let options = [
        "--image",
        "busybox",
        "--set",
        r#"drop_capabilities=["CAP_NET_RAW"]"#,
        "--set",
        r#"env={MARK="first"}"#,
    ];
    let alice = host.boot("alice", &options);
    let look = || {
        assert_eq!(assert_powers(&alice.says(POWERS)) & NET_RAW, 0);
        assert_eq!(alice.says("echo $MARK"), "first");
    };
    look();
    // For the next start.
    alice.ctl("set", &["drop_capabilities=[]", r#"env={MARK="second"}"#]).ok();
    look();
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("{text}\n?\n")).expect("it can be spoilt");
    look();
    fs::write(&file, text).expect("it can be put right");
    alice.ctl("restart", &[]).ok();
    assert_ne!(assert_powers(&alice.says(POWERS)) & NET_RAW, 0);
    assert_eq!(alice.says("echo $MARK"), "second");
}

#[test]
fn joined_processes_lack_the_capabilities_that_init_dropped() {
    let host = Host::start();
    let init = r#"init=["/usr/bin/setpriv","--bounding-set=-net_raw","--no-new-privs","--","/sbin/init"]"#;
    let alice = host.boot("alice", &["--set", init]);
    assert_eq!(assert_powers(&alice.says(POWERS)) & NET_RAW, 0);
    assert_powers(&alice.ctl("shell", &[]).stdin(format!("{POWERS}\n")).ok().stdout);
    // A login on a tty, too.
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "login:");
    terminal.type_in("root\r");
    terminal.type_until("\r", "alice:~#");
    terminal.type_in("grep -h CapBnd /proc/self/status /proc/1/status | sort -u | wc -l | sed s/^/sets:/\r");
    terminal.expect("sets:1");
}

#[test]
fn a_tenant_without_the_right_to_change_ids_can_be_entered() {
    let host = Host::start();
    let dropped = r#"drop_capabilities=["CAP_SETUID","CAP_SETGID","CAP_SETPCAP"]"#;
    let init = r#"init=["/bin/sleep","1000"]"#;
    let alice =
        host.boot("alice", &["--image", "busybox", "--set", dropped, "--set", init, "--set", "ready=exec"]);
    assert_eq!(alice.says("id -u"), "0");
    assert_powers(&alice.says(POWERS));
    let said =
        alice.ctl("exec", &["-u", "nobody", "--", "grep", "-E", "Cap(Eff|Prm)", "/proc/self/status"]).ok();
    assert!(said.stdout.lines().all(|line| line.ends_with("0000000000000000")), "{}", said.stdout);
}

#[test]
fn a_command_takes_nothing_along_of_its_callers_standing() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let own =
        alice.shell("ulimit -Sn; cut -d' ' -f19,41 /proc/self/stat; cut -d' ' -f19,41 /proc/1/stat").ok();
    let [files, standing, init] = own.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", own.stdout)
    };
    assert_eq!(standing, init);
    for caller in [
        &["prlimit", "--nofile=77:"][..],
        &["nice", "-n", "7"],
        &["nice", "-n", "-7"],
        &["chrt", "--rr", "5"],
        &["chrt", "--idle", "0"],
        &["ionice", "-c", "1", "-n", "0"],
        &["taskset", "-c", "0"],
    ] {
        let script = "ulimit -Sn; cut -d' ' -f19,41 /proc/self/stat; grep Cpus_allowed: /proc/self/status /proc/1/status";
        let said = before(caller, &alice.shell(script)).ok();
        let [theirs, nice, cpus, of_init] = said.stdout.lines().collect::<Vec<_>>()[..] else {
            panic!("{said:?}")
        };
        assert_eq!(theirs, files, "{caller:?}");
        // SCHED_IDLE is less than init has.
        if caller[1] != "--idle" {
            assert_eq!(nice, standing, "{caller:?}");
        }
        let mask = |line: &str| line.rsplit(':').next().map(|mask| mask.trim().to_owned());
        assert_eq!(mask(cpus), mask(of_init), "{caller:?}");
    }
    // What the kernel is to kill first: never later than init.
    fs::write(format!("/proc/{}/oom_score_adj", alice.pids().0), "300").expect("it can be raised");
    let score: i32 = alice.says("cat /proc/self/oom_score_adj").parse().expect("a number");
    assert!(score >= 300, "{score}");
}

#[test]
fn a_command_can_open_its_streams_again() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let script =
        "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin; ls -l /proc/self/fd/1 > /dev/null";
    let file = host.path("file");
    for user in ["root", "nobody"] {
        let run = || alice.ctl("exec", &["-u", user, "--", "/bin/sh", "-c", script]);
        let said = run().stdin("typed\n").ok();
        assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\ntyped\n", "err\n"), "{user}, pipes");
        // Files of the host, which are opened again with another position: nothing is lost by that.
        let path = file.to_string_lossy();
        in_bash(&format!(r#"echo typed | "$@" > {path} 2>&1"#), &run()).ok();
        let written = fs::read_to_string(&file).expect("the file");
        let mut lines: Vec<&str> = written.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "out", "typed"], "{user}, a file");
        let terminal = Terminal::open(&run());
        poll::until_true("both are shown", || {
            let shown = terminal.shown();
            shown.contains("out") && shown.contains("err")
        });
    }
}

#[test]
fn what_a_command_leaves_running_does_not_hold_the_caller() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let said = alice.shell("sleep 300 & echo started").limit(SOON).ok();
    assert_eq!(said.stdout, "started\n");
    // What is written a moment after the end is not lost, unless the machine is too busy for the moment.
    let script = "{ while kill -0 $$; do :; done 2> /dev/null; echo late; } & echo started";
    poll::until_true("what is late arrives", || {
        let said = alice.shell(script).limit(SOON).ok().stdout;
        assert!(said.starts_with("started\n"), "{said}");
        said == "started\nlate\n"
    });
    // Nor does what writes without an end, into a pipe, a file or a terminal.
    let script = "trap '' PIPE HUP; yes & exit 3";
    assert_eq!(alice.shell(script).limit(SOON).output().code(), 3);
    for redirection in ["> /dev/null", "| head -c 100000 > /dev/null; exit ${PIPESTATUS[0]}"] {
        let run = in_bash(&format!(r#""$@" {redirection}"#), &alice.shell(script));
        assert_eq!(run.limit(SOON).output().code(), 3, "{redirection}");
    }
    let said = alice.ctl("exec", &["-t", "--", "/bin/sh", "-c", script]).limit(SOON).output();
    assert_eq!(said.code(), 3);
    // It was there all the time.
    assert_eq!(alice.says("pidof sleep | wc -w"), "1");
}

/// How many processes inside have these words in their command line, the one that asks left out.
fn count(tenant: &Tenant<'_>, words: &str) -> usize {
    let (head, tail) = words.split_at(1);
    let script = format!(
        "for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $p; echo; done 2>/dev/null | grep -c '[{head}]{tail}'; true"
    );
    tenant.says(&script).parse().expect("a number")
}

#[test]
fn a_client_that_is_killed_takes_its_command_along() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.says("cp /bin/busybox /root/busybox-marked");
    let script = "trap '' HUP PIPE TERM; /root/busybox-marked sleep 1000; /root/busybox-marked sleep 1001";
    for options in [&["--no-tty"][..], &["--tty"], &["--no-tty", "-u", "nobody"]] {
        alice.says("chmod 755 /root /root/busybox-marked");
        let mut client = alice.ctl("exec", options).args(["--", "/bin/sh", "-c", script]).spawn();
        poll::until_true("the command runs", || count(&alice, "busybox-marked sleep 1000") > 0);
        client.kill().expect("the client runs");
        client.wait().expect("it is ours");
        poll::until_true("all of the command ends", || count(&alice, "busybox-marked") == 0);
    }
    // A daemon that the command has left behind is not part of it.
    let daemon = "touch /run/apart; exec /root/busybox-marked sleep 1002";
    let script = format!("setsid sh -c '{daemon}' & /root/busybox-marked sleep 1003");
    let mut client = alice.shell(&script).spawn();
    poll::until_true("both run", || alice.shell("test -e /run/apart").output().status.success());
    client.kill().expect("the client runs");
    client.wait().expect("it is ours");
    poll::until_true("the command ends", || count(&alice, "busybox-marked sleep 1003") == 0);
    assert_eq!(count(&alice, "busybox-marked sleep 1002"), 1);
}

#[test]
fn a_window_that_changes_its_size_does_so_inside() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done";
    let mut terminal = Terminal::open(&alice.shell(script));
    terminal.expect("24 80");
    let tty = format!("/proc/{}/fd/0", terminal.pid());
    Run::new("stty", ["-F", &tty, "rows", "33", "cols", "111"]).ok();
    terminal.expect("33 111");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.ended(), 128 + 2);
}

#[test]
fn who_is_not_root_is_told_so_and_nothing_else() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let outsider = Tenant::new(&host, "outsider");
    for tenant in [&alice, &outsider] {
        for run in [tenant.exec(&["id"]), tenant.ctl("shell", &[]), tenant.ctl("logs", &["--journal"])] {
            let said = before(&as_nobody, &run).output().refused(1);
            assert!(said.contains("root"), "{said}");
            assert!(!said.contains(&*host.root().to_string_lossy()) && !said.contains("os error"), "{said}");
        }
    }
}

#[test]
fn errors_are_told_in_words() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    for (options, words) in [
        (
            &["--", "/no/such"][..],
            "cannot execute \"/no/such\" inside the tenant: No such file or directory\n",
        ),
        (&["--", "/etc"], "cannot execute \"/etc\" inside the tenant: Permission denied\n"),
        (
            &["-w", "/nowhere", "--", "true"],
            "cannot enter the directory \"/nowhere\" inside the tenant: No such",
        ),
        (&["-u", "nosuch", "--", "true"], "the tenant has no user \"nosuch\"\n"),
    ] {
        let said = alice.ctl("exec", options).output();
        assert!(said.stderr.contains(words) && !said.stderr.contains("os error"), "{}", said.stderr);
        assert_ne!(said.code(), 0);
    }
}

#[test]
fn a_command_needs_no_hostd() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    host.kill_hostd();
    assert_eq!(alice.says("echo inside"), "inside");
    assert_eq!(alice.ctl("shell", &[]).stdin("exit 5\n").output().code(), 5);
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "login");
    Tenant::new(&host, "nobody").exec(&["true"]).output().refused(3);
    host.start_hostd();
}

#[test]
fn a_record_that_is_gone_keeps_everybody_out() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let record = host.path("run/tenantry/tenants/alice/exec.json");
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&fs::metadata(&record).expect("a record")) & 0o777,
        0o600
    );
    fs::rename(&record, host.path("run/aside")).expect("it can be moved");
    let said = alice.shell("true").output().refused(1);
    assert!(said.contains("record"), "{said}");
    fs::rename(host.path("run/aside"), &record).expect("it can be moved back");
    alice.shell("true").ok();
    alice.stop();
    assert!(!record.exists());
}

#[test]
fn a_watcher_inside_finds_nothing_of_the_host_in_those_who_join() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.bring_probe();
    // Of the client's environment, its programs and its directory nothing is to be seen inside.
    let canary = format!("canary-{}", std::process::id());
    let bin = host.program("tenant");
    let marks = [host.root().as_os_str(), bin.parent().expect("a directory").as_os_str()];
    let marks: Vec<String> = marks.into_iter().map(|mark| mark.to_string_lossy().into_owned()).collect();
    let marks = format!("{canary},{}", marks.join(","));
    let mut spy = Running::start(&alice.exec(&["/root/probe", "spy", &marks]));
    spy.expect("watching");
    let hide = |run: Run| run.env("CANARY", &canary);
    for _ in 0..12 {
        hide(alice.exec(&["/bin/true"])).ok();
        hide(alice.shell("tty; read -r line; sleep 0.01; echo $line | cat >/dev/null")).stdin("x\n").output();
        hide(alice.ctl("exec", &["-t", "-u", "nobody", "--", "tty"])).ok();
        hide(alice.ctl("shell", &[])).stdin("exit 0\n").output();
        hide(alice.ctl("logs", &["--journal"])).output();
    }
    for tty in ["1", "2"] {
        let mut terminal = alice.console(&["-t", tty]);
        terminal.type_until("\r", "login:");
    }
    let report = spy.end();
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    assert_eq!(report["found"], serde_json::json!({}), "{report:#}");
    // It did look, and could see what it may.
    let at_least = |key: &str, least: u64| assert!(report[key].as_u64() >= Some(least), "{key}: {report:#}");
    at_least("processes", 60);
    at_least("memories", 20);
    at_least("descriptors", 60);
    at_least("traced", 2);
}
