//! The routed network: who reaches whom, and who cannot pretend to be another.

use std::{
    io::Write as _,
    net::{Ipv6Addr, TcpListener},
    thread,
};

use tenantry_tests::{Host, Tenant, poll};

/// Tenants that reach each other.
const GROUP: [&str; 2] = ["--set", "group=\"shop\""];

fn addresses(tenant: &Tenant<'_>) -> (String, String) {
    let of = |family: &str| {
        let script =
            format!("ip -{family} -brief address show dev eth0 scope global | tr -s ' ' | cut -d' ' -f3");
        tenant.says(&script).split('/').next().unwrap_or_default().to_owned()
    };
    (of("4"), of("6"))
}

/// What somebody listening at an address says first.
fn greeting(from: &Tenant<'_>, address: &str, port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && head -c 4 <&3");
    from.exec(&["timeout", "3", "bash", "-c", &script]).output().stdout
}

/// Where [`greeter`] listens.
const GREETER: u16 = 5303;

/// A greeter in the network namespace of a host, on all its addresses.
fn greeter(host: &Host) {
    let all = (Ipv6Addr::UNSPECIFIED, GREETER);
    let listener: TcpListener = host.in_network(|| TcpListener::bind(all).expect("a port"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // Whoever left before being greeted is not missed.
            let _unread = stream.write_all(b"host");
        }
    });
}

#[test]
fn tenants_reach_each_other_by_address() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &GROUP), host.boot("bob", &GROUP));
    let (four, six) = addresses(&bob);
    assert!(!four.is_empty() && !six.is_empty(), "bob has {four:?} and {six:?}");
    poll::until_true("alice reaches bob over IPv4", || greeting(&alice, &four, 22) == "SSH-");
    poll::until_true("alice reaches bob over IPv6", || greeting(&alice, &six, 22) == "SSH-");
}

#[test]
fn tenants_reach_the_host_by_address_and_by_name() {
    let host = Host::start_with(&format!("host_services = [\"{GREETER}\"]\n"));
    let alice = host.boot("alice", &[]);
    greeter(&host);
    for address in ["169.254.1.1", "fe80::1%eth0", "host.tenantry"] {
        assert_eq!(greeting(&alice, address, GREETER), "host", "{address}");
    }
}

#[test]
fn the_host_reaches_a_tenant() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let (four, six) = addresses(&alice);
    for address in [four, six] {
        let script = format!("exec 3<>/dev/tcp/{address}/22 && head -c 4 <&3");
        let said = host.run("timeout", &["3", "bash", "-c", &script]).output();
        assert_eq!(said.stdout, "SSH-", "{address}: {}", said.stderr);
    }
}

#[test]
fn the_addresses_are_there_when_init_begins() {
    let host = Host::start();
    let script = r#"init=["/bin/sh","-c","ip addr > /root/begin; ip route >> /root/begin; sleep 1000"]"#;
    let early = host.boot("early", &["--image", "busybox", "--set", script]);
    poll::until_true("init looked", || early.says("cat /root/begin").contains("default"));
    let seen = early.says("cat /root/begin");
    let address = early.field("/ipv4");
    assert!(seen.contains(&format!("{address}/32")), "{seen}");
    assert!(!seen.contains("tentative"), "{seen}");
}

#[test]
fn a_default_route_typed_by_hand_works_too() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &GROUP), host.boot("bob", &GROUP));
    let (four, _) = addresses(&bob);
    alice.says("ip route del default && ip route add 0/0 dev eth0");
    assert_eq!(greeting(&alice, &four, 22), "SSH-");
}

#[test]
fn a_tenant_cannot_speak_for_another() {
    let host = Host::start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| host.boot(name, &GROUP));
    let ((own, own6), (of_bob, of_bob6), (of_carol, of_carol6)) =
        (addresses(&alice), addresses(&bob), addresses(&carol));
    assert_eq!(greeting(&alice, &of_carol, 22), "SSH-");
    // Bob is gone, so that nothing of him answers for alice.
    bob.ctl("freeze", &[]).ok();
    let heard =
        |tenant: &Tenant<'_>| -> String { tenant.says("cat /proc/net/snmp /proc/net/snmp6 | sha256sum") };
    let _before = heard(&carol);
    alice.says(&format!(
        "ip address add {of_bob}/32 dev eth0; ip -6 address add {of_bob6}/128 dev eth0 nodad; \
         ip route replace default via 169.254.1.1 dev eth0 onlink src {of_bob}; \
         ip -6 route replace default via fe80::1 dev eth0 src {of_bob6}"
    ));
    assert_eq!(greeting(&alice, &of_carol, 22), "", "with bob's IPv4 address");
    assert_eq!(greeting(&alice, &of_carol6, 22), "", "with bob's IPv6 address");
    alice.says(&format!(
        "ip address del {of_bob}/32 dev eth0; ip route replace default via 169.254.1.1 dev eth0 onlink src {own}; \
         ip -6 address del {of_bob6}/128 dev eth0; ip -6 route replace default via fe80::1 dev eth0 src {own6}"
    ));
    assert_eq!(greeting(&alice, &of_carol, 22), "SSH-");
    alice.says("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up");
    alice.says("ip route replace default via 169.254.1.1 dev eth0 onlink 2>/dev/null || true");
    assert_eq!(greeting(&alice, &of_carol, 22), "", "with another hardware address");
}

#[test]
fn a_tenant_without_network_has_loopback_alone() {
    let host = Host::start();
    let hermit = host.boot("hermit", &["--image", "busybox", "--set", "nic=[]"]);
    assert_eq!(hermit.says("ls /sys/class/net"), "lo");
    assert!(hermit.says("ip addr show lo").contains("127.0.0.1"));
}

#[test]
fn addresses_stay_with_a_tenant_and_are_not_given_twice() {
    let host = Host::start();
    let tenants: Vec<_> = ["a1", "b2", "c3"].map(|name| host.create(name, &["--image", "busybox"])).into();
    let of = |tenant: &Tenant<'_>| (tenant.field("/ipv4"), tenant.field("/uids"));
    let all: Vec<_> = tenants.iter().map(of).collect();
    tenants[0].ctl("restart", &[]).ok();
    host.kill_hostd();
    host.start_hostd();
    assert_eq!(tenants.iter().map(of).collect::<Vec<_>>(), all);
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), 3);
}
