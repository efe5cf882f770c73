//! A tenant is a unit of systemd: its verbs mean what an admin expects.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tenantry_tests::machine::{Unit, property, run, systemctl, tenantctl, until};

#[test]
fn a_tenant_starts_restarts_and_stops_by_systemctl() {
    let alice = Unit::create("alice", &["--image", "debian"]);
    assert_eq!(alice.active_state(), "inactive");
    alice.systemctl("start").ok();
    assert_eq!(alice.active_state(), "active");
    assert_eq!(alice.state(), "running");
    assert_eq!(alice.says("systemctl is-active multi-user.target"), "active");
    assert_eq!(alice.property("ControlGroup"), "/tenants.slice/tenant@alice.service");
    assert!(alice.property("StatusText").starts_with("Running"), "{}", alice.property("StatusText"));
    let status = systemctl(&["status", "--no-pager", "tenant@alice"]).ok();
    assert!(status.stdout.contains("Status: \"Running"), "{}", status.stdout);

    let boot = alice.boot();
    alice.systemctl("restart").ok();
    assert_ne!(alice.boot(), boot);
    assert_eq!(alice.state(), "running");

    let cgroup = alice.cgroup();
    alice.systemctl("stop").ok();
    assert_eq!(alice.active_state(), "inactive");
    assert_eq!(alice.property("Result"), "success");
    assert_eq!(alice.state(), "stopped");
    assert!(!cgroup.exists(), "the cgroup of a stopped tenant is gone");
    let links = run(&["ip", "-o", "link"]).ok();
    assert!(!links.stdout.contains("ve-alice"), "{}", links.stdout);
}

#[test]
fn tenantctl_and_systemctl_are_the_same_thing() {
    let bob = Unit::create("bob", &[]);
    bob.ctl("start", &[]).ok();
    assert_eq!(bob.active_state(), "active");
    let boot = bob.boot();
    bob.systemctl("start").ok();
    bob.ctl("start", &[]).ok();
    assert_eq!(bob.boot(), boot, "a tenant that runs is left alone");
    bob.systemctl("stop").ok();
    assert_eq!(bob.state(), "stopped");
    bob.systemctl("start").ok();
    bob.ctl("stop", &[]).ok();
    assert_eq!(bob.active_state(), "inactive");
    bob.ctl("start", &[]).ok();
    bob.ctl("kill", &[]).ok();
    assert_eq!(bob.active_state(), "inactive", "what was asked for is no failure");
    assert_eq!(bob.state(), "stopped");
}

#[test]
fn a_start_of_a_tenant_that_systemd_starts_ends_with_it() {
    let begun = |unit: &Unit| {
        systemctl(&["start", "--no-block", &unit.unit()]).ok();
        until("systemd has begun it", || unit.state() == "booting");
    };
    let unit = Unit::create("hilda", &["--image", "debian"]);
    begun(&unit);
    unit.ctl("start", &[]).ok();
    assert_eq!((unit.state(), unit.active_state()), ("running".into(), "active".into()));

    let never = r#"init=["/bin/sleep","1000"]"#;
    let set =
        ["--set", never, "--set", r#"ready="notify""#, "--set", "start_timeout_sec=5", "--set", "restart=no"];
    let unit = Unit::create("ivan", &set);
    begun(&unit);
    let refused = unit.ctl("start", &[]).output();
    assert!(!refused.status.success(), "it never gets ready");
    assert!(refused.stderr.contains("was not ready within 5 s"), "{}", refused.stderr);
}

#[test]
fn freeze_and_thaw_leave_the_supervisor_at_work() {
    let unit = Unit::start("frieda", &[]);
    unit.ctl("freeze", &[]).ok();
    assert_eq!(unit.state(), "frozen");
    assert_eq!(unit.active_state(), "active");
    unit.ctl("thaw", &[]).ok();
    assert_eq!(unit.state(), "running");
    assert_eq!(unit.says("echo alive"), "alive");
    unit.ctl("freeze", &[]).ok();
    unit.systemctl("stop").ok();
    assert_eq!(unit.active_state(), "inactive");
}

#[test]
fn poweroff_inside_is_a_stop_and_a_reboot_inside_stays_in_the_unit() {
    let unit = Unit::start("carol", &["--image", "debian"]);
    let supervisor = unit.main_pid();
    unit.shell("systemctl reboot").output();
    until("the second boot", || unit.run_state()["boots"] == 2 && unit.run_state()["phase"] == "running");
    assert_eq!(unit.main_pid(), supervisor);
    assert_eq!(unit.active_state(), "active");
    assert_eq!(unit.property("NRestarts"), "0");
    unit.shell("systemctl poweroff").output();
    unit.awaits("inactive");
    assert_eq!(unit.property("Result"), "success");
}

#[test]
fn a_tenant_starts_without_hostd() {
    let unit = Unit::create("dora", &[]);
    systemctl(&["stop", "hostd.socket", "hostd.service"]).ok();
    // Users of the host could run set-user-ID programs of tenants.
    let files = Path::new("/var/lib/tenantry/tenants");
    fs::set_permissions(files, fs::Permissions::from_mode(0o755)).unwrap();
    let started = unit.systemctl("start").output();
    assert_eq!(fs::metadata(files).unwrap().permissions().mode() & 0o7777, 0o700);
    let state = unit.active_state();
    systemctl(&["start", "hostd.socket", "hostd.service"]).ok();
    started.succeeded();
    assert_eq!(state, "active");
    assert_eq!(unit.state(), "running", "hostd finds what it did not start");
}

/// A filesystem that the host mounts, until it is dropped.
struct Mounted(&'static str);

impl Mounted {
    fn at(dir: &'static str, options: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        run(&["mount", "-t", "tmpfs", "-o", options, "tmpfs", dir]).ok();
        fs::create_dir(format!("{dir}/in")).unwrap();
        fs::write(format!("{dir}/in/file"), "the host's\n").unwrap();
        Self(dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(&["umount", "--lazy", self.0]).output();
        let _ = fs::remove_dir(self.0);
    }
}

#[test]
fn hostd_looks_at_binds_as_the_supervisors_do_whatever_its_own_mounts_are() {
    // hostd has a /tmp of its own, and in its mount namespace everything is nosuid.
    let open = Mounted::at("/srv/open", "mode=0755");
    let quiet = Mounted::at("/srv/quiet", "mode=0755,nosuid");
    let temporary = Mounted::at("/var/tmp/given", "mode=0755,nosuid");
    let bind = |place: &Mounted, writable: bool| {
        format!("dirs.\"/root/in\"={{ bind = \"{}/in\", writable = {writable} }}", place.0)
    };
    let exposed = bind(&open, true);
    let said = tenantctl(&["create", "konrad", "--image", "busybox", "--set", &exposed]).output().refused(2);
    assert!(said.contains("set-user-ID") && said.contains("nosuid"), "{said}");
    let unit = Unit::start("konrad", &["--set", &bind(&quiet, true)]);
    unit.says("echo written > /root/in/new");
    assert_eq!(fs::read_to_string("/srv/quiet/in/new").unwrap(), "written\n");
    let said = unit.ctl("set", &[&exposed]).output().refused(2);
    assert!(said.contains("set-user-ID"), "{said}");
    unit.shell("reboot").output();
    until("the second boot", || unit.run_state()["boots"] == 2 && unit.run_state()["phase"] == "running");
    // By hand, past the check of `set`: `reload` has one of its own.
    let file = "/etc/tenantry/tenants/konrad.toml";
    let good = fs::read_to_string(file).unwrap();
    fs::write(file, good.replace("/srv/quiet/in", "/srv/open/in")).unwrap();
    let said = unit.ctl("reload", &[]).output().refused(2);
    assert!(said.contains("set-user-ID"), "{said}");
    fs::write(file, good).unwrap();
    for place in [&temporary, &open] {
        unit.ctl("set", &[&bind(place, false)]).ok();
        unit.systemctl("restart").ok();
        assert_eq!(unit.says("cat /root/in/file"), "the host's", "{}", place.0);
    }
    unit.systemctl("stop").ok();
}

#[test]
fn an_unknown_tenant_and_an_odd_name_are_refused_at_once() {
    for name in ["nobody", "A_b", "a@b", r"x\x2dy"] {
        let refused = systemctl(&["start", &format!("tenant@{name}")]).output();
        assert!(!refused.status.success(), "tenant@{name} was started");
        assert!(refused.took.as_secs() < 30, "{:?}", refused.took);
        let unit = format!("tenant@{name}.service");
        assert_eq!(property(&unit, "ActiveState"), "inactive", "{unit} is stuck");
    }
    tenantctl(&["start", "nobody"]).output().refused(3);
}

#[test]
fn enabled_is_the_unit_s_word_and_the_file_s() {
    let unit = Unit::create("erik", &[]);
    unit.ctl("set", &["autostart=true"]).ok();
    assert_eq!(unit.property("UnitFileState"), "enabled");
    assert!(Path::new("/etc/systemd/system/tenants.target.wants/tenant@erik.service").is_symlink());
    unit.ctl("set", &["autostart=false"]).ok();
    assert_eq!(unit.property("UnitFileState"), "disabled");
    unit.systemctl("enable").ok();
    assert_eq!(unit.property("UnitFileState"), "enabled");
    unit.systemctl("disable").ok();
}

#[test]
fn a_destroyed_tenant_leaves_nothing_in_systemd() {
    let unit = Unit::create("fred", &["--set", "memory_max=64M"]);
    unit.ctl("set", &["autostart=true", "restart=always"]).ok();
    unit.systemctl("start").ok();
    drop(unit);
    for place in ["/etc/systemd/system", "/etc/systemd/system.control", "/run/systemd/system"] {
        let left = run(&["find", place, "-name", "*fred*"]).output().stdout;
        assert_eq!(left, "", "left below {place}");
    }
    assert!(!Path::new("/sys/fs/cgroup/tenants.slice/tenant@fred.service").exists());
    assert!(!Path::new("/run/tenantry/tenants/fred").exists());
}

#[test]
fn a_restart_policy_is_the_unit_s() {
    let unit = Unit::create("greta", &["--set", "restart=no"]);
    unit.systemctl("start").ok();
    assert_eq!(unit.property("Restart"), "no");
    run(&["kill", "-KILL", &unit.main_pid()]).ok();
    unit.awaits("failed");
    unit.ctl("set", &["restart=on-failure"]).ok();
    assert_eq!(unit.property("Restart"), "on-failure");
    unit.ctl("start", &[]).ok();
    assert_eq!(unit.state(), "running", "tenantctl starts what had failed");
}

#[test]
fn the_controllers_of_the_unit_reach_the_tenant_s_own_services() {
    let unit = Unit::start("hugo", &["--image", "debian"]);
    let controllers = fs::read_to_string(unit.cgroup().join("payload/cgroup.controllers")).unwrap();
    for wanted in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split_ascii_whitespace().any(|name| name == wanted), "{controllers}");
    }
    let inside = unit.says(
        "systemd-run --quiet --wait --pipe -p MemoryMax=48M sh -c 'cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max'",
    );
    assert_eq!(inside, (48 << 20).to_string());
}

#[test]
fn hostd_is_no_more_exposed_than_recorded() {
    let recorded: f64 = include_str!("../golden/hostd.service.exposure").trim().parse().unwrap();
    let said = run(&["systemd-analyze", "security", "--no-pager", "hostd.service"]).output().stdout;
    let line = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default().to_owned();
    let number = line.split_ascii_whitespace().find_map(|word| word.parse::<f64>().ok());
    let number = number.unwrap_or_else(|| panic!("no exposure in {said}"));
    assert!(number <= recorded, "{number} > {recorded}");
}
