//! NICs of the host that tenants have: who gets them, and how they come home.

use std::fs;

use serde_json::Value;
use tenantry_tests::{
    Host, poll,
    wire::{bridge, host_end, ip, link, pings, refused, wire, with},
};

const PHYS: &str = r#"nic=[{mode="phys", link="w0", name="eth0", addresses=["10.7.0.2/24"]}]"#;

/// What must be as it was when a NIC is home again.
fn face(host: &Host, name: &str) -> Vec<Value> {
    let link = link(host, name);
    let up = link["flags"].as_array().is_some_and(|flags| flags.contains(&"UP".into()));
    let promiscuous = link["promiscuity"].clone();
    let keys = ["ifindex", "ifname", "address", "mtu", "group", "txqlen", "ifalias", "altnames"];
    let mut face: Vec<Value> = keys.iter().map(|key| link[key].clone()).collect();
    face.extend([up.into(), promiscuous]);
    face
}

fn claims(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.path("run/tenantry/nics")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it can be killed");
}

#[test]
fn a_nic_moves_in_and_comes_home_however_the_tenant_ends() {
    let host = Host::start();
    wire(&host);
    let before = face(&host, "w0");
    let router = host.create("router", &with(PHYS));
    let home = |how: &str| {
        poll::until_true(&format!("w0 is home after {how}"), || {
            !link(&host, "w0").is_null() && claims(&host).is_empty()
        });
        assert_eq!(face(&host, "w0"), before, "after {how}");
        let addresses = ip(&host, "-brief -4 address show dev w0");
        assert!(!addresses.contains("10.7.0.2"), "after {how}: {addresses}");
    };
    let away = |how: &str| {
        router.start();
        assert!(link(&host, "w0").is_null(), "before {how}");
        poll::until_true("it reaches the other end", || pings(&router, "10.7.0.1"));
        // Whatever a tenant does to it.
        router.says(
            "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:77; ip link set eth0 mtu 1300; \
             ip link set eth0 name mine; ip link set mine promisc on; ip link set mine up",
        );
    };
    away("a stop");
    router.stop();
    home("a stop");

    away("a poweroff");
    router.shell("kill -USR2 1").output();
    router.awaits("stopped");
    home("a poweroff");

    away("a kill of init");
    kill(router.pids().0);
    poll::until_true("it has ended", || router.phase() != "running");
    home("a kill of init");

    away("a kill of the supervisor");
    kill(router.pids().1);
    poll::until_true("it has ended", || router.phase() != "running");
    home("a kill of the supervisor");

    away("a kill of the supervisor while no hostd runs");
    host.kill_hostd();
    kill(router.pids().1);
    host.start_hostd();
    home("a kill of the supervisor while no hostd runs");

    away("a broken file");
    let file = host.path("etc/tenantry/tenants/router.toml");
    let text = fs::read_to_string(&file).expect("the file of the tenant");
    fs::write(&file, "image = \"busybox\"\nnic = []\n").expect("the file can be written");
    router.stop();
    home("its file says nothing of it any more");
    fs::write(&file, text).expect("the file can be written");

    away("a forced destroy");
    router.ctl("destroy", &["--force", "--yes"]).ok();
    home("a forced destroy");
}

#[test]
fn nothing_stays_claimed_when_all_are_killed_at_once() {
    let host = Host::start();
    wire(&host);
    let router = host.boot("router", &with(PHYS));
    let (init, supervisor) = router.pids();
    kill(supervisor);
    kill(init);
    poll::until_true("nobody claims it", || claims(&host).is_empty() && router.phase() != "running");
    // A virtual NIC goes with its namespace when nobody is left who holds it; hardware the kernel sends home.
    // Namespaces end in the background.
    poll::until_true("it is home or gone with its peer", || {
        !link(&host, "w0").is_null() || link(&host, "w1").is_null()
    });
    if link(&host, "w0").is_null() {
        wire(&host);
    }
    router.start();
    assert!(pings(&router, "10.7.0.1"));
}

#[test]
fn a_nic_comes_home_from_a_namespace_that_the_tenant_made() {
    let host = Host::start();
    wire(&host);
    let before = face(&host, "w0");
    let router = host.boot("router", &with(PHYS));
    router.says(
        "unshare -n sleep 1000 </dev/null >/dev/null 2>&1 & \
         until [ \"$(readlink /proc/$!/ns/net)\" != \"$(readlink /proc/1/ns/net)\" ]; do :; done; \
         ip link set eth0 netns $!",
    );
    assert_eq!(router.says("ls /sys/class/net"), "lo");
    // Of an orderly end it would be too late to ask: a virtual NIC goes with the last process in there,
    // while hardware is sent home by the kernel.
    kill(router.pids().1);
    poll::until_true("nobody claims it", || claims(&host).is_empty());
    assert_eq!(face(&host, "w0"), before);
    assert_eq!(claims(&host), [""; 0]);
}

#[test]
fn a_nic_goes_home_and_in_again_when_its_tenant_reboots() {
    let host = Host::start();
    wire(&host);
    let before = face(&host, "w0");
    let router = host.boot("router", &with(PHYS));
    router.says("ip link set eth0 down; ip link set eth0 name mine");

    router.exec(&["/usr/sbin/reboot"]).output();
    poll::until_true("it has rebooted", || {
        let state = router.run_state();
        state["phase"] == "running" && state["boots"] == 2
    });
    poll::until_true("it reaches the other end", || pings(&router, "10.7.0.1"));
    assert_eq!(router.says("ls /sys/class/net"), "eth0\nlo");
    router.stop();
    assert_eq!(face(&host, "w0"), before);
}

#[test]
fn a_nic_inside_has_the_name_the_address_and_the_mtu_it_was_given() {
    let host = Host::start();
    wire(&host);
    let before = face(&host, "w0");
    let nic =
        r#"nic=[{mode="phys", link="w0", name="wan", mac="4a:49:43:49:79:bf", mtu=1300, altnames=["uplink"],
        addresses=["10.7.0.2/24", "2003:db8:1:0:214:1234:fe0b:3597/64"], gateways=["10.7.0.1"],
        routes=["10.66.0.0/16 via 10.7.0.9"]}]"#
            .replace('\n', " ");
    let router = host.boot("router", &["--set", &nic]);
    assert_eq!(router.says("ls /sys/class/net"), "lo\nwan", "nothing else of the host is seen");
    assert_eq!(
        router.says("cat /sys/class/net/wan/address /sys/class/net/wan/mtu"),
        "4a:49:43:49:79:bf\n1300"
    );
    let seen = router.says("ip address show dev uplink; ip route; ip -6 route");
    for part in [
        "inet 10.7.0.2/24",
        "inet6 2003:db8:1:0:214:1234:fe0b:3597/64",
        "default via 10.7.0.1",
        "10.66.0.0/16 via 10.7.0.9",
        "2003:db8:1::/64 dev wan",
    ] {
        assert!(seen.contains(part), "{part} is missing:\n{seen}");
    }
    assert!(!seen.contains("3597/64 scope global tentative"), "{seen}");
    // Nobody listens there, and says so.
    let knock = "exec 3<>/dev/tcp/10.7.0.1/9";
    poll::until_true("the other end answers", || {
        router.exec(&["timeout", "2", "bash", "-c", knock]).output().stderr.contains("refused")
    });
    // Names that the host's own interfaces have would keep it from coming home.
    router.says("ip link property add dev wan altname w1 altname br0; ip link set wan alias mine");
    router.stop();
    assert_eq!(face(&host, "w0"), before);
}

#[test]
fn a_nic_that_a_running_tenant_has_is_not_taken_from_it() {
    let host = Host::start();
    wire(&host);
    let first = host.boot("first", &with(PHYS));
    // hostd gives a NIC to one tenant. An editor in the hand of an admin can take it out of a file while
    // the tenant runs, and then it is free to be written into another.
    let file = host.path("etc/tenantry/tenants/first.toml");
    fs::write(&file, "image = \"busybox\"\nnic = []\n").expect("the file can be written");
    let second = host.create("second", &with(PHYS));
    let said = refused(&second);
    assert!(said.contains("NIC \"w0\" is in use by tenant \"first\""), "{said}");
    assert!(said.contains("tenantctl stop first"), "{said}");
    // The loser takes nothing away from the winner by being destroyed.
    second.ctl("destroy", &["--force", "--yes"]).ok();
    let child = host.create("child", &with(r#"nic=[{mode="vlan", link="w0", vlan=7}]"#));
    assert!(refused(&child).contains("is in use by tenant \"first\""));
    assert!(pings(&first, "10.7.0.1"));
    assert_eq!(claims(&host), ["w0.json"]);
    first.stop();
    assert!(!link(&host, "w0").is_null());
}

#[test]
fn a_nic_that_the_host_needs_is_not_given_away() {
    let host = Host::start();
    bridge(&host);
    wire(&host);
    ip(&host, "link add port0 type veth peer name port1");
    ip(&host, "link set port0 master br0");
    ip(&host, "route add default via 10.7.0.1 dev w1");
    ip(&host, "link add v0 type veth peer name v1");
    ip(&host, "link set v0 up");
    ip(&host, "link set v1 up");
    ip(&host, "-6 address add 2001:db8:9::1/64 dev v0 nodad");
    ip(&host, "-6 route add default via 2001:db8:9::2 dev v0");
    let routed = host.boot("routed", &["--image", "busybox"]);
    let port = host_end(&routed, 0);
    for (number, (nic, reason)) in [
        ("nope", "no interface \"nope\""),
        ("br0", "it is a bridge"),
        ("port0", "it is a port of \"br0\""),
        ("w1", "default route uses it"),
        ("v0", "default route uses it"),
        (port.as_str(), "it is the host's end of a tenant's link"),
        ("enp7s0", "no interface \"enp7s0\""),
    ]
    .into_iter()
    .enumerate()
    {
        let nics = format!(r#"nic=[{{mode="phys", link="{nic}"}}]"#);
        let tenant = host.create(&format!("x{number}"), &with(&nics));
        let said = refused(&tenant);
        assert!(said.contains(reason), "{nic}: {said}");
        assert_eq!(claims(&host), [""; 0], "{nic}");
    }
    let loopback = host.ctl(&["create", "lo"]).args(with(r#"nic=[{mode="phys", link="lo"}]"#)).output();
    assert!(!loopback.status.success() && loopback.stderr.contains("reserved"), "{}", loopback.stderr);
    assert!(pings(&routed, "169.254.1.1"), "nothing happened to it");
}

#[test]
fn a_start_that_fails_later_brings_the_nic_home() {
    let host = Host::start();
    wire(&host);
    let before = face(&host, "w0");
    let nic = r#"nic=[{mode="phys", link="w0"}, {mode="bridge", link="br7"}]"#;
    let tenant = host.create("late", &with(nic));
    assert!(refused(&tenant).contains("br7"));
    assert_eq!(face(&host, "w0"), before);
    assert_eq!(claims(&host), [""; 0]);
    tenant.ctl("destroy", &["--yes"]).ok();
    // Inside as well: a second name that another interface has is where init's side of the start fails.
    let nic = r#"nic=[{mode="phys", link="w0", mtu=1280, altnames=["lo"]}]"#;
    let tenant = host.create("inside", &with(nic));
    refused(&tenant);
    assert_eq!(face(&host, "w0"), before);
    assert_eq!(claims(&host), [""; 0]);
    tenant.ctl("destroy", &["--yes"]).ok();
    let init = r#"init=["/no/such/program"]"#;
    let tenant = host.create("exec", &[with(PHYS), vec!["--set", init]].concat());
    refused(&tenant);
    assert_eq!(face(&host, "w0"), before);
    assert_eq!(claims(&host), [""; 0]);
}

#[test]
fn a_nic_that_is_gone_is_no_longer_claimed() {
    let host = Host::start();
    wire(&host);
    let router = host.boot("router", &with(PHYS));
    ip(&host, "link delete w1");
    assert_eq!(router.says("ls /sys/class/net"), "lo", "it went with its other end");
    router.stop();
    assert_eq!(claims(&host), [""; 0]);
    assert!(refused(&router).contains("no interface \"w0\""));
}
