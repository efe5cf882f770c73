//! Network interfaces of every mode: real packets, bad input, and what is left when a tenant has ended.

use std::fs;

use serde_json::Value;
use tenantry_tests::{Host, Tenant, poll};

/// Options of a busybox tenant with these interfaces.
fn with(nics: &str) -> Vec<&str> {
    vec!["--image", "busybox", "--set", nics]
}

/// Networks that tenants may have addresses of besides the default pool.
fn pools(host: &Host) {
    let text = "[[pool]]\nname = \"more\"\nv4 = \"10.44.0.0/16\"\nv6 = \"2001:db8:44::/64\"\n\
                [[pool]]\nname = \"talk\"\nv4 = \"10.0.0.0/24\"\n";
    fs::create_dir_all(host.path("etc/tenantry")).expect("the directory");
    fs::write(host.path("etc/tenantry/hostd.toml"), text).expect("hostd.toml can be written");
}

/// `ip …` in the network of a host.
fn ip(host: &Host, words: &str) -> String {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    host.run("ip", &words).ok().stdout
}

/// What ip(8) knows of an interface of the host; null if there is none.
fn link(host: &Host, name: &str) -> Value {
    let output = host.run("ip", &["-json", "-details", "link", "show", "dev", name]).output();
    if !output.status.success() {
        return Value::Null;
    }
    output.json()[0].clone()
}

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

/// A bridge `br0` of the host with an address.
fn bridge(host: &Host) {
    ip(host, "link add br0 type bridge");
    ip(host, "address add 10.9.0.1/24 dev br0");
    ip(host, "link set br0 up");
}

/// A NIC `w0` of the host and the neighbour at its other end, 10.7.0.1.
fn wire(host: &Host) {
    ip(host, "link add w0 type veth peer name w1");
    ip(host, "link set w0 mtu 1400 alias downlink");
    ip(host, "link property add dev w0 altname enp7s0");
    ip(host, "address add 10.7.0.1/24 dev w1");
    ip(host, "link set w1 up");
    ip(host, "link set w0 up");
}

const PHYS: &str = r#"nic=[{mode="phys", link="w0", name="eth0", addresses=["10.7.0.2/24"]}]"#;

fn pings(from: &Tenant<'_>, address: &str) -> bool {
    from.shell(&format!("ping -c 1 -W 2 {address}")).output().status.success()
}

fn host_pings(host: &Host, address: &str) -> bool {
    host.run("busybox", &["ping", "-c", "1", "-W", "2", address]).output().status.success()
}

fn claims(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.path("run/tenantry/nics")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Starts a tenant that cannot start, and gives what is said about it.
fn refused(tenant: &Tenant<'_>) -> String {
    let output = tenant.ctl("start", &[]).output();
    assert!(!output.status.success(), "{} started", tenant.name());
    assert!(output.stderr.contains("help:"), "no remedy: {}", output.stderr);
    output.stderr
}

#[test]
fn tenants_on_a_bridge_reach_each_other_and_the_host() {
    let host = Host::start();
    bridge(&host);
    ip(&host, "link set br0 mtu 1400");
    let nic = |own: &str| format!(r#"nic=[{{mode="bridge", link="br0", addresses=["{own}"]}}]"#);
    let (one, two) = (nic("10.9.0.2/24"), nic("10.9.0.3/24"));
    let group = |nics| [with(nics), vec!["--set", "group=lan"]].concat();
    let (a, b) = (host.boot("a", &group(&one)), host.boot("b", &group(&two)));
    poll::until_true("a reaches b", || pings(&a, "10.9.0.3"));
    assert!(pings(&b, "10.9.0.2"), "b reaches a");
    assert!(pings(&a, "10.9.0.1"), "a reaches the host");
    assert!(host_pings(&host, "10.9.0.2"), "the host reaches a");
    assert_eq!(a.says("cat /sys/class/net/eth0/mtu"), "1400", "it follows the bridge");
    let ports: Value = host.run("ip", &["-json", "-details", "link", "show", "master", "br0"]).ok().json();
    let ports = ports.as_array().expect("a list of ports");
    assert_eq!(ports.len(), 2);
    for port in ports {
        let data = &port["linkinfo"]["info_slave_data"];
        assert_eq!((&data["guard"], &data["learning"]), (&true.into(), &true.into()), "{port:#}");
        let name = port["ifname"].as_str().expect("a name");
        assert_eq!(ip(&host, &format!("-brief address show dev {name}")).split_ascii_whitespace().count(), 2);
    }
    for tenant in [&a, &b] {
        tenant.stop();
    }
    assert_eq!(link(&host, "br0")["mtu"], 1400);
    let left: Value = host.run("ip", &["-json", "link", "show", "master", "br0"]).ok().json();
    assert_eq!(left.as_array().map(Vec::len), Some(0), "ports are left on the bridge: {left:#}");
}

#[test]
fn what_is_not_a_bridge_or_is_full_is_refused() {
    let host = Host::start();
    wire(&host);
    let nic = |link: &str| format!(r#"nic=[{{mode="bridge", link="{link}"}}]"#);
    let missing = host.create("missing", &with(&nic("br7")));
    let said = refused(&missing);
    assert!(said.contains("no interface \"br7\""), "{said}");
    let other = host.create("other", &with(&nic("w0")));
    let said = refused(&other);
    assert!(said.contains("\"w0\" is not a bridge"), "{said}");
    bridge(&host);
    let mut commands = String::new();
    for pair in 0..512 {
        let second = if pair < 511 { format!("link set q{pair} master br0\n") } else { String::new() };
        commands +=
            &format!("link add p{pair} type veth peer name q{pair}\nlink set p{pair} master br0\n{second}");
    }
    host.run("ip", &["-batch", "-"]).stdin(commands).ok();
    let full = host.create("full", &with(&nic("br0")));
    let said = refused(&full);
    assert!(said.contains("\"br0\" has 1023 ports already"), "{said}");
    assert_eq!(link(&host, &host_end(&full, 0)), Value::Null, "a port is left");
    // It was full, not broken.
    ip(&host, "link delete p0");
    full.start();
}

/// Name of the host's end of a tenant's interface.
fn host_end(tenant: &Tenant<'_>, nic: usize) -> String {
    let plan = tenant.ctl("plan", &[]).ok().stdout;
    let line =
        plan.lines().filter(|line| line.starts_with("network")).nth(nic).expect("it has this interface");
    let name = line.split(" over ").nth(1).expect("it has a host end");
    name.split(' ').next().expect("a name").to_owned()
}

#[test]
fn macvlans_reach_whom_their_mode_lets_them_reach() {
    let host = Host::start();
    wire(&host);
    for (mode, among) in [("bridge", true), ("private", false), ("vepa", false)] {
        let nic = |number: usize| {
            let own = format!("10.7.0.{number}/24");
            format!(r#"nic=[{{mode="macvlan", link="w0", macvlan="{mode}", addresses=["{own}"]}}]"#)
        };
        let (one, two) = (nic(2), nic(3));
        let a = host.boot(&format!("a-{mode}"), &with(&one));
        let b = host.boot(&format!("b-{mode}"), &with(&two));
        poll::until_true("a reaches the other end of the wire", || pings(&a, "10.7.0.1"));
        assert!(pings(&b, "10.7.0.1"), "{mode}: b reaches the other end");
        assert_eq!(pings(&a, "10.7.0.3"), among, "{mode}: a reaches b");
        assert_eq!(a.says("cat /sys/class/net/eth0/mtu"), "1400", "the parent's");
        for tenant in [a, b] {
            tenant.ctl("destroy", &["--force", "--yes"]).ok();
        }
    }
    assert!(!link(&host, "w0").is_null(), "the parent stays");
    let gone = host.create("gone", &with(r#"nic=[{mode="macvlan", link="w7"}]"#));
    assert!(refused(&gone).contains("no interface \"w7\""));
    bridge(&host);
    poll::until_true("the last macvlan is gone with its namespace", || {
        host.run("ip", &["link", "set", "w0", "master", "br0"]).output().status.success()
    });
    let port = host.create("port", &with(r#"nic=[{mode="macvlan", link="w0"}]"#));
    assert!(refused(&port).contains("port of a bridge"));
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

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it can be killed");
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
    assert!(said.contains("tenant \"first\" has the NIC \"w0\""), "{said}");
    assert!(said.contains("tenantctl stop first"), "{said}");
    // The loser takes nothing away from the winner by being destroyed.
    second.ctl("destroy", &["--force", "--yes"]).ok();
    let child = host.create("child", &with(r#"nic=[{mode="vlan", link="w0", vlan=7}]"#));
    assert!(refused(&child).contains("tenant \"first\" has the NIC"));
    assert!(pings(&first, "10.7.0.1"));
    assert_eq!(claims(&host), ["w0.json"]);
    first.stop();
    assert!(!link(&host, "w0").is_null());
}

#[test]
fn a_macvlan_is_there_again_at_once_after_a_restart() {
    let host = Host::start();
    wire(&host);
    let nic = r#"nic=[{mode="macvlan", link="w0", addresses=["10.7.0.2/24"]}]"#;
    let tenant = host.boot("again", &with(nic));
    for _ in 0..5 {
        tenant.ctl("restart", &[]).ok();
        poll::until_true("it reaches the other end", || pings(&tenant, "10.7.0.1"));
    }
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
        ("w1", "default route leads over it"),
        ("v0", "default route leads over it"),
        (port.as_str(), "it is the port of a tenant"),
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
fn a_vlan_is_had_or_the_kernel_is_named_that_lacks_it() {
    let host = Host::start();
    wire(&host);
    let probe =
        host.run("ip", &["link", "add", "link", "w1", "name", "w1.9", "type", "vlan", "id", "9"]).output();
    let nic = r#"nic=[{mode="vlan", link="w0", vlan=9, addresses=["10.71.0.2/24"]}]"#;
    let tenant = host.create("tagged", &with(nic));
    if !probe.status.success() {
        let said = refused(&tenant);
        assert!(said.contains("this kernel has no VLANs (CONFIG_VLAN_8021Q)"), "{said}");
        return;
    }
    ip(&host, "address add 10.71.0.1/24 dev w1.9");
    ip(&host, "link set w1.9 up");
    tenant.start();
    poll::until_true("it reaches the other end of the VLAN", || pings(&tenant, "10.71.0.1"));
    tenant.stop();
    assert!(!link(&host, "w0").is_null());
}

#[test]
fn several_routed_interfaces_are_reached_at_their_own_addresses() {
    let host = Host::start();
    pools(&host);
    let nic = r#"nic=[{mode="routed"}, {mode="routed", addresses=["10.44.0.1", "2001:db8:44::1"]},
        {mode="routed", addresses=["10.44.0.9"]}]"#
        .replace('\n', " ");
    let tenant = host.boot("multi", &["--set", &nic, "--set", "group=one"]);
    assert_eq!(tenant.says("ls /sys/class/net"), "eth0\neth1\neth2\nlo");
    let own = tenant.field("/ipv4");
    for address in [own.as_str(), "10.44.0.1", "10.44.0.9", "2001:db8:44::1"] {
        poll::until_true(&format!("the host reaches {address}"), || host_pings(&host, address));
    }
    let defaults = tenant.says("ip route show default");
    assert!(defaults.lines().next().is_some_and(|line| line.contains("dev eth0")), "{defaults}");
    assert!(defaults.contains("dev eth1") && defaults.contains("metric 2001"), "{defaults}");
    let other = host.boot("other", &[with(r#"nic=[{mode="routed"}]"#), vec!["--set", "group=one"]].concat());
    for address in ["10.44.0.1", "2001:db8:44::1"] {
        assert!(pings(&other, address), "a tenant of its group reaches {address}");
    }
}

#[test]
fn what_the_talk_types_by_hand_works() {
    let host = Host::start();
    pools(&host);
    let tenant = host
        .boot("beta", &["--image", "busybox", "--set", r#"nic=[{mode="routed", addresses=["10.0.0.9"]}]"#]);
    tenant.says("ip address flush dev eth0; ip route flush dev eth0");
    let port = host_end(&tenant, 0);
    ip(&host, "route delete 10.0.0.9/32");
    ip(&host, &format!("neighbour flush nud all dev {port}"));
    // In the tenant, and on the host.
    tenant.says("ip a add 10.0.0.9/32 dev eth0; ip r add 0/0 dev eth0");
    ip(&host, &format!("r add 10.0.0.9/32 dev {port}"));
    poll::until_true("the host reaches it", || host_pings(&host, "10.0.0.9"));
    ip(&host, "address add 10.200.0.1/32 dev lo");
    assert!(pings(&tenant, "10.200.0.1"), "it reaches the host, which answers for every address");
}

#[test]
fn a_hand_made_interface_with_our_name_stays_and_is_named() {
    let host = Host::start();
    let tenant = host.create("early", &["--image", "busybox"]);
    let port = host_end(&tenant, 0);
    ip(&host, &format!("link add {port} type veth peer name stranger"));
    let said = refused(&tenant);
    assert!(said.contains(&port) && said.contains("did not make"), "{said}");
    assert!(said.contains(&format!("ip link delete {port}")), "{said}");
    assert!(!link(&host, &port).is_null(), "it was not ours to remove");
    tenant.ctl("stop", &[]).output();
    assert!(!link(&host, &port).is_null(), "it was not ours to remove");
    ip(&host, &format!("link delete {port}"));
    tenant.start();
    tenant.stop();
    assert!(link(&host, &port).is_null(), "this one was");
    // One with our readable name as well.
    ip(&host, "link add stranger type veth peer name other");
    let plan = tenant.ctl("plan", &[]).ok().stdout;
    let altname = plan.split(&format!("{port} (")).nth(1).and_then(|rest| rest.split(')').next());
    let altname = altname.expect("the plan names it");
    ip(&host, &format!("link property add dev stranger altname {altname}"));
    let said = refused(&tenant);
    assert!(said.contains(altname) && said.contains("did not make"), "{said}");
    assert!(link(&host, &port).is_null() && !link(&host, "stranger").is_null());
}

#[test]
fn an_interface_that_vanishes_disturbs_nothing() {
    let host = Host::start();
    bridge(&host);
    wire(&host);
    let nics = r#"nic=[{mode="routed"}, {mode="bridge", link="br0"}, {mode="macvlan", link="w0"}]"#;
    let tenant = host.boot("calm", &with(nics));
    ip(&host, &format!("link delete {}", host_end(&tenant, 0)));
    ip(&host, "link delete br0");
    ip(&host, "link delete w0");
    assert_eq!(tenant.phase(), "running");
    assert_eq!(tenant.says("echo alive"), "alive");
    tenant.stop();
    let said = refused(&tenant);
    assert!(said.contains("no interface \"br0\""), "{said}");
    tenant.ctl("destroy", &["--yes"]).ok();
    wire(&host);
    let router = host.boot("router", &with(PHYS));
    ip(&host, "link delete w1");
    assert_eq!(router.says("ls /sys/class/net"), "lo", "it went with its other end");
    router.stop();
    assert_eq!(claims(&host), [""; 0]);
    assert!(refused(&router).contains("no interface \"w0\""));
}
