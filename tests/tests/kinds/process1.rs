//! Process 1 of an app.

use super::*;

#[test]
fn process_1_of_an_app_cannot_be_looked_into() {
    let host = Host::start();
    let alice = host.boot("alice", &app("app-plus", r#"init=["/bin/sleep","1000"]"#));
    let _console = alice.console(&["-t", "1"]);
    let foreign = [host.root().to_string_lossy().into_owned(), "tenantry".to_owned(), "target/".to_owned()];
    for secret in ["exe", "cwd", "root"] {
        let said = alice.shell(&format!("readlink /proc/1/{secret}")).output();
        assert!(!said.status.success(), "{secret}: {}", said.stdout);
    }
    for secret in ["mem", "environ", "maps", "smaps", "auxv", "io", "pagemap", "syscall", "stack"] {
        let said =
            alice.shell(&format!("head -c 1 /proc/1/{secret} && head -c 100 /proc/1/{secret}")).output();
        assert!(said.stdout.is_empty(), "{secret}: {}", said.stdout);
    }
    for dir in ["fd", "fdinfo", "map_files", "ns", "task/1/fd", "net/../fd"] {
        let said = alice.shell(&format!("ls -l /proc/1/{dir} | grep -e '->'")).output();
        assert!(said.stdout.is_empty(), "{dir}: {}", said.stdout);
    }
    let open = "cmdline comm status stat statm mountinfo mounts cgroup limits sched wchan oom_score";
    for file in open.split(' ') {
        let text = alice.shell(&format!("cat /proc/1/{file} /proc/1/task/1/{file}")).output().stdout;
        let leak =
            foreign.iter().find(|mark| file != "mountinfo" && file != "mounts" && text.contains(*mark));
        assert!(leak.is_none(), "{file} tells {leak:?}: {text}");
    }
    assert_eq!(alice.says("cat /proc/1/comm; tr -d '\\0' < /proc/1/cmdline"), "init\ninit");
    // It is under the restrictions of everything else inside.
    let seen = alice.probe(&["process", "descriptors"]);
    let (own, init) = (&seen["process"]["status"], &seen["process"]["init_status"]);
    for key in ["CapBnd", "CapPrm", "Seccomp", "Seccomp_filters", "Uid", "Gid"] {
        assert_eq!(own[key], init[key], "{key}");
    }
    for (pid, links) in seen["descriptors"].as_object().expect("processes") {
        for (name, target) in links.as_object().expect("links") {
            let target = target.as_str().expect("a path");
            let leak = foreign.iter().find(|mark| target.contains(mark.as_str()));
            assert!(leak.is_none() && !target.contains("(unreachable)"), "process {pid}: {name} is {target}");
        }
    }
    // As the host sees it: the console and nothing else is open.
    let (init, _) = alice.pids();
    let fds = fs::read_dir(format!("/proc/{init}/fd")).expect("the host may look");
    let mut fds: Vec<String> =
        fds.flatten().map(|fd| fs::read_link(fd.path()).expect("a link").display().to_string()).collect();
    fds.dedup();
    assert_eq!(fds, ["/dev/pts/0"]);
    // And from inside it cannot be killed.
    let _no = alice.shell("kill -9 1; kill -SEGV 1; kill -STOP 1; true").output();
    assert_eq!(alice.says("echo alive"), "alive");
}

#[test]
fn process_1_of_an_app_is_small() {
    let host = Host::start();
    let alice = host.boot("alice", &app("app", r#"init=["/bin/sleep","1000"]"#));
    let (init, _) = alice.pids();
    let rollup = fs::read_to_string(format!("/proc/{init}/smaps_rollup")).expect("the host may look");
    let kib = |key: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(key)).expect("a line");
        line.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    };
    let own = kib("Private_Dirty:") + kib("Private_Clean:");
    eprintln!("process 1: {own} KiB private, executed after {} us", alice.field("/exec_us"));
    assert!(own <= 600, "{own} KiB\n{rollup}");
}

#[test]
fn process_1_of_an_app_reaps_and_passes_signals_on() {
    let host = Host::start();
    let script = "trap 'echo HUP >> /tmp/heard' HUP; trap 'echo USR1 >> /tmp/heard' USR1; \
                  trap 'echo TERM; exit 7' TERM; echo ready > /tmp/heard; while :; do sleep 0.02; done";
    let init = format!("init=[\"/bin/sh\",\"-c\",{script:?}]");
    let alice = host.boot("alice", &app("app", &init));
    let heard = || alice.shell("cat /tmp/heard").output().stdout;
    poll::until_true("it is ready", || heard().contains("ready"));
    alice.ctl("kill", &["--signal", "SIGHUP"]).ok();
    poll::until_true("it heard SIGHUP", || heard().contains("HUP"));
    alice.says("kill -USR1 1");
    poll::until_true("it heard SIGUSR1", || heard().contains("USR1"));
    // Orphans become children of process 1, and none stays a zombie.
    alice.says("for i in 1 2 3 4 5; do (sleep 0.05 > /dev/null 2>&1 & sleep 0.01 > /dev/null 2>&1 &) ; done; (sleep 500 > /dev/null 2>&1 &)");
    let orphan =
        alice.says("for p in /proc/[0-9]*; do grep -q 500 $p/cmdline && grep PPid $p/status; done; true");
    assert_eq!(orphan.lines().next(), Some("PPid:\t1"), "{orphan}");
    // A process may end between the listing and the look at it.
    poll::until_true("no zombie is left", || {
        !alice.shell("cat /proc/[0-9]*/stat 2>/dev/null").output().stdout.contains(") Z ")
    });
    // Its end takes everything else along.
    alice.stop();
    assert_eq!((alice.phase().as_str(), exit_code(&alice)), ("stopped", 7.into()));
    assert!(alice.ctl("logs", &[]).ok().stdout.contains("TERM"));
}
