//! What tenants reach of the host itself: ping, and the services that hostd.toml opens.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use nix::net::if_::if_nametoindex;
use tenantry_tests::{Elsewhere, Host, Namespace, Tenant, poll};

/// A port at which the host says something, over TCP and UDP, at all of its addresses.
const OPEN: u16 = 5301;
/// One more, which nobody opens.
const SHUT: u16 = 5302;

/// How long an answer may take that nothing keeps from coming.
const LIMIT: Duration = Duration::from_millis(400);

/// A host with two services, one of them open, an uplink and a bridge.
fn host() -> Host {
    let mut host = Host::bare();
    host.share_images();
    host.configure(&format!("host_services = [\"{OPEN}/tcp\", \"{OPEN}/udp\"]\n"));
    host.network()
        .shell(
            "ip link add out0 type bridge; ip addr add 192.0.2.1/24 dev out0; ip addr add fd99::1/64 dev out0 nodad
             ip link set out0 up
             ip link add br0 type bridge; ip addr add 10.9.0.254/24 dev br0; ip addr add fd09::fe/64 dev br0 nodad
             ip link set br0 up",
        )
        .ok();
    for port in [OPEN, SHUT] {
        serve(&host.network(), port);
    }
    host.start_hostd();
    host
}

/// Says `here` to whoever calls.
fn serve(network: &Namespace, port: u16) {
    let (listener, socket) = network.inside(|| {
        let all = (Ipv6Addr::UNSPECIFIED, port);
        (TcpListener::bind(all).expect("a port"), UdpSocket::bind(all).expect("a port"))
    });
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who has gone does not hear it.
            let _gone = stream.write_all(b"here");
        }
    });
    thread::spawn(move || {
        while let Ok((_, caller)) = socket.recv_from(&mut [0; 16]) {
            let _gone = socket.send_to(b"here", caller);
        }
    });
}

fn target(address: &str, port: u16) -> SocketAddr {
    match address.parse().expect("an address") {
        IpAddr::V6(six) if six.is_unicast_link_local() => {
            let index = if_nametoindex("eth0").expect("a tenant has eth0");
            SocketAddrV6::new(six, port, 0, index).into()
        }
        other => SocketAddr::new(other, port),
    }
}

fn by_tcp(from: &Namespace, address: &str, port: u16) -> bool {
    let hear = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&target(address, port), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut said = [0; 4];
        stream.read_exact(&mut said)?;
        Ok(said == *b"here")
    };
    from.inside(|| hear().unwrap_or(false))
}

fn by_udp(from: &Namespace, address: &str, port: u16) -> bool {
    let hear = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(LIMIT))?;
        let target = match target(address, port) {
            SocketAddr::V4(four) => SocketAddr::new(four.ip().to_ipv6_mapped().into(), port),
            six @ SocketAddr::V6(_) => six,
        };
        socket.send_to(b"?", target)?;
        let mut said = [0; 4];
        Ok(socket.recv(&mut said)? == 4 && said == *b"here")
    };
    from.inside(|| hear().unwrap_or(false))
}

fn pings(tenant: &Tenant<'_>, address: &str) -> bool {
    let way: &[&str] = if address.starts_with("fe80") { &["-I", "eth0"] } else { &[] };
    tenant.exec(&["ping", "-c", "1", "-W", "2"]).args(way).args([address]).output().status.success()
}

fn network(tenant: &Tenant<'_>) -> Namespace {
    Namespace::of(tenant.pids().0)
}

/// At none of these addresses is more of the host than ping and what is open.
fn only_what_is_open(tenant: &Tenant<'_>, addresses: &[&str]) {
    let from = network(tenant);
    for address in addresses {
        let name = tenant.name();
        assert!(pings(tenant, address), "{name} pings {address}");
        assert!(by_tcp(&from, address, OPEN), "{name} by TCP to {address}, which is open");
        assert!(by_udp(&from, address, OPEN), "{name} by UDP to {address}, which is open");
        assert!(!by_tcp(&from, address, SHUT), "{name} by TCP to {address}, which is not open");
        assert!(!by_udp(&from, address, SHUT), "{name} by UDP to {address}, which is not open");
    }
}

/// The host's link-local address on an interface.
fn link_local(host: &Host, link: &str) -> String {
    poll::until("there is a link-local address", || {
        let said = host.run("ip", &["-json", "-6", "address", "show", "dev", link]).ok().json();
        let own = said[0]["addr_info"].as_array()?.iter().find(|own| own["scope"] == "link")?.clone();
        own["tentative"].is_null().then(|| own["local"].as_str().map(str::to_owned))?
    })
}

fn bridged<'a>(host: &'a Host, name: &str, number: u8) -> Tenant<'a> {
    let nic = format!(
        r#"nic=[{{ mode = "bridge", link = "br0", addresses = ["10.9.0.{number}/24", "fd09::{number}/64"], gateways = ["10.9.0.254", "fd09::fe"] }}]"#
    );
    host.boot(name, &["--image", "busybox", "--set", &nic])
}

#[test]
fn a_routed_tenant_reaches_of_the_host_what_is_open() {
    let host = host();
    let alice = host.boot("alice", &["--image", "busybox"]);
    only_what_is_open(&alice, &["169.254.1.1", "192.0.2.1", "10.9.0.254", "fe80::1", "fd99::1", "fd09::fe"]);
    let refused = || alice.show()["traffic"]["refused_packets"].as_u64().unwrap_or_default();
    poll::until_true("what was refused is counted", || refused() >= 12);
    // Somebody has led 127.0.0.1 out, e.g. for a balancer of loads, and alice looks for it on her wire.
    let port = host.run("sh", &["-c", "ip -o link | grep -o 't1-0[^@]*'"]).ok().text().to_owned();
    host.network().shell(&format!("echo 1 > /proc/sys/net/ipv4/conf/{port}/route_localnet")).ok();
    network(&alice)
        .shell(&format!(
            "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet; ip addr flush dev lo
             ip route add 127.0.0.0/8 via 169.254.1.1 dev eth0 onlink src {}",
            alice.field("/ipv4")
        ))
        .ok();
    assert!(!by_tcp(&network(&alice), "127.0.0.1", OPEN), "127.0.0.1 is the host's own");
    // Where nothing is filtered she reaches all of it: the way was right.
    host.run("nft", &["flush", "ruleset"]).ok();
    for (address, port) in [("127.0.0.1", OPEN), ("169.254.1.1", SHUT), ("fe80::1", SHUT)] {
        assert!(by_tcp(&network(&alice), address, port), "{address} where nothing is filtered");
    }
}

#[test]
fn a_bridged_tenant_reaches_of_the_host_what_is_open() {
    let host = host();
    let own = link_local(&host, "br0");
    // A mark of ours would lead somebody's routing rules astray.
    let look = "nft add table inet look; nft add chain inet look c '{ type filter hook prerouting priority -98; }'; \
                nft add rule inet look c iifname br0 meta mark != 0 counter; \
                nft add rule inet look c iifname br0 meta mark 0 counter";
    host.network().shell(look).ok();
    for called in ["0", "1"] {
        let files =
            "/proc/sys/net/bridge/bridge-nf-call-iptables /proc/sys/net/bridge/bridge-nf-call-ip6tables";
        // Not there where no br_netfilter is.
        host.network()
            .shell(&format!("for file in {files}; do [ ! -e $file ] || echo {called} > $file; done"))
            .ok();
        let name = format!("bob{called}");
        let bob = bridged(&host, &name, 2);
        only_what_is_open(&bob, &["10.9.0.254", "192.0.2.1", "fd09::fe", "fd99::1", &own]);
        for all in ["10.9.0.255", "255.255.255.255"] {
            assert!(!by_udp(&network(&bob), all, SHUT), "by UDP to {all}");
        }
        if called == "0" {
            bob.ctl("destroy", &["--force", "--yes"]).ok();
        }
    }
    let seen = host.run("nft", &["list", "chain", "inet", "look", "c"]).ok().stdout;
    let counts: Vec<bool> = seen
        .lines()
        .filter(|line| line.contains("counter"))
        .map(|line| line.contains("packets 0 "))
        .collect();
    assert_eq!(counts, [true, false], "{seen}");
    // Where nothing is filtered all of it is reached: the ways were right.
    host.run("nft", &["flush", "ruleset"]).ok();
    let bob = network(&Tenant::new(&host, "bob1"));
    for address in ["10.9.0.254", "192.0.2.1", "fd09::fe", "fd99::1", &own] {
        assert!(
            by_tcp(&bob, address, SHUT) && by_udp(&bob, address, SHUT),
            "{address} where nothing is filtered"
        );
    }
    assert!(by_udp(&bob, "255.255.255.255", SHUT), "a broadcast where nothing is filtered");
}

#[test]
fn the_host_reaches_its_tenants_and_published_ports_are_not_services_of_the_host() {
    let host = host();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "ports=2222:5301/tcp"]);
    let (bob, carol) = (bridged(&host, "bob", 2), host.boot("carol", &["--image", "busybox"]));
    serve(&network(&alice), OPEN);
    serve(&network(&bob), OPEN);
    for (tenant, addresses) in [
        (&alice, [alice.field("/ipv4"), alice.field("/ipv6")]),
        (&bob, ["10.9.0.2".into(), "fd09::2".into()]),
    ] {
        for address in addresses {
            assert!(by_tcp(&host.network(), &address, OPEN), "the host reaches {} by TCP", tenant.name());
            assert!(by_udp(&host.network(), &address, OPEN), "the host reaches {} by UDP", tenant.name());
        }
    }
    // What the host's admin leads elsewhere is not the host itself either.
    let elsewhere = Elsewhere::new();
    let pid = elsewhere.network().pid();
    host.network()
        .shell(&format!(
            "ip link add other0 type veth peer name eth0 netns {pid}; ip addr add 172.17.0.1/16 dev other0
             ip link set other0 up; echo 1 > /proc/sys/net/ipv4/ip_forward
             nft add table ip nat
             nft add chain ip nat pre '{{ type nat hook prerouting priority dstnat; }}'
             nft add rule ip nat pre tcp dport 8081 dnat to 172.17.0.2:{OPEN}"
        ))
        .ok();
    elsewhere
        .network()
        .shell("ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1")
        .ok();
    serve(&elsewhere.network(), OPEN);
    for tenant in [&bob, &carol] {
        assert!(by_tcp(&network(tenant), "192.0.2.1", 2222), "{} reaches alice's port", tenant.name());
        assert!(by_tcp(&network(tenant), "192.0.2.1", 8081), "{} reaches the admin's port", tenant.name());
    }
}

#[test]
fn what_is_open_is_shown_and_a_change_counts_when_the_filter_is_repaired() {
    let host = host();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let planned = || alice.ctl("plan", &[]).ok().stdout;
    let line = format!("filter      of the host itself: ping, {OPEN}/tcp, {OPEN}/udp\n");
    assert!(planned().contains(&line), "{}", planned());
    let said = host.ctl(&["doctor"]).ok().stdout;
    assert!(
        said.contains(&format!("tenants can reach on this host: ping, {OPEN}/tcp, {OPEN}/udp")),
        "{said}"
    );
    host.configure(&format!("host_services = [\"{SHUT}\"]\n"));
    assert!(
        planned().contains(&format!("filter      of the host itself: ping, {SHUT}/tcp\n")),
        "{}",
        planned()
    );
    let said = host.ctl(&["doctor"]).output();
    assert!(said.code() == 1 && said.stdout.contains("services"), "{}", said.stdout);
    assert!(by_tcp(&network(&alice), "169.254.1.1", OPEN), "until it is repaired");
    host.ctl(&["doctor", "--repair"]).ok();
    assert!(by_tcp(&network(&alice), "169.254.1.1", SHUT));
    assert!(!by_tcp(&network(&alice), "169.254.1.1", OPEN));
    host.configure("host_services = [\"dns\"]\n");
    let text = host.ctl(&["create", "x", "--image", "busybox"]).output().refused(2);
    assert!(text.contains("\"dns\" is not a service"), "{text}");
}
