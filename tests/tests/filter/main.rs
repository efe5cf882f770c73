//! The packet filter: who reaches whom, which ports of the host lead where, how fast; and that it is whole
//! again after whatever was done to it.

mod tables;

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use tenantry_tests::{Elsewhere, Host, Namespace, Run, Running, Tenant, poll};

const SINK: &str = "5001";

/// A busybox tenant with the probe inside.
fn boot<'a>(host: &'a Host, name: &str, settings: &[&str]) -> Tenant<'a> {
    let mut options = vec!["--image", "busybox"];
    settings.iter().for_each(|setting| options.extend(["--set", setting]));
    let tenant = host.boot(name, &options);
    tenant.bring_probe();
    tenant
}

/// Takes connections at [`SINK`].
fn sink(tenant: &Tenant<'_>) -> Running {
    let mut sink = Running::start(&tenant.exec(&["/root/probe", "sink", SINK]));
    sink.expect("listening");
    sink
}

fn sink_in(host: &Host, namespace: &Namespace) -> Running {
    let probe = host.program("probe").display().to_string();
    let mut sink = Running::start(&namespace.run(&probe, &["sink", SINK]));
    sink.expect("listening");
    sink
}

/// Whether a tenant can connect.
fn reaches(from: &Tenant<'_>, address: &str, port: &str) -> bool {
    from.exec(&["timeout", "2", "/root/probe", "pump", address, port, "1"]).output().status.success()
}

/// Whether somebody in a network namespace can connect.
fn reaches_from(host: &Host, from: &Namespace, address: &str, port: &str) -> bool {
    let probe = host.program("probe").display().to_string();
    from.run("timeout", &["2", &probe, "pump", address, port, "1"]).output().status.success()
}

/// A machine beside the host: 192.0.2.2 and fd99::2, the host has .1 and ::1. It knows no way to tenants.
fn outside(host: &Host) -> Elsewhere {
    let machine = Elsewhere::new();
    let pid = machine.network().pid();
    host.network()
        .shell(&format!(
            "ip link add out0 type veth peer name eth0 netns {pid}; ip addr add 192.0.2.1/24 dev out0; \
             ip addr add fd99::1/64 dev out0 nodad; ip link set out0 up; \
             echo 1 > /proc/sys/net/ipv4/conf/out0/forwarding"
        ))
        .ok();
    machine
        .network()
        .shell(
            "ip addr add 192.0.2.2/24 dev eth0; ip addr add fd99::2/64 dev eth0 nodad; ip link set eth0 up",
        )
        .ok();
    machine
}

#[test]
fn tenants_reach_those_of_their_group_alone_and_a_change_of_it_counts_at_once() {
    let host = Host::start();
    let [alice, bob] = ["alice", "bob"].map(|name| boot(&host, name, &[]));
    let _sink = sink(&bob);
    let addresses = [bob.field("/ipv4"), bob.field("/ipv6")];
    let all = || addresses.each_ref().map(|address| reaches(&alice, address, SINK));
    assert_eq!(all(), [false, false], "without a group");
    for tenant in [&alice, &bob] {
        let done = tenant.ctl("set", &["--json", "group=shop"]).ok().json();
        assert!(done.get("needs_restart").is_none(), "{done}");
    }
    assert_eq!(all(), [true, true], "of one group");
    bob.ctl("set", &["group=bank"]).ok();
    assert_eq!(all(), [false, false], "of two groups");
    let refused = alice.show()["traffic"]["refused_packets"].as_u64();
    assert!(refused.is_some_and(|count| count >= 4), "{refused:?}");
}

#[test]
fn a_port_of_the_host_leads_to_a_tenant_from_everywhere() {
    let host = Host::start();
    let machine = outside(&host);
    let alice = boot(&host, "alice", &["ports=2222:5001/tcp"]);
    let bob = boot(&host, "bob", &[]);
    let _sink = sink(&alice);
    for address in ["192.0.2.1", "fd99::1"] {
        assert!(reaches_from(&host, &machine.network(), address, "2222"), "from outside by {address}");
        assert!(reaches_from(&host, &host.network(), address, "2222"), "from the host by {address}");
        assert!(reaches(&bob, address, "2222"), "from a tenant of no group by {address}");
        assert!(reaches(&alice, address, "2222"), "from itself by {address}");
    }
    assert!(reaches(&bob, "169.254.1.1", "2222"), "by the gateway");
    assert!(!reaches(&bob, &alice.field("/ipv4"), SINK), "but not directly");
    assert!(!reaches_from(&host, &host.network(), "127.0.0.1", "2222"), "127.0.0.1 is the host's own");

    let text = bob.ctl("set", &["ports=2222:22/tcp"]).output().refused(4);
    assert!(text.contains("2222/tcp") && text.contains("alice"), "{text}");
    let done = alice.ctl("set", &["--json", "ports=2223:5001/tcp"]).ok().json();
    assert!(done.get("needs_restart").is_none(), "{done}");
    assert!(reaches_from(&host, &machine.network(), "192.0.2.1", "2223"), "the new port");
    assert!(!reaches_from(&host, &machine.network(), "192.0.2.1", "2222"), "the old port");
    bob.ctl("set", &[r#"ports=["2222:5001/tcp", "2222:53/udp"]"#]).ok();
    let _of_bob = sink(&bob);
    assert!(reaches_from(&host, &machine.network(), "192.0.2.1", "2222"), "it is bob's now");
    alice.stop();
    assert!(!reaches_from(&host, &machine.network(), "192.0.2.1", "2223"), "of a tenant that has stopped");
    host.ctl(&["doctor"]).ok();
}

#[test]
fn a_port_that_a_running_tenant_holds_keeps_another_from_starting() {
    let host = Host::start();
    let alice = boot(&host, "alice", &["ports=2222:5001/tcp"]);
    let bob = host.create("bob", &["--image", "busybox", "--set", "ports=2223:22/tcp"]);
    // An admin who edits the file by hand is told as well, whoever looks first.
    let file = host.path("etc/tenantry/tenants/bob.toml");
    let text = fs::read_to_string(&file).expect("bob has a file").replace("2223", "2222");
    fs::write(&file, text).expect("it can be written");
    let text = bob.ctl("start", &[]).output().refused(4);
    assert!(text.contains("2222/tcp") && text.contains("alice"), "{text}");
    assert_eq!((alice.phase().as_str(), bob.phase() == "running"), ("running", false));
    // It is alice's as long as her file says so, whether she runs or not.
    alice.stop();
    bob.ctl("start", &[]).output().refused(4);
    alice.ctl("set", &["--unset", "ports"]).ok();
    bob.start();
    // What somebody has put there without telling anybody is not overwritten either.
    let strange = "for t in $(nft list tables | grep -o 'inet .*'); do table=$t; done; \
                   nft add element inet $table forwards4 '{ tcp . 2224 : 10.9.9.9 . 22 }'";
    host.network().shell(strange).ok();
    let carol = host.create("carol", &["--image", "busybox", "--set", "ports=2224:22/tcp"]);
    let text = carol.ctl("start", &[]).output().refused(1);
    assert!(text.contains("2224/tcp") && text.contains("is already forwarded to another target"), "{text}");
    host.ctl(&["doctor", "--repair"]).ok();
    carol.start();
}

#[test]
fn an_address_that_the_admin_routes_to_a_port_by_hand_may_be_used() {
    let host = Host::start();
    let alice = boot(&host, "alice", &[]);
    alice.says("ip addr add 10.0.0.2/32 dev eth0; ip addr add fd77::2/128 dev eth0");
    poll::until_true("nobody else has it", || !alice.says("ip addr").contains("tentative"));
    let pings = |source: &str, target: &str| {
        alice.exec(&["ping", "-c", "1", "-W", "1", "-I", source, target]).output().status.success()
    };
    let machine = outside(&host);
    let way = "ip route add 10.0.0.2/32 via 192.0.2.1; ip route add fd77::2/128 via fd99::1";
    machine.network().shell(way).ok();
    assert!(!pings("10.0.0.2", "192.0.2.2") && !pings("fd77::2", "fd99::2"), "nobody routed them");
    let port = host.run("sh", &["-c", "ip -o link | grep -o 't1-0[^@]*'"]).ok().text().to_owned();
    host.network()
        .shell(&format!("ip route add 10.0.0.2/32 dev {port}; ip route add fd77::2/128 dev {port}"))
        .ok();
    assert!(pings("10.0.0.2", "192.0.2.2"), "IPv4");
    assert!(pings("fd77::2", "fd99::2"), "IPv6");
}

#[test]
fn tenants_of_a_pool_with_nat_leave_under_the_address_of_the_host() {
    for (config, wanted) in [("nat = true\n", true), ("", false)] {
        let host = Host::start_with(config);
        let machine = outside(&host);
        let alice = boot(&host, "alice", &[]);
        let _sink = sink_in(&host, &machine.network());
        for address in ["192.0.2.2", "fd99::2"] {
            // The first packet may come before the link of the machine outside has settled.
            if wanted {
                poll::until_true("the machine outside answers", || reaches(&alice, address, SINK));
            } else {
                assert!(!reaches(&alice, address, SINK), "{address} with {config:?}");
            }
        }
    }
}

/// Bit/s that arrive, of TCP that sends for three seconds. After a pause a second's worth is let through at
/// once; that is used up before.
fn throughput(run: impl Fn(&str) -> Run) -> f64 {
    run("1500").ok();
    let said = run("3000").ok().json();
    let number = |key: &str| said[key].as_f64().expect("the probe says how much");
    number("bytes") * 8.0 / number("us") * 1e6
}

fn near(measured: f64, rate: f64, what: &str) {
    assert!((0.85..1.15).contains(&(measured / rate)), "{what}: {measured:.0} of {rate} bit/s");
}

#[test]
fn a_rate_holds_in_both_directions_and_can_be_changed_while_it_counts() {
    let host = Host::start_with(&format!("host_services = [\"{SINK}\"]\n"));
    host.network()
        .shell("ip link add br0 type bridge; ip addr add 10.9.0.254/24 dev br0; ip link set br0 up")
        .ok();
    let probe = host.program("probe").display().to_string();
    let _of_host = sink_in(&host, &host.network());
    let nic = r#"nic=[{ mode = "bridge", link = "br0", addresses = ["10.9.0.1/24"] }]"#;
    let (routed, bridged) =
        (boot(&host, "routed", &["net_rate=40M"]), boot(&host, "bridged", &["net_rate=40M", nic]));
    let address = routed.field("/ipv4");
    for (tenant, near_host, own) in
        [(&routed, "169.254.1.1", address.as_str()), (&bridged, "10.9.0.254", "10.9.0.1")]
    {
        let _sink = sink(tenant);
        let out = || throughput(|time| tenant.exec(&["/root/probe", "pump", near_host, SINK, time]));
        near(out(), 40e6, &format!("{} out", tenant.name()));
        let into = throughput(|time| host.run(&probe, &["pump", own, SINK, time]));
        near(into, 40e6, &format!("{} in", tenant.name()));
        tenant.ctl("set", &["net_rate=80M"]).ok();
        near(out(), 80e6, &format!("{} out at another rate", tenant.name()));
        tenant.ctl("set", &["--unset", "net_rate"]).ok();
        assert!(out() > 160e6, "{} without a rate", tenant.name());
        let traffic = &tenant.show()["traffic"];
        assert!(traffic["limited_packets"].as_u64() > Some(0), "{traffic}");
        assert!(traffic["sent_bytes"].as_u64() > Some(30_000_000), "{traffic}");
        assert!(traffic["received_bytes"].as_u64() > Some(12_000_000), "{traffic}");
    }
}

#[test]
fn what_no_port_can_do_is_refused() {
    let host = Host::start();
    let refused = |settings: &[&str]| {
        let mut words = vec!["create", "x", "--image", "busybox"];
        settings.iter().for_each(|setting| words.extend(["--set", setting]));
        host.ctl(&words).output().refused(2)
    };
    assert!(refused(&["net_rate=1M", "nic=[]"]).contains("net_rate"));
    assert!(refused(&["ports=2222:22/tcp", "nic=[]"]).contains("ports"));
    let host = Host::start_with("filter = \"none\"\n");
    let text = host.ctl(&["create", "x", "--image", "busybox", "--set", "ports=1:1/tcp"]).output().refused(2);
    assert!(text.contains("filter"), "{text}");
    boot(&host, "alice", &[]);
    assert_eq!(host.run("nft", &["list", "tables"]).ok().text(), "", "nothing of nft is touched");
    host.ctl(&["doctor"]).ok();
}

#[test]
fn a_tenant_can_fill_its_part_of_the_connection_table_alone() {
    let host = Host::start();
    let _machine = outside(&host);
    let alice = host.boot("alice", &[]);
    let tracked = || -> u64 {
        let count = host.run("cat", &["/proc/sys/net/netfilter/nf_conntrack_count"]).ok();
        count.text().parse().expect("a number")
    };
    let refused = || alice.show()["traffic"]["refused_packets"].as_u64().unwrap_or_default();
    // One connection of many packets in one direction is one connection.
    let stream = "exec 3>/dev/udp/192.0.2.2/9; for i in {1..12000}; do echo x >&3; done";
    alice.exec(&["bash", "-c", stream]).ok();
    assert_eq!(refused(), 0);
    let flood = "for i in {1..9500}; do exec 3>/dev/udp/192.0.2.2/$((i + 1000)); echo x >&3; done";
    alice.exec(&["bash", "-c", flood]).ok();
    // hostd asks nft no more than twice a second.
    poll::until_true("at least 1000 were refused", || refused() >= 1000);
    assert!(tracked() < 8192 + 500, "{} are tracked", tracked());
    // What it has keeps the host busy whether it goes on or begins again.
    alice.ctl("restart", &[]).ok();
    alice
        .exec(&[
            "bash",
            "-c",
            "for i in {1..300}; do exec 3>/dev/udp/192.0.2.2/$((i + 20000)); echo x >&3; done",
        ])
        .ok();
    poll::until_true("at least 200 were refused", || refused() >= 200);
    assert!(tracked() < 8192 + 500, "{} are tracked", tracked());
}
