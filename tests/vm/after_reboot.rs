//! After the reboot of the machine: everything enabled comes back, whatever happens to hostd meanwhile.

use std::{collections::BTreeMap, time::Duration};

use tenantry_tests::{
    machine::{Unit, journal, package, property, run, systemctl, tenantctl, until},
    poll,
};

fn crowd() -> Vec<Unit> {
    (1..=20).map(|number| Unit::existing(&format!("crowd{number}"))).chain([Unit::existing("one")]).collect()
}

#[test]
fn enabled_tenants_come_back_and_stay_while_hostd_is_killed_and_the_package_upgraded() {
    let crowd = crowd();
    // In the middle of their starts, or as close to it as this program comes.
    run(&["systemctl", "kill", "--signal=SIGKILL", "hostd.service"]).output();
    poll::within(Duration::from_secs(300), "all 21 are up", || {
        crowd.iter().all(|unit| unit.active_state() == "active").then_some(())
    });
    let boots: BTreeMap<_, _> = crowd.iter().map(|unit| (unit.name().to_owned(), unit.boot())).collect();
    let restarts: Vec<_> = crowd.iter().map(|unit| unit.property("NRestarts")).collect();
    assert!(restarts.iter().all(|count| count == "0"), "{restarts:?}");

    let before = property("hostd.service", "MainPID");
    run(&["dpkg", "-i", &package(true)]).ok();
    until("hostd is the new one", || {
        !["0", before.as_str()].contains(&property("hostd.service", "MainPID").as_str())
    });
    systemctl(&["daemon-reload"]).ok();
    systemctl(&["restart", "dbus.service"]).ok();
    for unit in &crowd {
        assert_eq!(unit.boot(), boots[unit.name()], "{} was restarted", unit.name());
        assert_eq!(unit.state(), "running");
    }
    assert_eq!(Unit::existing("one").says("cat /root/kept"), "before the reboot");
}

#[test]
fn the_stop_at_the_reboot_was_clean() {
    let said = journal(&["-b", "-1", "-u", "tenant@one.service", "-t", "systemd", "-t", "tenant"]);
    assert!(said.contains("Stopped tenant@one.service"), "{said}");
    assert!(!said.contains("SIGKILL") && !said.contains("timed out"), "{said}");
}

#[test]
fn what_is_stopped_and_destroyed_in_a_crowd_is_gone() {
    let names: Vec<String> = (1..=5).map(|number| format!("crowd{number}")).collect();
    until("they are up", || names.iter().all(|name| Unit::existing(name).active_state() == "active"));
    for name in &names {
        tenantctl(&["destroy", name, "--force", "--yes"]).ok();
    }
    let left = run(&["ls", "/sys/fs/cgroup/tenants.slice"]).ok().stdout;
    assert!(names.iter().all(|name| !left.contains(&format!("tenant@{name}.service\n"))), "{left}");
}
