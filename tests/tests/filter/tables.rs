//! The tables themselves: whole, put back, and gone when no tenant is in them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

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
fn tenants_come_and_go_without_a_run_of_nft() {
    let nft = Run::new("sh", ["-c", "command -v nft || echo /usr/sbin/nft"]).output().text().to_owned();
    let host = Host::start();
    host.run("ip", &["link", "add", "br0", "type", "bridge"]).ok();
    let settings = ["group=g", "net_rate=100M", r#"ports=["2222:22/tcp", "5353:53/udp"]"#];
    let bridged = r#"nic=[{ mode = "bridge", link = "br0", addresses = ["10.9.0.1/24", "fd09::1/64"] }]"#;
    let create = |name: &str, settings: &[&str]| {
        let mut options = vec!["--image", "busybox"];
        settings.iter().for_each(|setting| options.extend(["--set", setting]));
        host.create(name, &options)
    };
    let (alice, bob) = (create("alice", &settings), create("bob", &[bridged, "group=g", "net_rate=1M"]));
    let before = ruleset(&host);
    assert!(elements(&host) > 0, "the tables are loaded: {before}");
    host.kill_hostd();
    host.start_hostd_without(&nft);
    alice.start();
    bob.start();
    host.kill_hostd();
    host.start_hostd();
    // Nothing is missing, nothing is too much, as nft shows it.
    let doctor = host.ctl(&["doctor"]).output();
    assert_eq!(doctor.code(), 0, "{}", doctor.stdout);
    let added = elements(&host);
    host.kill_hostd();
    host.start_hostd_without(&nft);
    alice.stop();
    bob.stop();
    assert!(added > 20, "{added} elements for two tenants");
    poll::until_true("hostd has removed them", || ruleset(&host) == before);
}

#[test]
fn a_hostd_that_comes_back_lists_no_elements_by_nft_and_finds_nothing_wrong() {
    let nft = Run::new("sh", ["-c", "command -v nft || echo /usr/sbin/nft"]).output().text().to_owned();
    let host = Host::start_with("nat = true\nisolation = false\nhost_services = [\"22\", \"53/udp\"]\n");
    host.run("ip", &["link", "add", "br0", "type", "bridge"]).ok();
    let bridged = r#"nic=[{ mode = "bridge", link = "br0", addresses = ["10.9.0.1/24", "fd09::1/64"] }]"#;
    for (name, settings) in [
        ("alice", &["group=g", "net_rate=100M", r#"ports=["2222:22/tcp", "5353:53/udp"]"#][..]),
        ("bob", &[bridged, "group=g", "net_rate=1M"]),
    ] {
        let mut options = vec!["--image", "busybox"];
        settings.iter().for_each(|setting| options.extend(["--set", setting]));
        host.create(name, &options).start();
    }
    let (real, runs, wrapper) = (host.path("nft"), host.path("nft.runs"), host.path("nft.sh"));
    fs::copy(&nft, &real).unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> {}\nexec {} \"$@\"\n", runs.display(), real.display());
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    host.kill_hostd();
    let log = host.hostd_log().len();
    host.start_hostd_with(&nft, &wrapper);
    let log = host.hostd_log()[log..].to_owned();
    assert!(!log.contains("packet filter"), "{log}");
    let runs = fs::read_to_string(&runs).unwrap();
    let lists: Vec<&str> = runs.lines().filter(|line| line.contains("list table")).collect();
    assert!(lists.len() >= 6 && lists.iter().all(|line| line.contains("--terse")), "{runs}");
    // What is missing is found: it was really looked at.
    let doctor = host.ctl(&["doctor"]).output();
    assert_eq!(doctor.code(), 0, "{}", doctor.stdout);
}

#[test]
fn what_a_tenant_leaves_in_the_tables_leads_nowhere_and_hostd_removes_it() {
    let host = Host::start();
    let machine = outside(&host);
    // Whatever the host has no route for goes out there.
    host.network().shell("ip route add default via 192.0.2.2").ok();
    let count = "nft add table ip t; nft add chain ip t in '{ type filter hook prerouting priority 0; }'; \
                 nft add rule ip t in ip daddr 10.115.0.0/16 counter";
    machine.network().shell(count).ok();
    let none = elements(&host);
    let alice = boot(&host, "alice", &["ports=2222:5001/tcp"]);
    let record = host.path("run/tenantry/tenants/alice/filter.json");
    let of_alice = elements(&host);
    let sink = sink(&alice);
    assert!(reaches_from(&host, &machine.network(), "192.0.2.1", "2222"));
    drop(sink);
    let (_, supervisor) = alice.pids();
    host.kill_hostd();
    Run::new("kill", ["-TERM", &supervisor.to_string()]).ok();
    poll::until_true("it has ended", || alice.run_state()["phase"] == "stopped" && links(&host).len() == 2);
    assert_eq!((elements(&host), record.exists()), (of_alice, true), "no process has removed them");
    assert!(!reaches_from(&host, &machine.network(), "192.0.2.1", "2222"), "it is gone");
    let strayed = machine.network().shell("nft list table ip t").ok().stdout;
    assert!(strayed.contains("packets 0 "), "it left the host: {strayed}");
    host.start_hostd();
    poll::until_true("hostd has removed them", || elements(&host) == none && !record.exists());
    host.ctl(&["doctor"]).ok();
}

#[test]
fn a_start_replaces_what_is_left_of_the_run_before() {
    let host = Host::start();
    let machine = outside(&host);
    let alice = boot(&host, "alice", &["ports=2222:5001/tcp", "net_rate=10M", "group=g"]);
    for (own, other, settings) in [("2223", "2222", "net_rate=20M"), ("2222", "2223", "group=h")] {
        alice.stop();
        alice.ctl("set", &[&format!("ports={own}:5001/tcp"), settings]).ok();
        alice.start();
        let _sink = sink(&alice);
        assert!(reaches_from(&host, &machine.network(), "192.0.2.1", own));
        assert!(!reaches_from(&host, &machine.network(), "192.0.2.1", other));
        // Nothing is missing, nothing is too much.
        host.ctl(&["doctor"]).ok();
    }
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
    poll::until_true("hostd has removed them", || elements(&host) == none);
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
    poll::until_true("nothing is left", || (&ruleset(&host), &links(&host)) == (&rules, &own));
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
