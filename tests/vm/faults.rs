//! What goes wrong on a host ends in a clear state, and nothing is stuck. One at a time: they disturb the machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
};

use nix::fcntl::{Flock, FlockArg};
use tenantry_tests::machine::{
    Unit, alone, hostd_answers, journal, property, run, systemctl, tenantctl, until,
};

#[test]
fn a_killed_supervisor_is_started_again_and_leaves_nothing() {
    let _alone = alone();
    let unit = Unit::start("alf", &["--image", "debian"]);
    let old = unit.main_pid();
    let init = unit.boot();
    run(&["kill", "-KILL", &old]).ok();
    until("systemd starts it again", || unit.active_state() == "active" && unit.main_pid() != old);
    assert_ne!(unit.boot(), init);
    assert_eq!(unit.property("NRestarts"), "1");
    assert!(!Path::new(&format!("/proc/{}", init["pid"])).exists(), "the old init is gone");
    let links = run(&["ip", "-o", "link"]).ok().stdout;
    assert_eq!(links.matches("ve-alf").count(), 1, "{links}");
    unit.systemctl("stop").ok();
    assert!(!run(&["ip", "-o", "link"]).ok().stdout.contains("ve-alf"));
}

#[test]
fn hostd_killed_and_restarted_disturbs_no_tenant() {
    let _alone = alone();
    let unit = Unit::start("berta", &[]);
    let (boot, supervisor) = (unit.boot(), unit.main_pid());
    for signal in ["-KILL", "-TERM"] {
        let pid = property("hostd.service", "MainPID");
        run(&["systemctl", "kill", signal.replace('-', "--signal=SIG").as_str(), "hostd.service"]).ok();
        until("another hostd", || {
            !["0", pid.as_str()].contains(&property("hostd.service", "MainPID").as_str()) || {
                // One that ended by SIGTERM comes back with the next request.
                tenantctl(&["--json", "list"]).output();
                false
            }
        });
        hostd_answers();
    }
    assert_eq!((unit.boot(), unit.main_pid(), unit.state().as_str()), (boot, supervisor, "running"));
}

#[test]
fn systemd_and_dbus_started_anew_in_mid_start_lose_nothing() {
    let _alone = alone();
    let unit = Unit::create("carl", &["--image", "debian"]);
    for disturbance in [&["daemon-reexec"][..], &["restart", "dbus.service"], &["daemon-reload"]] {
        let start = unit.ctl("start", &[]);
        let started = std::thread::spawn(move || start.output());
        systemctl(disturbance).ok();
        started.join().unwrap().succeeded();
        assert_eq!(unit.active_state(), "active", "after {disturbance:?}");
        let boot = unit.boot();
        systemctl(disturbance).ok();
        hostd_answers();
        assert_eq!(unit.boot(), boot, "{disturbance:?} disturbs no tenant");
        unit.ctl("stop", &[]).ok();
    }
}

#[test]
fn a_stop_that_times_out_ends_in_a_kill() {
    let _alone = alone();
    let unit = Unit::start("dirk", &["--image", "debian", "--set", "stop_timeout_sec=3"]);
    let init = unit.boot()["pid"].to_string();
    run(&["kill", "-STOP", &init]).ok();
    let stopped = unit.systemctl("stop").ok();
    assert!((2..25).contains(&stopped.took.as_secs()), "{:?}", stopped.took);
    assert_ne!(unit.active_state(), "active");
    assert!(!unit.cgroup().join("payload").exists());
}

#[test]
fn a_stop_takes_as_long_as_it_is_told_whatever_hangs() {
    let _alone = alone();
    let unit = Unit::create("dora-lee", &["--image", "debian"]);
    for hangs in ["init", "supervisor"] {
        unit.systemctl("start").ok();
        let pid = if hangs == "init" { unit.boot()["pid"].to_string() } else { unit.main_pid() };
        run(&["kill", "-STOP", &pid]).ok();
        let stopped = tenantctl(&["--json", "stop", unit.name(), "--timeout", "5"]).ok();
        // Three seconds more for a supervisor that hangs, and some for an emulated processor.
        assert!(stopped.took.as_secs() < 14, "{hangs}: {:?}", stopped.took);
        // A stopped supervisor goes on: systemd sends SIGCONT after its SIGTERM.
        if hangs == "init" {
            assert!(stopped.took.as_secs() >= 5, "{:?}", stopped.took);
            assert!(stopped.json()["killed"].is_string(), "{}", stopped.stdout);
        }
        assert_ne!(unit.active_state(), "active", "{hangs}");
        assert!(!run(&["ip", "-o", "link"]).ok().stdout.contains("ve-dora-lee"), "{hangs}");
    }
}

#[test]
fn a_shorter_stop_shortens_the_one_before_it() {
    let _alone = alone();
    let unit = Unit::start("dieter", &["--image", "debian"]);
    run(&["kill", "-STOP", &unit.boot()["pid"].to_string()]).ok();
    let long = unit.ctl("stop", &["--timeout", "140"]);
    let long = thread::spawn(move || long.output());
    until("it is being stopped", || unit.state() == "stopping");
    let short = unit.ctl("stop", &["--timeout", "2"]).ok();
    assert!(short.took.as_secs() < 30, "{:?}", short.took);
    let long = long.join().unwrap().succeeded();
    assert!(long.took.as_secs() < 60 && long.stdout.contains("killed"), "{:?}: {}", long.took, long.stdout);
}

/// So many others that boot that it is nobody's turn, as long as this lives.
struct Crowd(Vec<(PathBuf, Flock<File>)>);

impl Crowd {
    fn gather() -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        fs::create_dir_all("/run/tenantry/turns").unwrap();
        let all = (0..8 * cpus).map(|number| {
            let path = PathBuf::from(format!("/run/tenantry/turns/0000-other{number}.booting"));
            let lock = Flock::lock(File::create(&path).unwrap(), FlockArg::LockExclusiveNonblock);
            (path, lock.map_err(|(_, errno)| errno).unwrap())
        });
        Self(all.collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (path, _lock) in &self.0 {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_unit_that_waits_for_its_turn_is_up_and_is_stopped_at_once() {
    let _alone = alone();
    let unit = Unit::create("quirin", &[]);
    let crowd = Crowd::gather();
    let wait = || {
        let start = unit.systemctl("start");
        let started = thread::spawn(move || start.output());
        until("it waits for its turn", || unit.state() == "queued");
        started
    };
    let started = wait();
    assert_eq!(unit.active_state(), "activating");
    assert!(unit.property("StatusText").starts_with("Waiting to boot"), "{}", unit.property("StatusText"));
    tenantctl(&["destroy", unit.name(), "--yes"]).output().refused(4);
    tenantctl(&["doctor", "--repair"]).output();
    assert_eq!((unit.state().as_str(), unit.active_state().as_str()), ("queued", "activating"));
    let stopped = unit.ctl("stop", &[]).ok();
    assert!(stopped.took.as_secs() < 30, "{:?}", stopped.took);
    assert!(!started.join().unwrap().status.success());
    assert_eq!(unit.state(), "stopped");
    assert_eq!(unit.active_state(), "inactive", "what was asked for is no failure");
    let started = wait();
    drop(crowd);
    started.join().unwrap().succeeded();
    assert_eq!((unit.state().as_str(), unit.property("LimitNOFILESoft").as_str()), ("running", "1024"));
    let limits = unit.says("grep 'open files' /proc/1/limits");
    assert_eq!(limits.split_ascii_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["1024", "524288"]);
    unit.systemctl("stop").ok();
    let left = fs::read_dir("/run/tenantry/turns").unwrap().flatten().count();
    assert_eq!(left, 0, "the queue is empty again");
}

#[test]
fn without_machined_a_tenant_starts_all_the_same() {
    let _alone = alone();
    systemctl(&["mask", "--runtime", "--now", "systemd-machined.service"]).ok();
    let unit = Unit::create("ernst", &[]);
    let started = unit.systemctl("start").output();
    systemctl(&["unmask", "--runtime", "systemd-machined.service"]).ok();
    started.succeeded();
    assert_eq!(unit.active_state(), "active");
}

#[test]
fn a_slice_that_is_too_small_is_a_failure_with_a_reason() {
    let _alone = alone();
    let unit = Unit::create("fritz", &["--image", "debian", "--set", "start_timeout_sec=20"]);
    systemctl(&["set-property", "--runtime", "tenants.slice", "TasksMax=2"]).ok();
    let started = unit.ctl("start", &[]).output();
    systemctl(&["set-property", "--runtime", "tenants.slice", "TasksMax=infinity"]).ok();
    assert!(!started.status.success());
    assert!(started.stderr.contains("help:"), "{}", started.stderr);
    systemctl(&["stop", &unit.unit()]).ok();
    unit.ctl("start", &[]).ok();
    assert_eq!(unit.state(), "running");
}

#[test]
fn a_configuration_that_cannot_work_is_not_tried_again() {
    let _alone = alone();
    let unit = Unit::create("gerd", &[]);
    let file = "/etc/tenantry/tenants/gerd.toml";
    let good = fs::read_to_string(file).unwrap();
    fs::write(file, format!("{good}\nno_such_key = 1\n")).unwrap();
    let refused = unit.systemctl("start").output();
    assert!(!refused.status.success());
    assert_eq!(unit.active_state(), "failed");
    assert_eq!((unit.property("ExecMainStatus"), unit.property("NRestarts")), ("78".into(), "0".into()));
    assert!(journal(&["-u", &unit.unit()]).contains("no_such_key"));
    fs::write(file, good).unwrap();
    unit.systemctl("start").ok();
}

#[test]
fn the_directory_of_the_socket_comes_back() {
    let _alone = alone();
    let unit = Unit::start("heidi", &[]);
    let boot = unit.boot();
    fs::remove_file("/run/tenantry/hostd.sock").unwrap();
    systemctl(&["restart", "hostd.socket", "hostd.service"]).ok();
    hostd_answers();
    assert_eq!(unit.boot(), boot);
}

#[test]
fn a_runtime_directory_that_is_gone_comes_back_with_the_next_start() {
    let _alone = alone();
    let unit = Unit::start("holger", &[]);
    let supervisor = unit.main_pid();
    fs::remove_dir_all("/run/tenantry").unwrap();
    systemctl(&["restart", "hostd.socket", "hostd.service"]).ok();
    hostd_answers();
    assert_eq!(unit.main_pid(), supervisor, "it runs on");
    let restarted = unit.systemctl("restart").output();
    assert!(restarted.took.as_secs() < 60, "{:?}", restarted.took);
    restarted.succeeded();
    assert_eq!((unit.active_state(), unit.state()), ("active".to_owned(), "running".to_owned()));
    assert_eq!(unit.says("echo alive"), "alive");
    unit.systemctl("stop").ok();
    assert_eq!(unit.property("Result"), "success");
}

#[test]
fn a_drop_in_against_the_file_is_told() {
    let _alone = alone();
    let unit = Unit::create("inge", &["--set", "memory_max=256M"]);
    let dir = "/etc/systemd/system/tenant@inge.service.d";
    fs::create_dir_all(dir).unwrap();
    systemctl(&["set-property", &unit.unit(), "MemoryMax=64M"]).ok();
    fs::write(format!("{dir}/own.conf"), "[Service]\nEnvironment=NOTHING=1\n").unwrap();
    systemctl(&["daemon-reload"]).ok();
    unit.systemctl("start").ok();
    let shown = unit.ctl("show", &[]).ok().stdout;
    assert!(shown.contains("64M") && shown.contains("256M"), "{shown}");
    let _ = fs::remove_dir_all(dir);
    systemctl(&["daemon-reload"]).ok();
}

#[test]
fn a_hostd_that_hangs_is_killed_by_the_watchdog_and_comes_back() {
    let _alone = alone();
    let unit = Unit::start("jutta", &[]);
    let boot = unit.boot();
    let dir = "/run/systemd/system/hostd.service.d";
    fs::create_dir_all(dir).unwrap();
    fs::write(format!("{dir}/short.conf"), "[Service]\nWatchdogSec=4\n").unwrap();
    systemctl(&["daemon-reload"]).ok();
    systemctl(&["restart", "hostd.service"]).ok();
    hostd_answers();
    let pid = property("hostd.service", "MainPID");
    run(&["kill", "-STOP", &pid]).ok();
    until("another hostd", || {
        !["0", pid.as_str()].contains(&property("hostd.service", "MainPID").as_str())
            && property("hostd.service", "ActiveState") == "active"
    });
    assert!(journal(&["-u", "hostd.service", "-t", "systemd"]).contains("Watchdog timeout"));
    fs::remove_dir_all(dir).unwrap();
    systemctl(&["daemon-reload"]).ok();
    systemctl(&["restart", "hostd.service"]).ok();
    hostd_answers();
    assert_eq!((unit.boot(), unit.state().as_str()), (boot, "running"));
}

/// Takes all room of a filesystem, until it is dropped.
struct Full(&'static str);

impl Full {
    fn at(file: &'static str) -> Self {
        let full = Self(file);
        let free = run(&["df", "--output=avail", "--block-size=1K", "/run"]).ok().stdout;
        let free: u64 = free.split_ascii_whitespace().last().and_then(|word| word.parse().ok()).unwrap();
        run(&["fallocate", "--length", &format!("{}K", free - 64), file]).ok();
        // Ends with "No space left on device", as it should.
        run(&["dd", "if=/dev/zero", &format!("of={file}"), "bs=1k", "oflag=append", "conv=notrunc"]).output();
        full
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

#[test]
fn a_full_run_directory_disturbs_no_tenant_and_is_a_clear_error() {
    let _alone = alone();
    let running = Unit::start("klaus", &[]);
    let stopped = Unit::create("lena", &[]);
    let boot = running.boot();
    {
        let _full = Full::at("/run/filler");
        let refused = stopped.ctl("start", &[]).output();
        assert!(!refused.status.success());
        assert!(refused.stderr.contains("No space left on device"), "{}", refused.stderr);
        assert!(refused.stderr.contains("help:"), "{}", refused.stderr);
        assert!(refused.took.as_secs() < 60, "{:?}", refused.took);
        assert_eq!(running.says("echo alive"), "alive");
        assert_eq!(running.state(), "running");
        hostd_answers();
    }
    stopped.systemctl("reset-failed").output();
    stopped.ctl("start", &[]).ok();
    assert_eq!((running.boot(), stopped.state().as_str()), (boot, "running"));
    running.systemctl("stop").ok();
}

#[test]
fn doctor_repairs_from_its_sandbox_what_was_taken_from_a_running_tenant() {
    let _alone = alone();
    let unit = Unit::start("max", &["--image", "debian"]);
    let boot = unit.boot();
    let gateway = "ping -c 1 -W 5 169.254.1.1 || ip route get 169.254.1.1";
    unit.shell(gateway).ok();
    run(&["nft", "flush", "ruleset"]).ok();
    let link = run(&["ip", "-o", "link", "show", "type", "veth"]).ok().stdout;
    let link = link.split([':', '@']).nth(1).unwrap_or_default().trim().to_owned();
    fs::write(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"), "0").unwrap();

    let found = tenantctl(&["doctor"]).output();
    assert_eq!(found.status.code(), Some(1), "{}{}", found.stdout, found.stderr);
    let repaired = tenantctl(&["doctor", "--repair"]).ok().stdout;
    assert!(repaired.contains("repaired") && !repaired.contains("the repair failed"), "{repaired}");
    let left = tenantctl(&["--json", "doctor"]).ok().json();
    assert_ne!(left["health"], "fault", "{left}");
    assert!(run(&["nft", "list", "tables"]).ok().stdout.contains("tenantry"));
    assert_eq!(fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/forwarding")).unwrap().trim(), "1");
    assert_eq!(unit.boot(), boot);
}
