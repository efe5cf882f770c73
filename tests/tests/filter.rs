//! The packet filter: who reaches whom, which ports of the host lead where, how fast; and that it is whole
//! again after whatever was done to it.

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

/// What nft says of our tables, without counters and handles, and without what packets have added.
fn ruleset(host: &Host) -> Value {
    let mut json = host.run("nft", &["-j", "list", "ruleset"]).ok().json();
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.remove("handle");
                object.remove("counter");
                if object.get("name").is_some_and(|name| name == "flows") {
                    object.remove("elem");
                }
                object.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut json);
    json
}

fn links(host: &Host) -> BTreeSet<String> {
    let links = host.run("ip", &["-j", "link"]).ok().json();
    let links = links.as_array().cloned().unwrap_or_default();
    links.iter().map(|link| link["ifname"].to_string()).collect()
}

/// How many elements there are in the sets and maps.
fn elements(host: &Host) -> usize {
    let ruleset = ruleset(host);
    let objects = ruleset["nftables"].as_array().cloned().unwrap_or_default();
    let sets = objects.iter().filter_map(|object| object.get("set").or_else(|| object.get("map")));
    sets.filter_map(|set| set.get("elem")?.as_array().map(Vec::len)).sum()
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
fn without_nft_no_tenant_starts_and_the_remedy_is_told() {
    let nft = Run::new("sh", ["-c", "command -v nft || echo /usr/sbin/nft"]).output().text().to_owned();
    let mut host = Host::bare();
    host.share_images();
    host.start_hostd_without(&nft);
    let alice = host.create("alice", &["--image", "busybox"]);
    let text = alice.ctl("start", &[]).output().refused(1);
    assert!(text.contains("nft") && text.contains("apt-get install nftables"), "{text}");
    let text = host.ctl(&["doctor"]).output();
    assert_eq!(text.code(), 1);
    assert!(text.stdout.contains("apt-get install nftables"), "{}", text.stdout);
    host.kill_hostd();
    host.start_hostd();
    alice.start();
}

#[test]
fn what_an_admin_flushed_is_put_back_and_no_connection_breaks() {
    let host = Host::start();
    let machine = outside(&host);
    let alice = boot(&host, "alice", &["group=g", "ports=2222:5001/tcp"]);
    let bob = boot(&host, "bob", &["group=g"]);
    let carol = boot(&host, "carol", &[]);
    let boots = [&alice, &bob, &carol].map(Tenant::boot_id);
    let _sink = sink(&alice);
    let mut relay = Running::start(&alice.exec(&["/root/probe", "relay", "7000"]));
    relay.expect("relaying");
    let probe = host.program("probe").display().to_string();
    let mut near = Running::start(&bob.exec(&["/root/probe", "talk", &alice.field("/ipv4"), "7000"]));
    near.expect("connected");
    let mut far = Running::start(&host.run(&probe, &["talk", &alice.field("/ipv4"), "7000"]));
    far.expect("connected");
    let mut passes = |word: &str| {
        near.say(word);
        far.expect(word);
        far.say(&format!("{word}, too"));
        near.expect(&format!("{word}, too"));
    };
    passes("before");
    let whole = ruleset(&host);
    let harm = [
        "nft flush ruleset",
        "for t in $(nft list tables | sed -n 's/table inet //p'); do nft flush set inet $t macs; nft flush map inet $t groups; done",
        "for t in $(nft list tables | sed -n 's/table inet //p'); do nft delete table inet $t 2>/dev/null || true; done",
        "for t in $(nft list tables | sed -n 's/table inet //p'); do nft insert rule inet $t pin accept 2>/dev/null || true; done",
    ];
    for script in harm {
        host.network().shell(script).ok();
        assert_eq!(host.ctl(&["doctor"]).output().code(), 1, "after {script}");
        let repaired = host.ctl(&["doctor", "--repair"]).output();
        assert_eq!(repaired.code(), 0, "{}", repaired.stdout);
        host.ctl(&["doctor"]).ok();
        assert_eq!(ruleset(&host), whole, "after {script}");
        passes(script);
        assert!(reaches_from(&host, &machine.network(), "192.0.2.1", "2222"), "after {script}");
        assert!(!reaches(&carol, &alice.field("/ipv4"), "7000"), "after {script}");
    }
    assert_eq!([&alice, &bob, &carol].map(Tenant::boot_id), boots);
    // A start puts it back as well, and so does a hostd that begins.
    host.network().shell("nft flush ruleset").ok();
    boot(&host, "dave", &[]);
    host.ctl(&["doctor"]).ok();
    host.kill_hostd();
    host.network().shell("nft flush ruleset").ok();
    host.start_hostd();
    host.ctl(&["doctor"]).ok();
    passes("after");
}

#[test]
fn tenants_that_start_at_once_without_tables_all_get_into_them() {
    let host = Host::start();
    let none = elements(&host);
    let names: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
    for name in &names {
        host.create(name, &["--image", "busybox"]);
    }
    host.network().shell("nft flush ruleset").ok();
    host.ctl(&["start", "--all"]).ok();
    host.ctl(&["doctor"]).ok();
    let before = elements(&host);
    // As many times each as there are supervisors that were killed.
    for name in &names {
        let (_, supervisor) = Tenant::new(&host, name).pids();
        Run::new("kill", ["-9", &supervisor.to_string()]).ok();
    }
    poll::until_true("all are down", || {
        names.iter().all(|name| Tenant::new(&host, name).phase() != "running")
    });
    let left = host.run("nft", &["list", "ruleset"]).ok().stdout;
    assert_eq!(elements(&host), none, "{left}");
    host.ctl(&["start", "--all"]).ok();
    assert_eq!(elements(&host), before);
    host.ctl(&["doctor"]).ok();
}

#[test]
fn what_a_dead_tenant_left_is_found_and_taken_away() {
    let host = Host::start();
    let alice = boot(&host, "alice", &[]);
    let group = host.run("sh", &["-c", "ip -o -d link | grep t1-0 | grep -o 'group [0-9]*' | cut -d' ' -f2"]);
    let group = group.ok().text().to_owned();
    let own = links(&host);
    host.network()
        .shell(&format!("ip link add t77-0 type veth peer name stray0; ip link set t77-0 group {group}"))
        .ok();
    fs::create_dir_all(host.path("run/tenantry/tenants/ghost")).expect("it can be made");
    let found = host.ctl(&["--json", "doctor"]).output();
    assert_eq!(found.code(), 1);
    let said = found.stdout;
    assert!(said.contains("t77-0") && said.contains("ghost"), "{said}");
    let port = host.run("sh", &["-c", "ip -o link | grep -o 't1-0[^@]*'"]).ok().text().to_owned();
    host.network().shell(&format!("echo 0 > /proc/sys/net/ipv4/conf/{port}/forwarding")).ok();
    let repaired = host.ctl(&["doctor", "--repair"]).ok();
    assert!(repaired.stdout.contains("repaired"), "{}", repaired.stdout);
    host.ctl(&["doctor"]).ok();
    assert_eq!(links(&host), own);
    assert!(!host.path("run/tenantry/tenants/ghost").exists());
    assert_eq!(alice.phase(), "running");
}

#[test]
fn two_hundred_tenants_come_and_go_and_leave_nothing() {
    const COUNT: usize = 200;
    let host = Host::start();
    let (rules, own) = (ruleset(&host), links(&host));
    let names: Vec<String> = (0..COUNT).map(|number| format!("t{number}")).collect();
    let start = |name: &String| {
        let begin = Instant::now();
        host.ctl(&["start", name]).ok();
        begin.elapsed()
    };
    let mut took = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let ports = format!("ports={}:22/tcp", 10_000 + number);
        host.create(name, &["--image", "busybox", "--set", &ports, "--set", "net_rate=10M"]);
        took.push(start(name));
    }
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2]
    };
    let (first, last) = (median(&took[..20]), median(&took[COUNT - 20..]));
    println!("a start among 20: {first:?}, among {COUNT}: {last:?}");
    assert!(last < first * 2 + Duration::from_millis(20), "{first:?} became {last:?}");
    host.ctl(&["doctor"]).ok();
    assert!(elements(&host) > COUNT * 10);
    host.ctl(&["stop", "--all"]).limit(Duration::from_secs(300)).ok();
    assert_eq!((&ruleset(&host), &links(&host)), (&rules, &own), "after all have stopped");
    for name in &names {
        host.ctl(&["destroy", name, "--yes"]).ok();
    }
    assert_eq!((ruleset(&host), links(&host)), (rules, own));
    host.ctl(&["doctor"]).ok();
}

#[test]
fn a_thousand_tenants_go_into_the_tables_in_one_transaction() {
    const COUNT: usize = 1000;
    let host = Host::start();
    let model = boot(&host, "model", &["net_rate=10M", "group=g"]);
    let dir = host.path("run/tenantry/tenants/model");
    let read = |file: &str| fs::read_to_string(dir.join(file)).expect("a running tenant has it");
    let (state, filter) = (read("state.json"), read("filter.json"));
    let own = elements(&host);
    host.kill_hostd();
    for number in 0..COUNT {
        let name = format!("m{number}");
        let fake = host.path(format!("run/tenantry/tenants/{name}"));
        fs::create_dir_all(&fake).expect("it can be made");
        fs::write(fake.join("state.json"), &state).expect("it can be written");
        let mut known: Value = serde_json::from_str(&filter).expect("it is JSON");
        known[0]["tenant"] = name.clone().into();
        known[0]["ports"][0]["name"] = format!("t{}-0", number + 1000).into();
        known[0]["ports"][0]["addresses"] =
            vec![format!("10.64.{}.{}", number / 250, number % 250), format!("fd64::{number:x}")].into();
        known[0]["forwards"] = vec![format!("{}:22/tcp", 20_000 + number)].into();
        fs::write(fake.join("filter.json"), known.to_string()).expect("it can be written");
    }
    host.network().shell("nft flush ruleset").ok();
    let begin = Instant::now();
    host.start_hostd();
    let took = begin.elapsed();
    assert!(elements(&host) > own + COUNT * 10, "{} elements", elements(&host));
    println!("a thousand tenants: {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let one = Instant::now();
    model.ctl("restart", &[]).ok();
    println!("one more restarts in {:?}", one.elapsed());
    for number in 0..COUNT {
        fs::remove_dir_all(host.path(format!("run/tenantry/tenants/m{number}"))).expect("it can be removed");
    }
    let repaired = host.ctl(&["doctor", "--repair"]).ok();
    assert!(repaired.stdout.contains("belong to no running tenant"), "{}", repaired.stdout);
    assert_eq!(elements(&host), own);
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

#[test]
fn hostd_takes_its_tables_away_when_no_tenant_is_in_them() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let tables = || host.run("nft", &["list", "tables"]).ok().stdout.lines().count();
    host.end_hostd();
    assert_eq!(tables(), 3, "alice is in them");
    host.start_hostd();
    alice.stop();
    host.end_hostd();
    assert_eq!(tables(), 0);
    host.start_hostd();
    alice.start();
    assert_eq!(tables(), 3);
}
