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
    let set = ["--image", "busybox", "--set", r#"devices=["c 136:* rw"]"#];
    let alice = host.boot("alice", &set);
    let bob = host.boot("bob", &["--image", "busybox"]);
    assert_eq!(opens(&alice, "/dev/null"), ["ok", "ok"]);
    assert_eq!(opens(&alice, "/dev/pts/1"), ["ok", "ok"]);
    assert_eq!(opens(&alice, "/dev/ptmx"), [REFUSED, REFUSED]);
    assert_eq!(opens(&bob, "/dev/ptmx"), ["ok", "ok"], "a neighbour has a list of its own");
    // A reboot makes its cgroup anew, and a cgroup inside is below the program.
    alice.ctl("restart", &[]).ok();
    let below =
        "mkdir -p /sys/fs/cgroup/below && echo $$ > /sys/fs/cgroup/below/cgroup.procs && : < /dev/ptmx";
    let said = alice.shell(below).output();
    assert!(!said.status.success() && said.stderr.contains(REFUSED), "{}", said.stderr);
}

#[test]
fn a_device_rule_allows_the_access_it_names_and_no_more() {
    let host = Host::start();
    let set = ["--image", "busybox", "--set", r#"devices=["c 5:2 rw", "c 136:* r", "c 136:2 w"]"#];
    let alice = host.boot("alice", &set);
    assert_eq!(opens(&alice, "/dev/pts/1"), ["ok", REFUSED]);
    assert_eq!(opens(&alice, "/dev/pts/2"), ["ok", "ok"]);
    let both = alice.shell(": <> /dev/pts/2").output();
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
    let needed = r#""c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm""#;
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("device      c 1:3 rwm\n") && plan.contains("device      c 136:* rw\n"), "{plan}");
    assert!(plan.contains("c 1:5 rwm") && !plan.contains("c 5:2"), "{plan}");
    let explained = host.ctl(&["--json", "explain", "alice"]).ok().json();
    let devices = explained.as_array().expect("lines").iter().find(|line| line["key"] == "devices");
    let devices = devices.expect("a line for the devices");
    assert_eq!(devices["source"], "tenant");
    assert_eq!(devices["value"], format!(r#"[{needed}, "c 136:* rw"]"#));
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
fn a_list_of_nothing_leaves_what_every_system_needs() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "devices=[]"]);
    assert_eq!(alice.says("systemctl is-system-running; systemctl --failed --no-legend"), "running");
    for device in ["null", "zero", "full", "random", "urandom"] {
        assert_eq!(opens(&alice, &format!("/dev/{device}")), ["ok", "ok"], "{device}");
    }
    assert_eq!(opens(&alice, "/dev/ptmx"), [REFUSED, REFUSED]);
}

#[test]
fn shared_memory_has_the_size_of_its_key_or_half_of_the_memory() {
    let host = Host::start_with("default_memory_max = \"600M\"\n");
    let size = |tenant: &Tenant<'_>| tenant.says("df -k /dev/shm | tail -n 1 | awk '{ print $2 }'");
    let alice = host.boot("alice", &["--image", "busybox", "--set", "memory_max=128M"]);
    assert_eq!(size(&alice), "65536");
    alice.ctl("set", &["shm_max=300M"]).ok();
    alice.ctl("restart", &[]).ok();
    assert_eq!(size(&alice), "307200");
    let explained = host.ctl(&["--json", "explain", "alice"]).ok().json();
    let line =
        explained.as_array().expect("lines").iter().find(|line| line["key"] == "shm_max").expect("a line");
    assert_eq!((&line["value"], &line["source"]), (&"300M".into(), &"tenant".into()));
    // Of the memory that the host gives by default, where it gives any.
    let bob = host.boot("bob", &["--image", "busybox"]);
    assert_eq!(size(&bob), "307200");
    host.configure("default_memory_max = \"max\"\n");
    bob.ctl("restart", &[]).ok();
    assert_eq!(size(&bob), "262144");
}

#[test]
fn devices_that_are_asked_for_by_name_are_there_and_work() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "tun=true", "--set", "fuse=true"]);
    let bob = host.boot("bob", &[]);
    alice.says("ip tuntap add dev tun0 mode tun && ip link set tun0 up && ip link delete tun0");
    assert_eq!(opens(&alice, "/dev/fuse"), ["ok", "ok"]);
    assert_eq!(alice.says("stat -c '%t:%T %a' /dev/net/tun /dev/fuse"), "a:c8 666\na:e5 666");
    // A user as well, as programs for that expect it.
    alice.says("setpriv --reuid=1000 --regid=1000 --clear-groups sh -c ': <> /dev/fuse'");
    for device in ["/dev/net/tun", "/dev/fuse"] {
        assert!(!bob.shell(&format!("test -e {device}")).output().status.success(), "bob has {device}");
    }
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("net/tun(10:200)") && plan.contains("device      c 10:229 rw\n"), "{plan}");
    // A key replaces nothing of a list, and a list nothing of a key.
    bob.ctl("set", &[r#"devices=["c 136:* rw"]"#, "tun=true"]).ok();
    bob.ctl("restart", &[]).ok();
    assert_eq!(opens(&bob, "/dev/ptmx"), [REFUSED, REFUSED]);
    bob.says("ip tuntap add dev tap0 mode tap");
}

#[test]
fn wireguard_is_refused_where_the_host_lacks_it() {
    let host = Host::start();
    let has_it = host.run("ip", &["link", "add", "try", "type", "wireguard"]).output().status.success();
    let alice = host.create("alice", &["--image", "busybox", "--set", "wireguard=true"]);
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("driver      WireGuard\n"), "{plan}");
    if has_it {
        alice.start();
        alice.says("ip link add wg0 type wireguard");
        return;
    }
    let said = alice.ctl("start", &[]).output().refused(1);
    assert!(
        said.contains("this host's kernel has no WireGuard") && said.contains("modprobe wireguard"),
        "{said}"
    );
    alice.ctl("set", &["wireguard=false"]).ok();
    alice.start();
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
fn a_tty_without_clients_costs_no_process() {
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
