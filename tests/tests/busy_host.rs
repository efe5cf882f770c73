//! Tenants on a host that is not empty: its own connections, its firewall and its containers never notice them, and
//! what its firewall does to them is found out.

use std::time::Instant;

use tenantry_tests::{
    Host, Namespace, Tenant,
    busy::{self, FAR, OWN, Surroundings},
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
        let page = busy::fetch(&around.router(), OWN, port(number % TENANTS), "/hostname");
        let page = page.unwrap_or_else(|error| panic!("{}: {error}", at("its port of the host")));
        assert!(page.ends_with(&format!("\r\n\r\n{}\n", tenant.name())), "{page}");
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
    let line = "network     the whole host forwards IPv6; what it did before is noted in ";
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
