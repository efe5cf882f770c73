//! What machinectl(1) and its kin do with a tenant.

use tenantry_tests::{
    Terminal,
    machine::{Unit, run, until},
};

fn booted(name: &str) -> Unit {
    let unit = Unit::start(name, &["--image", "debian"]);
    until("machined has it", || run(&["machinectl", "--no-legend", "list"]).output().stdout.contains(name));
    unit
}

#[test]
fn the_verbs_that_look_see_a_machine() {
    let unit = booted("alice");
    let says = |words: &[&str]| run(words).ok().stdout;
    assert!(says(&["machinectl", "list"]).contains("tenantry"));
    let status = says(&["machinectl", "status", "alice", "--no-pager"]);
    assert!(status.contains("Debian") && status.contains("tenant@alice.service"), "{status}");
    assert_eq!(
        says(&["machinectl", "show", "alice", "--property=Leader", "--value"]).trim(),
        unit.boot()["pid"].to_string()
    );
    let uuid = unit.show()["uuid"].as_str().unwrap_or_default().to_owned();
    assert_eq!(says(&["machinectl", "show", "alice", "--property=Id", "--value"]).trim(), uuid);
    assert_eq!(says(&["systemctl", "-M", "alice", "is-active", "multi-user.target"]).trim(), "active");
    assert!(says(&["systemctl", "-M", "alice", "list-units", "--no-pager"]).contains("multi-user.target"));
    assert!(says(&["systemd-cgls", "--no-pager", "-u", "tenant@alice.service"]).contains("payload"));
    assert!(says(&["systemd-cgtop", "-b", "-n", "1", "--depth=5"]).contains("tenant@alice.service"));
    unit.shell("systemctl start systemd-journald; logger -t proof seen-from-outside || echo '<6>proof: seen-from-outside' | systemd-cat").ok();
    until("journalctl -M sees what was logged", || {
        run(&["journalctl", "-M", "alice", "--no-pager"]).output().stdout.contains("seen-from-outside")
    });
    assert!(says(&["loginctl", "-M", "alice", "list-sessions", "--no-pager"]).contains("sessions"));
}

#[test]
fn the_verbs_that_enter_get_in() {
    let _unit = booted("bella");
    // It wants a terminal.
    let shell = "machinectl shell -q bella /bin/sh -c 'hostname; id -u'";
    let said = run(&["script", "--quiet", "--return", "--command", shell, "/dev/null"]).ok().stdout;
    assert!(said.contains("bella") && said.contains('0'), "{said}");
    let said = run(&["systemd-run", "-M", "bella", "--quiet", "--wait", "--pipe", "hostname"]).ok();
    assert_eq!(said.text(), "bella");
}

#[test]
fn a_reboot_and_a_poweroff_from_machinectl_arrive() {
    let unit = booted("clara");
    let supervisor = unit.main_pid();
    run(&["machinectl", "reboot", "clara"]).ok();
    until("the second boot", || unit.run_state()["boots"] == 2 && unit.run_state()["phase"] == "running");
    assert_eq!(unit.main_pid(), supervisor);
    let leader = || {
        run(&["machinectl", "show", "clara", "--property=Leader", "--value"])
            .output()
            .stdout
            .trim()
            .to_owned()
    };
    let init = || unit.boot()["pid"].to_string();
    until("machined knows the new init", || leader() == init());
    run(&["machinectl", "poweroff", "clara"]).ok();
    unit.awaits("inactive");
    until("machined has forgotten it", || !run(&["machinectl", "show", "clara"]).output().status.success());
    unit.systemctl("start").ok();
    until("machined has it again", || leader() == init());
    run(&["machinectl", "terminate", "clara"]).ok();
    until("terminate ends the unit", || unit.active_state() != "active");
}

#[test]
fn machinectl_login_is_a_login_prompt() {
    let unit = booted("doris");
    let mut terminal = Terminal::open(&run(&["machinectl", "login", "doris"]));
    terminal.expect("login:");
    terminal.type_in("root\r");
    terminal.type_until("echo $((40 + 2))-$(hostname)\r", "42-doris");
    terminal.type_in("exit\r");
    drop(terminal);
    assert_eq!(unit.active_state(), "active");
}
