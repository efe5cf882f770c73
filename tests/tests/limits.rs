//! Limits: what a tenant cannot take, and what this host cannot promise.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use tenantry_tests::Host;

#[test]
fn memory_beyond_the_limit_is_not_had_and_the_tenant_lives_on() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "memory_max=64M"]);
    alice.bring_probe();
    let boot = alice.boot_id();
    let eaten = alice.probe_again(&["eat", "256"]);
    let last: u32 = eaten.text().lines().last().and_then(|line| line.parse().ok()).unwrap_or_default();
    assert_eq!(eaten.code(), 128 + 9, "the out-of-memory killer ends it");
    assert!((16..=64).contains(&last), "{last} MiB were had");
    assert_eq!(alice.boot_id(), boot);
    assert_eq!(alice.says("echo alive"), "alive");
}

#[test]
fn tasks_beyond_the_limit_are_not_had() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "tasks_max=60"]);
    alice.bring_probe();
    let started: u32 = alice.probe_again(&["fork", "500"]).text().parse().expect("a number");
    assert!((20..=60).contains(&started), "{started} tasks were had");
}

#[test]
fn cpu_time_beyond_the_quota_is_not_had() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "cpu_quota=20%"]);
    let begin = Instant::now();
    alice.says("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
    let used = alice.says("cat /proc/self/schedstat; times");
    let wall = begin.elapsed().as_secs_f64();
    let quick = {
        alice.ctl("set", &["cpu_quota=100%"]).ok();
        let begin = Instant::now();
        alice.says("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
        begin.elapsed().as_secs_f64()
    };
    assert!(wall > quick * 1.5, "{wall} s at 20%, {quick} s at 100%; {used}");
}

/// The file of the kernel that a limit of a running tenant is in.
fn file_of(host: &Host, key: &str) -> PathBuf {
    let explained = host.ctl(&["--json", "explain", "alice"]).ok().json();
    let lines = explained.as_array().expect("lines");
    let line = lines.iter().find(|line| line["key"] == key).expect("a line for the key");
    let note = line["note"].as_str().expect("a note");
    note.strip_prefix("through ").unwrap_or_else(|| panic!("{note}")).into()
}

#[test]
fn a_quota_is_given_in_periods_of_the_length_asked_for() {
    let host = Host::start();
    let set = ["--image", "busybox", "--set", "cpu_quota=50%", "--set", "cpu_quota_period_ms=20"];
    let alice = host.boot("alice", &set);
    let read = |file: &Path| fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let given = || {
        let (quota, period) = (file_of(&host, "cpu_quota"), file_of(&host, "cpu_quota_period_ms"));
        // One file on cgroup v2, two on v1.
        if quota == period { read(&quota) } else { format!("{} {}", read(&quota).trim(), read(&period)) }
    };
    assert_eq!(given().trim(), "10000 20000");
    alice.ctl("set", &["cpu_quota_period_ms=50"]).ok();
    assert_eq!(given().trim(), "25000 50000", "at once");
    alice.ctl("set", &["cpu_quota=1%", "cpu_quota_period_ms=1"]).ok();
    assert_eq!(given().trim(), "1000 100000", "no shorter than the kernel can give so small a quota in");
    assert!(host.ctl(&["plan", "alice"]).ok().stdout.contains("limit       cpu_quota_period_ms 1\n"));
}

#[test]
fn a_period_is_refused_by_the_name_of_the_controller_that_is_missing() {
    let mut host = Host::bare();
    host.share_images();
    host.start_hostd_without_controller("cpu");
    let alice = host.create("alice", &["--image", "busybox", "--set", "cpu_quota_period_ms=20"]);
    let said = alice.ctl("start", &[]).output().refused(4);
    assert!(
        said.contains("cannot enforce cpu_quota_period_ms on this host: there is no cpu controller"),
        "{said}"
    );
    alice.ctl("start", &["--allow-unenforced"]).ok();
}

#[test]
fn a_mistake_names_the_key_and_what_it_takes() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    for (pair, says, takes) in [
        ("memory_max=lots", "cannot set memory_max of \"alice\": \"lots\" is not a size", "4M to 1P"),
        ("ttys=64", "cannot set ttys of \"alice\": 64 is outside 0 to 63", "ttys takes 0 to 63"),
        ("autostart=maybe", "cannot set autostart of \"alice\": ", "yes, no, on, off"),
        ("stop_timeout_sec=5weeks", "cannot set stop_timeout_sec of \"alice\": ", "90s or 2min"),
        ("memorymax=1G", "unknown key `memorymax`; did you mean `memory_max`?", "tenant.toml(5)"),
    ] {
        let said = alice.ctl("set", &[pair]).output().refused(2);
        assert!(said.contains(says) && said.contains(takes), "{pair}: {said}");
    }
    let typed = ["memory_max=1g", "autostart=yes", "stop_timeout_sec=2min", "tasks_max=max", "tun=off"];
    alice.ctl("set", &typed).ok();
    let explained = host.ctl(&["explain", "alice"]).ok().stdout;
    for (key, value) in
        [("memory_max", "1G"), ("autostart", "true"), ("stop_timeout_sec", "120"), ("tasks_max", "max")]
    {
        let line = explained.lines().find(|line| line.split_ascii_whitespace().next() == Some(key));
        assert!(line.is_some_and(|line| line.contains(value)), "{key}: {explained}");
    }
}

#[test]
fn a_limit_is_changed_while_the_tenant_runs() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "tasks_max=40"]);
    alice.bring_probe();
    let count = || -> u32 { alice.probe_again(&["fork", "200"]).text().parse().expect("a number") };
    assert!(count() <= 40);
    alice.ctl("set", &["tasks_max=400"]).ok();
    assert_eq!(count(), 200);
}

#[test]
fn stat_shows_use_against_the_limit() {
    let host = Host::start();
    let alice =
        host.boot("alice", &["--image", "busybox", "--set", "memory_max=64M", "--set", "tasks_max=60"]);
    let stat = host.ctl(&["--json", "stat", alice.name()]).ok().json();
    let text = stat.to_string();
    assert!(text.contains("67108864"), "{stat:#}");
    assert!(text.contains("60"), "{stat:#}");
}

#[test]
fn a_limit_that_cannot_be_kept_is_refused_by_the_name_of_its_controller() {
    let host = Host::start();
    // No machine of this kind has a controller that weighs I/O without a scheduler for it.
    if host.has_io_weight() {
        return host.create("alice", &["--image", "busybox", "--set", "io_weight=50"]).start();
    }
    let alice = host.create("alice", &["--image", "busybox", "--set", "io_weight=50"]);
    let said = alice.ctl("start", &[]).output().refused(4);
    assert!(said.contains("io"), "{said}");
    alice.ctl("start", &["--allow-unenforced"]).ok();
    assert_eq!(alice.phase(), "running");
}

#[test]
fn a_default_limit_that_cannot_be_kept_is_told_and_refused_only_where_that_is_asked_for() {
    let mut host = Host::bare();
    host.share_images();
    host.start_hostd_without_controller("pids");
    let why = "cannot enforce tasks_max on this host: there is no pids controller";
    assert!(host.hostd_log().contains(why), "{}", host.hostd_log());
    let alice = host.create("alice", &["--image", "busybox"]);
    let said = alice.ctl("start", &["--strict"]).output().refused(4);
    assert!(said.contains(why) && !said.contains("memory_max"), "{said}");
    assert_eq!(alice.phase(), "stopped");
    let started = alice.ctl("start", &[]).ok();
    assert!(started.stderr.contains(why), "{}", started.stderr);
    let doctor = host.ctl(&["--json", "doctor"]).output().json();
    let findings = doctor["findings"].as_array().expect("a list").iter();
    let told: Vec<_> = findings.filter(|finding| finding["check"] == "defaults").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["health"], "degraded");
    assert!(told[0]["message"].as_str().is_some_and(|text| text.contains(why)), "{told:?}");

    let other = Host::start();
    let bob = other.create("bob", &["--image", "busybox"]);
    bob.ctl("start", &["--strict"]).ok();
}

#[test]
fn a_tenant_makes_no_more_cgroups_than_it_may() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "cgroups_max=10"]);
    let made = alice.says(
        "cd /sys/fs/cgroup; n=0; while mkdir g$n 2>/dev/null && [ $n -lt 50 ]; do n=$((n+1)); done; echo $n",
    );
    let made: u32 = made.parse().expect("a number");
    assert!(made <= 10, "{made} cgroups were made");
}

#[test]
fn a_tenant_has_no_more_terminals_than_it_may() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "pts_max=16", "--set", "ttys=1"]);
    let script = "n=0; while [ $n -lt 40 ]; do (exec 3<>/dev/ptmx && sleep 5) 2>/dev/null & n=$((n+1)); done; \
                  sleep 1; ls /dev/pts | grep -c '[0-9]'";
    let had: u32 = alice.says(script).parse().expect("a number");
    assert!(had <= 16, "{had} terminals were had");
}
