//! Tenants on a host that is not empty: its own connections, its firewall and its containers never notice them, and
//! what its firewall does to them is found out.

use std::time::Instant;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{
    Host, Namespace, Tenant,
    busy::{self, FAR, OWN, Surroundings},
    poll,
};

/// A host whose tenants leave it under its address, with `more` in its configuration, among surroundings that drop
/// what they do not know or not.
fn busy_host(policy: &str, more: &str) -> (Host, Surroundings) {
    let mut host = Host::bare();
    host.share_images();
    host.configure(&format!("nat = true\n{more}"));
    let around = Surroundings::of(&host, policy);
    (host, around)
}

/// A tenant whose init is a web server, so that it starts and ends at once.
fn web<'a>(host: &'a Host, name: &str, settings: &[&str]) -> Tenant<'a> {
    let init = r#"init=["/usr/sbin/httpd","-f","-p","80","-h","/etc"]"#;
    let mut options = vec!["--image", "busybox", "--set", init, "--set", "ready=exec"];
    settings.iter().for_each(|setting| options.extend(["--set", setting]));
    host.create(name, &options)
}

fn network(tenant: &Tenant<'_>) -> Namespace {
    Namespace::of(tenant.pids().0)
}

/// The names of our tables.
fn tables(host: &Host) -> Vec<String> {
    let listed = host.run("nft", &["list", "tables"]).ok().stdout;
    let names = listed.lines().filter_map(|line| line.strip_prefix("table "));
    names.filter(|name| name.contains(" tenantry")).map(str::to_owned).collect()
}

/// The sets and maps of a table that have elements, each by its name after those of family and table, with its
/// elements as text, without counters and counts.
fn elements(host: &Host, table: &str) -> Vec<(String, String)> {
    let text = host.run("nft", &[&["list", "table"][..], &table.split(' ').collect::<Vec<_>>()].concat());
    let text = text.ok().stdout;
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("elements = {") {
        let name = before.lines().rev().find_map(|line| {
            let line = line.trim().strip_suffix(" {")?;
            line.strip_prefix("set ").or_else(|| line.strip_prefix("map "))
        });
        let name = name.expect("a list is of a set");
        let (list, after) = after.split_once('}').expect("a list ends");
        let kept = list.split(',').map(|element| {
            let words: Vec<&str> = element.split_ascii_whitespace().collect();
            let state = words.iter().position(|word| ["counter", "ct"].contains(word));
            // A map's element goes on behind its state.
            let value =
                words.iter().position(|word| *word == ":").filter(|at| state.is_some_and(|s| s < *at));
            [&words[..state.unwrap_or(words.len())], value.map_or(&[][..], |at| &words[at..])]
                .concat()
                .join(" ")
        });
        found.push((format!("{table} {name}"), kept.collect::<Vec<_>>().join(", ")));
        rest = after;
    }
    found
}

#[test]
fn tracking_outlives_two_hundred_rounds_of_every_element() {
    let (host, mut around) = busy_host("accept", "isolation = false\n");
    host.start_hostd();
    let bridged = r#"mode = "bridge", link = "foreign0""#;
    let nics = format!(
        r#"nic=[{{ mode = "routed" }}, {{ {bridged}, addresses = ["172.17.0.3/16"] }}, {{ {bridged} }}]"#
    );
    let settings = [&nics[..], "group=g", "net_rate=100M", r#"ports=["8080:80/tcp", "5353:53/udp"]"#];
    let alice = web(&host, "alice", &settings);
    alice.start();
    busy::ask(&network(&alice), FAR[0]).expect("alice reaches the world");
    let mut sets = 0;
    for table in tables(&host) {
        let elements = elements(&host, &table);
        sets += elements.len();
        let command =
            |verb: &str, (set, list): &(String, String)| format!("{verb} element {set} {{ {list} }}");
        let line = |verb: &str, of: &dyn Fn(&str) -> bool| {
            let commands = elements.iter().filter(|(set, _)| of(set)).map(|element| command(verb, element));
            commands.collect::<Vec<_>>().join("; ") + "\n"
        };
        let round = [line("add", &|_| true), line("delete", &|_| true)].concat();
        // What packets have added they add again, and it goes by itself.
        let last = line("add", &|set| !set.ends_with(" flows"));
        // So each line is a transaction of its own.
        let said = host.run("nft", &["--interactive"]).stdin(round.repeat(200) + &last).ok();
        assert_eq!(said.stderr, "", "{table}");
        around.exchange(&host).unwrap_or_else(|error| panic!("after {table}: {error}"));
    }
    assert!(sets > 25, "{sets} sets have elements");
    busy::ask(&network(&alice), FAR[0]).expect("alice reaches the world");
    host.ctl(&["doctor"]).ok();
}

#[test]
fn tracking_outlives_the_starts_of_one_tenant() {
    let (host, mut around) = busy_host("accept", "");
    host.start_hostd();
    let alice = web(&host, "alice", &["net_rate=100M", "ports=8080:80/tcp"]);
    for number in 1..=25 {
        alice.start();
        around.exchange(&host).unwrap_or_else(|error| panic!("after start {number}: {error}"));
        busy::ask(&network(&alice), FAR[0]).unwrap_or_else(|error| panic!("in start {number}: {error}"));
        alice.ctl("kill", &[]).ok();
    }
}

#[test]
fn two_hundred_starts_and_a_busy_host_do_not_disturb_each_other() {
    const TENANTS: usize = 10;
    const STARTS: usize = 200;
    let (host, mut around) = busy_host("accept", "");
    let before = around.state(&host);
    around.exchange(&host).expect("all is well without Tenantry");
    host.start_hostd();
    let port = |number: usize| u16::try_from(8000 + number).expect("a port");
    let tenants: Vec<Tenant<'_>> = (0..TENANTS)
        .map(|number| web(&host, &format!("t{number}"), &[&format!("ports={}:80/tcp", port(number))]))
        .collect();
    let begin = Instant::now();
    for number in 0..STARTS {
        let tenant = &tenants[number % TENANTS];
        if number >= TENANTS {
            tenant.ctl("kill", &[]).ok();
        }
        if number % 50 == 25 {
            around.leave_by(&host, number / 50 % 2);
        }
        tenant.start();
        let at = |what: &str| format!("{what} after start {number}");
        around.exchange(&host).unwrap_or_else(|error| panic!("{}: {error}", at("the host's traffic")));
        for address in FAR {
            busy::ask(&network(tenant), address).unwrap_or_else(|error| panic!("{}: {error}", at(address)));
        }
        // Ready is that it was executed: it may not listen yet.
        let fetch = || busy::fetch(&around.router(), OWN, port(number % TENANTS), "/hosts").ok();
        let page = poll::until(&at("its port of the host"), fetch);
        assert!(page.contains(&format!("127.0.1.1\t{}\t", tenant.name())), "{page}");
        assert!(around.has_learnt_route(&host), "{}", at("the learnt route is gone"));
    }
    println!("{STARTS} starts: {:?}", begin.elapsed());
    host.ctl(&["doctor"]).ok();
    for tenant in &tenants {
        tenant.ctl("destroy", &["--force", "--yes"]).ok();
    }
    host.end_hostd();
    around.leave_by(&host, 0);
    let after = around.state(&host);
    let changed: Vec<_> = after.symmetric_difference(&before).collect();
    assert_eq!(changed, [""; 0], "it is as it was before");
    around.exchange(&host).expect("all is well without Tenantry");
}

#[test]
fn ipv6_is_forwarded_while_a_tenant_needs_it_and_the_plan_says_so() {
    let (host, around) = busy_host("accept", "");
    // Something of the host's own that must come back as it was.
    host.network().shell("echo 1 > /proc/sys/net/ipv6/conf/foreign0/forwarding").ok();
    // The kernel has thrown the learnt route away at that.
    around.advertise(&host);
    let before = around.state(&host);
    let is_on = || around.state(&host).contains("ipv6/conf/all/forwarding:1");
    let is_as_before = || around.state(&host).symmetric_difference(&before).next().is_none();
    host.start_hostd();
    let alice = web(&host, "alice", &[]);
    let line = "network     IPv6 forwarding enabled on the whole host; previous value saved in ";
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains(line), "{plan}");
    assert!(!is_on(), "no tenant needs it yet");
    let bob = web(&host, "bob", &[r#"nic=[{ mode = "bridge", link = "foreign0" }]"#]);
    let plan = bob.ctl("plan", &[]).ok().stdout;
    assert!(!plan.contains(line), "{plan}");
    bob.start();
    assert!(!is_on(), "a bridge needs no forwarding");
    alice.start();
    assert!(is_on(), "alice needs it");
    assert!(around.has_learnt_route(&host), "the host's own route is still there");
    // It goes with the last one that needs it, not with the last tenant, and comes again.
    let is_given_back = || {
        let now = around.state(&host);
        // Of all interfaces but tenants' ports.
        let is_hosts = |line: &&String| line.contains("ipv6/conf/") && !line.contains("/t");
        now.iter().filter(is_hosts).eq(before.iter().filter(is_hosts))
    };
    alice.ctl("kill", &[]).ok();
    assert!(!is_on() && is_given_back(), "bob does not need it");
    let carol = web(&host, "carol", &[]);
    carol.start();
    alice.start();
    assert!(is_on());
    carol.ctl("kill", &[]).ok();
    assert!(is_on(), "alice needs it");
    carol.ctl("destroy", &["--yes"]).ok();
    // Whoever sweeps gives it back for a supervisor that was killed; without hostd the supervisor does.
    kill(Pid::from_raw(alice.pids().1), Signal::SIGKILL).expect("her supervisor runs");
    poll::until_true("it is given back", || !is_on() && is_given_back());
    alice.start();
    assert!(is_on());
    host.kill_hostd();
    host.tool("tenant", &["control", "alice", "kill"]).ok();
    poll::until_true("it is given back without hostd", || !is_on() && is_given_back());
    host.start_hostd();
    poll::until_true("she is down", || alice.field("/state") == "stopped");
    alice.start();
    assert!(is_on());
    // It stays while she is up, whatever becomes of hostd.
    host.end_hostd();
    assert!(is_on());
    host.start_hostd();
    host.kill_hostd();
    assert!(is_on());
    host.start_hostd();
    host.ctl(&["destroy", "alice", "bob", "--force", "--yes"]).ok();
    host.end_hostd();
    assert!(is_as_before(), "{:?}", around.state(&host).symmetric_difference(&before));
    assert!(around.has_learnt_route(&host));
    // What the admin has turned on is the admin's.
    host.network().shell("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").ok();
    host.start_hostd();
    web(&host, "carol", &[]).start();
    host.ctl(&["destroy", "carol", "--force", "--yes"]).ok();
    host.end_hostd();
    assert!(is_on());
}

/// What `tenantctl doctor` found in one check: each message and its remedy.
fn findings(host: &Host, check: &str) -> Vec<(String, String)> {
    let diagnosis = host.ctl(&["--json", "doctor"]).output().json();
    let all = diagnosis["findings"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let of_check = all.iter().filter(|finding| finding["check"] == check);
    of_check.map(|finding| (text(&finding["message"]), text(&finding["help"]))).collect()
}

#[test]
fn a_firewall_that_drops_what_is_forwarded_is_found_and_its_remedy_helps() {
    let (host, mut around) = busy_host("drop", "");
    host.start_hostd();
    let alice = web(&host, "alice", &["ports=8080:80/tcp"]);
    alice.start();
    around.exchange(&host).expect("the host's own traffic is not forwarded");
    assert!(busy::ask(&network(&alice), FAR[0]).is_err(), "nobody has let tenants through yet");
    let found = findings(&host, "traffic");
    for (family, table) in [("IPv4", "table ip filter"), ("IPv6", "table ip6 filter")] {
        let says = format!("beyond this host over {family}: chain FORWARD of {table} drops");
        let (_, help) =
            found.iter().find(|(text, _)| text.contains(&says)).unwrap_or_else(|| panic!("{found:?}"));
        // Two commands, and the advice to make them last.
        let commands: Vec<&str> = help.split("; ").take(2).collect();
        assert!(commands.iter().all(|command| command.starts_with("nft insert rule ")), "{help}");
        host.network().shell(&commands.join("\n")).ok();
    }
    for address in FAR {
        busy::ask(&network(&alice), address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    busy::fetch(&around.router(), OWN, 8080, "/hosts").expect("the world reaches its port");
    let found = findings(&host, "traffic");
    let says = "packets to other networks are forwarded and translated (IPv4 and IPv6)";
    assert!(found.len() == 1 && found[0].0.contains(says), "{found:?}");
    around.exchange(&host).expect("the host's own traffic goes on");
}

#[test]
fn dead_tracking_is_found_and_its_remedy_helps() {
    let (host, mut around) = busy_host("accept", "");
    host.start_hostd();
    let alice = web(&host, "alice", &[]);
    alice.start();
    host.ctl(&["doctor"]).ok();
    // Somebody else's rules: each element costs a reference.
    let harm = "add element inet harm s { lo }\ndelete element inet harm s { lo }\n".repeat(60);
    let set = "add table inet harm\nadd set inet harm s { type ifname; ct count over 8; }\n";
    host.run("nft", &["--interactive"]).stdin(format!("{set}{harm}delete table inet harm\n")).ok();
    if around.exchange(&host).is_ok() {
        // A kernel on which they cost nothing has nothing to find.
        host.ctl(&["doctor"]).ok();
        return;
    }
    assert_eq!(host.ctl(&["doctor"]).output().code(), 1);
    let found = findings(&host, "traffic");
    let (_, help) = found
        .iter()
        .find(|(text, _)| text.contains("connection tracking of this host does not work"))
        .unwrap_or_else(|| panic!("{found:?}"));
    let (_, commands) = help.split_once("reload all tables: ").expect("it says how");
    let file = host.path("ruleset").display().to_string();
    let commands = commands.replace("/root/ruleset", &file).replace("; tenantctl doctor --repair", "");
    host.network().shell(&commands.replace("; ", "\n")).ok();
    host.ctl(&["doctor", "--repair"]).ok();
    host.ctl(&["doctor"]).ok();
    // The connection that was there has been dropped by the dead rules, and is taken up again.
    busy::ask(&host.network(), FAR[0]).expect("the host's rules work again");
    busy::ask(&network(&alice), FAR[0]).expect("so does translation");
}

#[test]
fn the_admins_rules_go_on_whatever_becomes_of_our_tables() {
    let (host, mut around) = busy_host("accept", "");
    host.start_hostd();
    let alice = web(&host, "alice", &["ports=8080:80/tcp"]);
    alice.start();
    let ours = || tables(&host);
    let each = |verb: &str| ours().iter().fold(String::new(), |text, table| text + verb + " " + table + "\n");
    for (what, harm) in [("flushed", each("flush table")), ("gone", each("delete table"))] {
        for round in 0..15 {
            host.run("nft", &["-f", "-"]).stdin(harm.clone()).ok();
            around.exchange(&host).unwrap_or_else(|error| panic!("{what} {round}: {error}"));
            host.ctl(&["doctor", "--repair"]).ok();
            around.exchange(&host).unwrap_or_else(|error| panic!("loaded again {round}: {error}"));
            busy::ask(&network(&alice), FAR[0]).unwrap_or_else(|error| panic!("{what} {round}: {error}"));
        }
    }
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    host.end_hostd();
    assert!(ours().is_empty());
    around.exchange(&host).expect("all is well without our tables");
}

#[test]
fn large_packets_find_their_way_through_a_narrow_uplink() {
    let (host, around) = busy_host("accept", "");
    host.start_hostd();
    let alice = web(&host, "alice", &["ports=8080:80/tcp"]);
    alice.start();
    assert!(alice.says("ip link show dev eth0").contains("mtu 1500"), "wider than the uplink");
    for address in FAR {
        busy::exchange_bulk(&network(&alice), address).unwrap_or_else(|error| panic!("{address}: {error}"));
        busy::exchange_bulk(&host.network(), address)
            .unwrap_or_else(|error| panic!("host, {address}: {error}"));
    }
    // It has been told by the host, and narrower packets came of that.
    let told = network(&alice).run("ip", &["route", "get", FAR[0]]).ok().stdout;
    assert!(told.contains(&format!("mtu {}", busy::MTU)), "{told}");
    alice.says("head -c 300000 /dev/zero | tr '\\0' x > /etc/large");
    let page = busy::fetch(&around.far(), OWN, 8080, "/large").expect("the far machine reaches its port");
    assert!(page.len() > 300_000, "{} bytes", page.len());
}

#[test]
fn a_start_says_when_the_uplink_keeps_a_tenant_from_the_world() {
    let (host, around) = busy_host("accept", "");
    host.network().shell("echo 0 > /proc/sys/net/ipv4/conf/up0/forwarding").ok();
    host.start_hostd();
    let alice = web(&host, "alice", &[]);
    let says = "sysctl net.ipv4.conf.up0.forwarding=1";
    let said = alice.ctl("start", &[]).ok().stderr;
    assert!(said.contains("warning: IPv4 from up0 is not forwarded") && said.contains(says), "{said}");
    assert!(busy::ask(&network(&alice), FAR[0]).is_err());
    assert!(findings(&host, "links").iter().any(|(_, help)| help.contains(says)));
    host.network().shell("echo 1 > /proc/sys/net/ipv4/conf/up0/forwarding").ok();
    alice.ctl("kill", &[]).ok();
    let said = alice.ctl("start", &[]).ok().stderr;
    assert_eq!(said, "");
    busy::ask(&network(&alice), FAR[0]).expect("now the world is reached");
    // A tenant that the host does not route for is not warned.
    host.network().shell("echo 0 > /proc/sys/net/ipv4/conf/up0/forwarding").ok();
    let bob = web(&host, "bob", &["nic=[]"]);
    assert_eq!(bob.ctl("start", &[]).ok().stderr, "");
    drop(around);
}
