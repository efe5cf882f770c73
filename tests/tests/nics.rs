//! Network interfaces that are made for a tenant: real packets, bad input, and what is left afterwards.

use std::fs;

use serde_json::Value;
use tenantry_tests::{
    Host, poll,
    wire::{bridge, host_end, host_pings, ip, link, pings, refused, wire, with},
};

/// Networks that tenants may have addresses of besides the default pool.
fn pools(host: &Host) {
    let text = "[[pool]]\nname = \"more\"\nv4 = \"10.44.0.0/16\"\nv6 = \"2001:db8:44::/64\"\n\
                [[pool]]\nname = \"talk\"\nv4 = \"10.0.0.0/24\"\n";
    fs::create_dir_all(host.path("etc/tenantry")).expect("the directory");
    fs::write(host.path("etc/tenantry/hostd.toml"), text).expect("hostd.toml can be written");
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
    // They go a moment after their tenants.
    let left = || host.run("ip", &["-json", "link", "show", "master", "br0"]).ok().json();
    poll::until_true("no port is left on the bridge", || left().as_array().is_some_and(Vec::is_empty));
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
    assert!(said.contains("\"br0\" already has 1023 ports"), "{said}");
    assert_eq!(link(&host, &host_end(&full, 0)), Value::Null, "a port is left");
    // It was full, not broken.
    ip(&host, "link delete p0");
    full.start();
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
fn a_vlan_is_had_or_the_kernel_is_named_that_lacks_it() {
    let host = Host::start();
    wire(&host);
    let probe =
        host.run("ip", &["link", "add", "link", "w1", "name", "w1.9", "type", "vlan", "id", "9"]).output();
    let nic = r#"nic=[{mode="vlan", link="w0", vlan=9, addresses=["10.71.0.2/24"]}]"#;
    let tenant = host.create("tagged", &with(nic));
    if !probe.status.success() {
        let said = refused(&tenant);
        assert!(said.contains("this kernel does not support VLANs (CONFIG_VLAN_8021Q)"), "{said}");
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
    ip(&host, &format!("link add {port} type veth peer name outsider"));
    let said = refused(&tenant);
    assert!(said.contains(&port) && said.contains("does not belong to a tenant"), "{said}");
    assert!(said.contains(&format!("ip link delete {port}")), "{said}");
    assert!(!link(&host, &port).is_null(), "it was not ours to remove");
    tenant.ctl("stop", &[]).output();
    assert!(!link(&host, &port).is_null(), "it was not ours to remove");
    ip(&host, &format!("link delete {port}"));
    tenant.start();
    tenant.stop();
    poll::until_true("this one was", || link(&host, &port).is_null());
    // One with our readable name as well.
    ip(&host, "link add outsider type veth peer name other");
    let plan = tenant.ctl("plan", &[]).ok().stdout;
    let altname = plan.split(&format!("{port} (")).nth(1).and_then(|rest| rest.split(')').next());
    let altname = altname.expect("the plan names it");
    ip(&host, &format!("link property add dev outsider altname {altname}"));
    let said = refused(&tenant);
    assert!(said.contains(altname) && said.contains("does not belong to a tenant"), "{said}");
    poll::until_true("its own port is gone", || link(&host, &port).is_null());
    assert!(!link(&host, "outsider").is_null());
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
}
