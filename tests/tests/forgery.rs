//! What a hostile tenant puts on its wire: of 10,000 forged frames of each kind none reaches a neighbour
//! or the host's stack, while honest frames of the same shape do, and the forged ones do where nobody
//! stops them.

use std::collections::BTreeSet;

use tenantry_tests::{
    Elsewhere, Host, Namespace, Run, Tenant,
    forgery::{Cast, Ears, End, Frames, Free, PORT, beliefs, end, inject, link_mac, mac_of},
    frame::Mac,
};

/// Tenants of one group, so that what stops a frame is not that they are isolated.
const GROUP: [&str; 4] = ["--image", "debian", "--set", "group=g"];

/// A host whose hostd reads this configuration. What is forged for the host goes to a service that is open: it is not
/// stopped because it is for nobody.
fn host_with(config: &str) -> Host {
    Host::start_with(&format!("host_services = [\"{PORT}/udp\"]\n{config}"))
}

fn from(tenant: &Tenant<'_>) -> Run {
    tenant.exec(&["/root/probe", "inject", "eth0"])
}

/// The host's end of a tenant's link.
fn gateway(host: &Host, tenant: &Tenant<'_>) -> Mac {
    let number: u64 = tenant.says("cat /sys/class/net/eth0/iflink").parse().expect("a number");
    link_mac(host, |link| link["ifindex"] == number)
}

fn routed(host: &Host, [alice, bob, carol]: [&Tenant<'_>; 3]) -> Cast {
    let mac = gateway(host, alice);
    let own = End { mac, v4: [169, 254, 1, 1].into(), v6: "fe80::1".parse().expect("an address") };
    Cast { own: end(alice), peer: end(bob), third: end(carol), host: own, next: mac }
}

/// No forged frame arrives or is believed, every honest one arrives.
fn holds(ears: &Ears, places: &[Namespace], alice: &Tenant<'_>, forged: &Frames, honest: &Frames) {
    let believed: Vec<_> = places.iter().map(beliefs).collect();
    inject(from(alice), forged);
    assert_eq!(ears.heard(), [""; 0], "forged frames arrived");
    for (place, before) in places.iter().zip(believed) {
        let since: Vec<_> = beliefs(place).symmetric_difference(&before).cloned().collect();
        assert_eq!(since, [""; 0], "somebody believes otherwise");
    }
    inject(from(alice), honest);
    assert_eq!(ears.missed(honest), [""; 0], "honest frames did not arrive");
}

#[test]
fn on_a_routed_link_no_forged_frame_arrives() {
    let host = host_with("");
    let tenants = ["alice", "bob", "carol"].map(|name| host.boot(name, &GROUP));
    let [alice, bob, _] = &tenants;
    alice.bring_probe();
    let cast = routed(&host, tenants.each_ref());
    // The host hears claims of addresses that nobody has, because one that its admin routed there by hand has
    // to be asked for; it must not believe them.
    let claims: Frames = cast.forged().into_iter().filter(|(frame, _)| Cast::is_claim(frame)).collect();
    let forged: Frames = cast.forged().into_iter().filter(|frame| !claims.contains(frame)).collect();
    let honest = cast.honest();
    let all = [forged.clone(), honest.clone()].concat();
    let mut ears = Ears::open(&host, bob, &all);
    let places = [host.network(), Namespace::of(bob.pids().0)];
    holds(&ears, &places, alice, &forged, &honest);
    let believed = places.each_ref().map(beliefs);
    inject(from(alice), &claims);
    assert_eq!(places.each_ref().map(beliefs), believed, "a claim was believed");
    // The same frames where nobody stops them: the ears are not deaf.
    host.run("nft", &["flush", "ruleset"]).ok();
    host.run("sh", &["-c", "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done"]).ok();
    ears.open_again(&host, &all);
    inject(from(alice), &forged);
    assert_eq!(ears.missed(&forged), [""; 0], "a forged frame does not arrive though nobody stops it");
    // They fill the host's table of neighbours then, but what it knows of tenants stays.
    let of_tenants = |beliefs: &BTreeSet<String>| -> BTreeSet<String> {
        let lines = beliefs.iter().filter(|line| line.contains(" PERMANENT"));
        lines.filter(|line| line.contains(" lladdr ")).cloned().collect()
    };
    let now = beliefs(&places[0]);
    let learnt = now.difference(&believed[0]).filter(|line| line.contains(" lladdr ")).count();
    println!("without the filter the host believes in {learnt} more neighbours");
    assert!(learnt > 0, "the host learns nothing of neighbours though nobody stops it");
    assert!(of_tenants(&now).len() >= 6, "{now:#?}");
    assert_eq!(of_tenants(&now), of_tenants(&believed[0]), "a tenant was taken from its place");
}

/// A bridge of the host that has an address, and a machine on it that is no tenant.
fn bridge(host: &Host) -> (End, Elsewhere) {
    let machine = Elsewhere::new();
    // With a hardware address of its own: one that it is not given follows its ports.
    let script = format!(
        "ip link add br0 address 02:00:00:00:00:fe type bridge; ip link set br0 up
         ip addr add 10.9.0.254/24 dev br0; ip addr add fd09::fe/64 dev br0 nodad
         ip link add plain type veth peer name eth0 netns {}; ip link set plain master br0 up",
        machine.network().pid()
    );
    host.network().shell(&script).ok();
    machine.network().shell("ip link set eth0 up").ok();
    let mac = link_mac(host, |link| link["ifname"] == "br0");
    (End { mac, v4: [10, 9, 0, 254].into(), v6: "fd09::fe".parse().expect("an address") }, machine)
}

fn boot_bridged<'a>(host: &'a Host, name: &str, number: u8, options: &[&str]) -> Tenant<'a> {
    let nic = format!(
        r#"nic=[{{ mode = "bridge", link = "br0", addresses = ["10.9.0.{number}/24", "fd09::{number}/64"] }}]"#
    );
    let tenant = host.create(name, options);
    tenant.ctl("set", &[&nic]).ok();
    tenant.start();
    tenant
}

#[test]
fn on_a_bridge_no_forged_frame_arrives() {
    let host = host_with("");
    let (own, machine) = bridge(&host);
    let tenants = [("alice", 1), ("bob", 2), ("carol", 3)];
    let tenants = tenants.map(|(name, number)| boot_bridged(&host, name, number, &GROUP));
    let [alice, bob, carol] = &tenants;
    alice.bring_probe();
    let peer = end(bob);
    let cast = Cast { own: end(alice), peer, third: end(carol), host: own, next: peer.mac };
    let (forged, honest) = (cast.forged(), cast.honest());
    let all = [forged.clone(), honest.clone()].concat();
    let ears = Ears::open(&host, bob, &all);
    holds(&ears, &[host.network(), Namespace::of(bob.pids().0)], alice, &forged, &honest);
    // The same frames from a port that is nobody's, where nobody stops them: the ears are not deaf.
    let probe = host.program("probe").display().to_string();
    let switched = cast.switched(&forged);
    assert!(switched.iter().filter(|(_, free)| *free == Free::Peer).count() > 40);
    inject(machine.network().run(&probe, &["inject", "eth0"]), &switched);
    assert_eq!(ears.missed(&switched), [""; 0], "a forged frame does not arrive though nobody stops it");
}

#[test]
fn a_port_without_addresses_sends_only_dhcp_requests() {
    let host = host_with("");
    let (own, _machine) = bridge(&host);
    let alice = host.create("alice", &GROUP);
    alice.ctl("set", &[r#"nic=[{ mode = "bridge", link = "br0" }]"#]).ok();
    alice.start();
    alice.bring_probe();
    let bob = boot_bridged(&host, "bob", 2, &GROUP);
    let peer = end(&bob);
    let mac = mac_of(&alice);
    let cast = Cast { own: End { mac, ..peer }, peer, third: peer, host: own, next: peer.mac };
    let (honest, forged) = cast.before_an_address();
    let all = [forged.clone(), honest.clone()].concat();
    let ears = Ears::open(&host, &bob, &all);
    holds(&ears, &[host.network(), Namespace::of(bob.pids().0)], &alice, &forged, &honest);
}

/// Honest frames to a neighbour, and whether they arrive.
fn reaches(host: &Host, alice: &Tenant<'_>, bob: &Tenant<'_>, cast: &Cast) -> bool {
    let honest: Frames = cast.honest().into_iter().filter(|(_, free)| *free != Free::Unused).collect();
    let (to_peer, to_host): (Frames, Frames) =
        honest.iter().cloned().partition(|(_, free)| *free == Free::Peer);
    let ears = Ears::open(host, bob, &honest);
    inject(from(alice), &to_peer);
    let missed = ears.missed(&to_peer);
    assert!(missed.is_empty() || missed.len() == to_peer.len(), "{missed:?}");
    inject(from(alice), &to_host);
    assert_eq!(ears.missed(&to_host), [""; 0], "the host is reached in any case");
    missed.is_empty()
}

/// Whether alice reaches bob over each kind of link, on a host with this configuration.
fn neighbours(config: &str, groups: [&[&str]; 2]) -> [bool; 2] {
    let host = host_with(config);
    let (own, _machine) = bridge(&host);
    let over = |alice: Tenant<'_>, bob: Tenant<'_>, cast: &dyn Fn(&Tenant<'_>, &Tenant<'_>) -> Cast| {
        alice.bring_probe();
        reaches(&host, &alice, &bob, &cast(&alice, &bob))
    };
    let (alice, bob) = (host.boot("alice", groups[0]), host.boot("bob", groups[1]));
    let routed = over(alice, bob, &|alice, bob| routed(&host, [alice, bob, bob]));
    let (dora, emil) = (boot_bridged(&host, "dora", 1, groups[0]), boot_bridged(&host, "emil", 2, groups[1]));
    let bridged = over(dora, emil, &|dora, emil| {
        let peer = end(emil);
        Cast { own: end(dora), peer, third: peer, host: own, next: peer.mac }
    });
    [routed, bridged]
}

#[test]
fn tenants_without_a_common_group_reach_the_host_and_not_each_other() {
    let [g, h]: [&[&str]; 2] = [&["--set", "group=g"], &["--set", "group=h"]];
    assert_eq!(neighbours("", [&[], &[]]), [false, false], "without a group");
    assert_eq!(neighbours("", [g, h]), [false, false], "of two groups");
    assert_eq!(neighbours("", [g, g]), [true, true], "of one group");
}

#[test]
fn on_a_host_that_does_not_isolate_all_tenants_reach_each_other() {
    assert_eq!(neighbours("isolation = false\n", [&[], &["--set", "group=h"]]), [true, true]);
}
