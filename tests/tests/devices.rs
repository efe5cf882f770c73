//! Device control: which nodes a tenant may open, and how many pseudoterminals it has.

use std::fs;

use serde_json::Value;
use tenantry_tests::{Host, Tenant};

/// Opens a device for reading, then for writing; what the shell says of each.
fn opens(tenant: &Tenant<'_>, device: &str) -> [String; 2] {
    [format!(": < {device}"), format!(": > {device}")].map(|script| {
        let said = tenant.shell(&script).output();
        let text = said.stderr.rsplit(": ").next().unwrap_or_default().trim().to_owned();
        if said.status.success() { "ok".to_owned() } else { text }
    })
}

const REFUSED: &str = "Operation not permitted";

#[test]
fn a_tenant_without_a_device_list_uses_what_its_dev_holds() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    for device in ["null", "zero", "full", "random", "urandom"] {
        assert_eq!(opens(&alice, &format!("/dev/{device}")), ["ok", "ok"], "{device}");
    }
    assert_eq!(alice.says("head -c 4096 /dev/zero | wc -c"), "4096");
    // A terminal of its own, and on it /dev/tty.
    let said = alice.ctl("exec", &["-t", "--", "/bin/sh", "-c", "echo typed > /dev/tty; tty"]).ok();
    assert!(said.stdout.contains("typed") && said.stdout.contains("/dev/pts/"), "{}", said.stdout);
}

#[test]
fn a_device_that_no_rule_allows_is_refused() {
    let host = Host::start();
    let set = ["--image", "busybox", "--set", r#"devices=["c 1:3 rw"]"#];
    let alice = host.boot("alice", &set);
    let bob = host.boot("bob", &["--image", "busybox"]);
    assert_eq!(opens(&alice, "/dev/null"), ["ok", "ok"]);
    assert_eq!(opens(&alice, "/dev/zero"), [REFUSED, REFUSED]);
    assert_eq!(opens(&alice, "/dev/urandom"), [REFUSED, REFUSED]);
    assert_eq!(opens(&bob, "/dev/zero"), ["ok", "ok"], "a neighbour has a list of its own");
    // A reboot makes its cgroup anew, and a cgroup inside is below the program.
    alice.ctl("restart", &[]).ok();
    let below =
        "mkdir -p /sys/fs/cgroup/below && echo $$ > /sys/fs/cgroup/below/cgroup.procs && : < /dev/zero";
    let said = alice.shell(below).output();
    assert!(!said.status.success() && said.stderr.contains(REFUSED), "{}", said.stderr);
}

#[test]
fn a_device_rule_allows_the_access_it_names_and_no_more() {
    let host = Host::start();
    let set = ["--image", "busybox", "--set", r#"devices=["c 1:* r", "c 1:3 w"]"#];
    let alice = host.boot("alice", &set);
    assert_eq!(opens(&alice, "/dev/zero"), ["ok", REFUSED]);
    assert_eq!(opens(&alice, "/dev/null"), ["ok", "ok"]);
    let both = alice.shell(": <> /dev/null").output();
    assert!(both.stderr.contains(REFUSED), "no rule allows both at once: {}", both.stderr);
}

#[test]
fn pseudoterminal_devices_can_be_refused() {
    let host = Host::start();
    let list = r#"devices=["c 1:3 rw", "c 5:2 rw"]"#;
    let alice = host.boot("alice", &["--image", "busybox", "--set", list]);
    // The multiplexer can be opened, the terminals cannot: what was attached by the host still works.
    assert_eq!(opens(&alice, "/dev/ptmx"), ["ok", "ok"]);
    assert_eq!(opens(&alice, "/dev/pts/1"), [REFUSED, REFUSED]);
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "login");
}

#[test]
fn the_device_list_is_shown_by_plan_and_explain() {
    let host = Host::start();
    let alice =
        host.create("alice", &["--image", "busybox", "--set", r#"devices=["c 1:3 rw", "c 136:* rw"]"#]);
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("device      c 1:3 rw\n") && plan.contains("device      c 136:* rw\n"), "{plan}");
    assert!(!plan.contains("c 1:5"), "{plan}");
    let explained = host.ctl(&["--json", "explain", "alice"]).ok().json();
    let devices = explained.as_array().expect("lines").iter().find(|line| line["key"] == "devices");
    let devices = devices.expect("a line for the devices");
    assert_eq!(devices["source"], "tenant");
    assert_eq!(devices["value"], r#"["c 1:3 rw", "c 136:* rw"]"#);
    assert!(devices["note"].as_str().is_some_and(|note| note.contains("payload")), "{devices}");
    let said = alice.ctl("set", &[r#"devices=["c 1:3 x"]"#]).output().refused(2);
    assert!(said.contains("c 1:3 x") && said.contains("c 136:* rw"), "{said}");
}

#[test]
fn a_tenant_cannot_make_or_open_a_device_of_the_host() {
    let host = Host::start();
    // Even a tenant that is allowed everything makes no node: mknod(2) belongs to the host's namespace.
    let alice = host.boot("alice", &["--image", "busybox", "--set", r#"devices=["a"]"#]);
    let made = alice.shell("mknod /tmp/disk b 254 0").output();
    assert!(made.stderr.contains(REFUSED), "{}", made.stderr);
    assert_eq!(opens(&alice, "/dev/zero"), ["ok", "ok"]);
}

#[test]
fn pts_max_bounds_the_pseudoterminals_of_one_tenant() {
    let host = Host::start();
    let set = ["--image", "busybox", "--set", "ttys=1", "--set", "pts_max=20"];
    let (alice, bob) = (host.boot("alice", &set), host.boot("bob", &["--image", "busybox"]));
    for tenant in [&alice, &bob] {
        tenant.bring_probe();
    }
    // The console and tty1 are two of the twenty.
    let opened = |tenant: &Tenant<'_>| -> Value { tenant.exec(&["/root/probe", "ptys", "40"]).ok().json() };
    assert_eq!(opened(&alice), serde_json::json!({ "opened": 18, "then": "ENOSPC" }));
    assert_eq!(opened(&bob), serde_json::json!({ "opened": 40, "then": null }));
    assert_eq!(opened(&alice)["opened"], 18, "those that were closed can be had again");
}

#[test]
fn a_tty_that_nobody_attached_to_costs_no_process() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "ttys=6"]);
    assert_eq!(alice.says("ls /dev/tty[1-6] | wc -l"), "6");
    assert_eq!(alice.says("ls /dev/tty7 2>/dev/null; true"), "");
    let on_ttys = || {
        // One of them may end meanwhile.
        let script =
            "for p in /proc/[0-9]*; do for f in 0 1 2; do readlink $p/fd/$f; done; done 2>/dev/null; true";
        let links = alice.says(script);
        let mut ttys: Vec<String> =
            links.lines().filter(|line| line.starts_with("/dev/pts/")).map(str::to_owned).collect();
        ttys.dedup();
        ttys
    };
    assert_eq!(on_ttys(), Vec::<String>::new());
    let mut terminals: Vec<_> = (1..=6).map(|tty| alice.console(&["-t", &tty.to_string()])).collect();
    for terminal in &mut terminals {
        terminal.type_until("\r", "login:");
    }
    assert_eq!(on_ttys().len(), 6);
    let log = fs::read_to_string(host.path("hostd.log")).unwrap_or_default();
    assert!(!log.contains("ERROR"), "{log}");
}
