//! What the supervisor sees to while a tenant runs: memory, open files, who may ask it, logins.

use std::{fs, io::Read as _, os::unix::net::UnixStream, time::Duration};

use tenantry_tests::{Host, Run, Tenant, poll};

/// What the supervisor of a tenant has logged, where there is no journal.
fn logged(host: &Host, tenant: &Tenant<'_>) -> String {
    fs::read_to_string(host.path(format!("run/tenantry/tenants/{}/stderr", tenant.name())))
        .unwrap_or_default()
}

#[test]
fn a_process_that_was_killed_for_its_memory_leaves_a_trace() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "memory_max=64M"]);
    assert_eq!(alice.show().get("oom_kills"), None);
    // tail(1) keeps a line without end in memory.
    let hog = alice.shell("tail /dev/zero").output();
    assert_eq!(hog.code(), 137, "{}{}", hog.stdout, hog.stderr);
    poll::until_true("the kill is told", || alice.show()["oom_kills"] == 1);
    assert!(alice.ctl("show", &[]).ok().stdout.contains("oom kills     1"));
    poll::until_true("the kill is logged", || logged(&host, &alice).contains("killed 1 of its processes"));
    // It is still there when the tenant is not.
    alice.stop();
    assert_eq!(alice.show()["oom_kills"], 1);
    assert!(host.hostd_log().contains("the OOM killer killed 1 of its processes"), "{}", host.hostd_log());
    alice.start();
    assert_eq!(alice.show().get("oom_kills"), None, "another boot has its own count");
}

#[test]
fn an_init_that_was_killed_for_its_memory_is_told_as_that() {
    let host = Host::start();
    let hog = r#"init=["/bin/sh","-c","sleep 0.3; exec tail /dev/zero"]"#;
    let alice = host.create("alice", &["--image", "busybox", "--set", "memory_max=64M", "--set", hog]);
    let _may_be_too_brief = alice.ctl("start", &[]).output();
    poll::until_true("init was killed", || alice.run_state()["phase"] != "running");
    poll::until_true("the kill is told", || alice.show()["oom_kills"] == 1);
}

#[test]
fn a_supervisor_is_ended_for_its_memory_after_its_tenant() {
    let mut host = Host::bare();
    host.share_images();
    // More than others have, so that it can be told from what nobody has set.
    host.start_hostd_behind(&["choom", "-n", "200", "--"]);
    let alice = host.boot("alice", &["--image", "busybox"]);
    let score = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it is running");
    let (init, supervisor) = alice.pids();
    // Without CAP_SYS_RESOURCE nobody is given less than it has, and both have what hostd has.
    let may_lower = Run::new("choom", ["-n", "-1", "--", "true"]).output().status.success();
    let wanted = if may_lower { "-900\n" } else { "200\n" };
    assert_eq!([score(supervisor).as_str(), &score(init)], [wanted, "200\n"]);
    assert_eq!(alice.says("cat /proc/self/oom_score_adj"), "200");
    assert!(!alice.shell("echo -900 > /proc/self/oom_score_adj").output().status.success());
}

#[test]
fn a_tenant_has_its_own_limits_of_open_files_whatever_its_host_has() {
    let host = Host::start();
    // Without CAP_SYS_RESOURCE nobody raises the hard limit that this machine has set.
    let raise = "ulimit -Hn 524288 2>/dev/null || ulimit -Sn $(ulimit -Hn); ulimit -Hn";
    let most = Run::new("bash", ["-c", raise]).ok().text().to_owned();
    let (alice, bob) = (host.boot("alice", &["--image", "busybox"]), host.boot("bob", &[]));
    let limits = alice.says("grep 'open files' /proc/1/limits");
    let words: Vec<&str> = limits.split_ascii_whitespace().collect();
    assert_eq!((words[3], words[4]), ("1024", most.as_str()), "{limits}");
    // systemd raises its own soft limit, and gives services the one it was born with.
    let service = bob.says("systemd-run --quiet --wait --pipe sh -c 'ulimit -Sn; ulimit -Hn'");
    assert_eq!(service, format!("1024\n{most}"));
}

#[test]
fn idle_connections_do_not_block_others() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    // More than a supervisor has at a time, on each socket.
    let mut idle: Vec<UnixStream> = Vec::new();
    for (socket, count) in [("control.sock", 16), ("console.sock", 32)] {
        let path = host.path(format!("run/tenantry/tenants/alice/{socket}"));
        idle.extend((0..count).map(|_| UnixStream::connect(&path).expect("the supervisor listens")));
    }
    let asked = host.tool("tenant", &["control", "alice", "status"]).limit(Duration::from_secs(10)).ok();
    assert_eq!(asked.json()["state"]["phase"], "running");
    assert!(asked.took < Duration::from_secs(4), "{:?}", asked.took);
    let mut terminal = alice.console(&[]);
    terminal.type_until("\r", "login:");
    // The others were sent away, or still wait.
    for stream in &mut idle {
        stream.set_nonblocking(true).expect("a socket");
        let said = stream.read(&mut [0; 64]);
        assert!(!matches!(said, Ok(1..)), "{said:?}");
    }
}

#[test]
fn a_fifo_in_place_of_the_users_does_not_stretch_a_stop() {
    let host = Host::start();
    for (name, image) in [("alice", "busybox"), ("bob", "debian")] {
        let tenant = host.boot(name, &["--image", image]);
        let calm = tenant.ctl("stop", &[]).ok().took;
        tenant.start();
        tenant.says("mv /etc/passwd /etc/passwd.old && mkfifo /etc/passwd");
        let mut terminal = tenant.console(&[]);
        terminal.type_in("\r");
        let stopped = tenant.ctl("stop", &["--timeout", "60"]).ok();
        assert!(stopped.took < calm + Duration::from_secs(8), "{image}: {:?} and {calm:?}", stopped.took);
        assert!(!stopped.stdout.contains("killed"), "{}", stopped.stdout);
        drop(terminal);
    }
}
