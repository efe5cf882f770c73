//! Addresses from pools, and what happens when two tenants ask for the same thing of the host.

use std::{fs, process::Stdio};

use tenantry_tests::{Host, Output, Tenant, poll};

/// Exit codes.
const USAGE: i32 = 2;
const REFUSED: i32 = 4;

const POOLS: &str = r#"
[[pool]]
name = "lan"
v4 = "192.168.7.0/24"
v6 = "fd07::/64"
gateways = ["192.168.7.1", "fd07::1"]

[[pool]]
name = "public"
v4 = "203.0.113.0/28"
v6 = "2001:db8:7::/64"
"#;

fn settings(host: &Host, text: &str) {
    fs::create_dir_all(host.path("etc/tenantry")).expect("the directory of the settings can be made");
    fs::write(host.path("etc/tenantry/hostd.toml"), text).expect("the settings can be written");
}

/// A host with two pools and the bridge `br0` that is the gateway of one of them.
fn host() -> Host {
    let host = Host::start();
    settings(&host, POOLS);
    for words in ["link add br0 type bridge", "address add 192.168.7.1/24 dev br0", "link set br0 up"] {
        host.run("ip", &words.split(' ').collect::<Vec<_>>()).ok();
    }
    host.run("ip", &["address", "add", "fd07::1/64", "dev", "br0", "nodad"]).ok();
    host
}

fn busybox<'a>(host: &'a Host, name: &str, nics: &str) -> Tenant<'a> {
    host.create(name, &["--image", "busybox", "--set", nics])
}

fn addresses(tenant: &Tenant<'_>) -> Vec<String> {
    let show = tenant.show();
    let nics = show["nics"].as_array().cloned().unwrap_or_default();
    let of = |nic: &serde_json::Value| nic["addresses"].as_array().cloned().unwrap_or_default();
    let all = nics.iter().flat_map(of);
    all.map(|address| address.as_str().expect("an address is text").to_owned()).collect()
}

fn reaches(from: &Tenant<'_>, address: &str) -> bool {
    from.shell(&format!("ping -c 1 -W 2 {address}")).output().status.success()
}

fn host_reaches(host: &Host, address: &str) -> bool {
    host.run("busybox", &["ping", "-c", "1", "-W", "2", address]).output().status.success()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

const LAN: &str = r#"nic=[{mode="bridge",link="br0",pool="lan"}]"#;

#[test]
fn what_a_pool_gives_carries_packets() {
    let host = host();
    let routed = r#"nic=[{mode="routed"},{mode="routed",pool="public"},{mode="routed"}]"#;
    let alice = busybox(&host, "alice", routed);
    let bob = busybox(&host, "bob", LAN);
    [&alice, &bob].into_iter().for_each(Tenant::start);
    let [default4, _, public4, public6, second4, _] = &addresses(&alice)[..] else {
        panic!("alice has {:?}", addresses(&alice))
    };
    assert_eq!((public4.as_str(), public6.as_str()), ("203.0.113.1/32", "2001:db8:7::1/128"));
    assert_ne!(default4, second4);
    for address in [default4, public4, public6, second4] {
        let address = address.split('/').next().unwrap_or_default();
        poll::until_true(&format!("the host reaches {address}"), || host_reaches(&host, address));
        assert!(alice.says("ip address").contains(address), "{address} is inside");
    }
    assert_eq!(addresses(&bob), ["192.168.7.2/24", "fd07::2/64"]);
    // The gateway of the pool is the way out.
    assert!(bob.says("ip route").contains("default via 192.168.7.1"), "{}", bob.says("ip route"));
    poll::until_true("bob reaches the gateway", || reaches(&bob, "192.168.7.1") && reaches(&bob, "fd07::1"));
    assert_eq!((bob.field("/ipv4"), bob.field("/nics/0/mode")), ("192.168.7.2".into(), "bridge".into()));
}

#[test]
fn addresses_of_pools_stay_and_a_freed_one_comes_last() {
    let host = host();
    let alice = busybox(&host, "alice", LAN);
    let bob = busybox(&host, "bob", LAN);
    alice.start();
    let before = (addresses(&alice), addresses(&bob));
    alice.ctl("set", &["ttys=2"]).ok();
    alice.ctl("restart", &[]).ok();
    host.kill_hostd();
    host.start_hostd();
    assert_eq!((addresses(&alice), addresses(&bob)), before);
    assert_eq!(alice.says("ip -o -4 address show dev eth0 | tr -s ' ' | cut -d' ' -f4"), before.0[0]);
    bob.ctl("destroy", &["--yes"]).ok();
    let carol = busybox(&host, "carol", LAN);
    assert_ne!(addresses(&carol), before.1, "what bob gave back comes last");
    // A running tenant keeps what it speaks with until it is started anew.
    alice.ctl("set", &[r#"nic=[{mode="routed",pool="public"}]"#]).ok();
    let record = || fs::read_to_string(host.path("var/lib/tenantry/tenants/alice/allocation.toml"));
    assert!(record().expect("a record").contains("192.168.7.2"));
    alice.ctl("restart", &[]).ok();
    assert!(!record().expect("a record").contains("192.168.7.2"));
    assert_eq!(addresses(&alice), ["203.0.113.1/32", "2001:db8:7::1/128"]);
}

#[test]
fn an_edited_file_gets_its_addresses_when_it_starts() {
    let host = host();
    let alice = busybox(&host, "alice", "nic=[]");
    let text =
        "image = \"busybox\"\n[[nic]]\nmode = \"bridge\"\nlink = \"br0\"\npool = \"lan\"\nname = \"lan0\"\n";
    fs::write(host.path("etc/tenantry/tenants/alice.toml"), text).expect("an admin can edit it");
    alice.start();
    assert!(alice.says("ip -4 address show dev lan0").contains("192.168.7.2/24"));
    poll::until_true("it reaches the gateway", || reaches(&alice, "192.168.7.1"));
}

#[test]
fn what_another_tenant_has_is_refused_by_name() {
    let host = host();
    let alice = host.create(
        "alice",
        &["--image", "busybox", "--set", "ports=2222:22", "--set", r#"nic=[{mode="routed",addresses=["203.0.113.9"]},{mode="bridge",link="br0",mac="02:00:00:00:00:07",addresses=["10.9.0.5/24"]}]"#],
    );
    let nic = |rest: &str| format!("nic=[{{{rest}}}]");
    for (setting, code, says) in [
        (
            nic(r#"mode="routed",addresses=["203.0.113.9"]"#),
            REFUSED,
            "address 203.0.113.9 is in use by tenant \"alice\"",
        ),
        (
            nic(r#"mode="bridge",link="br0",addresses=["10.9.0.5/24"]"#),
            REFUSED,
            "address 10.9.0.5 is in use by tenant \"alice\"",
        ),
        (
            nic(r#"mode="bridge",link="br0",mac="02:00:00:00:00:07""#),
            REFUSED,
            "hardware address 02:00:00:00:00:07 is in use by tenant \"alice\"",
        ),
        ("ports=2222:80".to_owned(), REFUSED, "port 2222/tcp of the host is in use by tenant \"alice\""),
        (
            nic(r#"mode="routed",addresses=["198.51.100.1"]"#),
            USAGE,
            "not in any pool of this host: \"default\" (10.115.0.0/16",
        ),
        (nic(r#"mode="routed",addresses=["192.168.7.1"]"#), USAGE, "is the gateway of pool \"lan\""),
        (
            nic(r#"mode="routed",pool="wan""#),
            USAGE,
            "there is no pool \"wan\" on this host; its pools are \"default\", \"lan\", \"public\"",
        ),
    ] {
        let output = host.ctl(&["create", "bob", "--image", "busybox", "--set", &setting]).output();
        assert_eq!(exit(&output), code, "{setting}: {}", output.stderr);
        assert!(
            output.stderr.contains(says) && output.stderr.contains("help: "),
            "{setting}: {}",
            output.stderr
        );
    }
    assert_eq!(host.names(), ["alice"]);
    // Names of what the host does not have now are told, and are no error.
    let output =
        host.ctl(&["create", "bob", "--image", "busybox", "--set", &nic(r#"mode="phys",link="nic7""#)]).ok();
    assert!(output.stderr.contains("warning: interface \"eth0\" needs \"nic7\""), "{}", output.stderr);
    alice.ctl("destroy", &["--yes"]).ok();
    host.ctl(&["set", "bob", &nic(r#"mode="routed",addresses=["203.0.113.9"]"#)]).ok();
}

#[test]
fn pools_that_make_no_sense_are_told_with_a_remedy() {
    let host = Host::start();
    for (text, says) in [
        ("[[pool]]\nname = \"default\"\nv4 = \"10.0.0.0/24\"\n", "the name \"default\" is reserved for"),
        (
            "[[pool]]\nname = \"a\"\nv4 = \"10.115.9.0/24\"\n",
            "pool \"a\" (10.115.9.0/24) overlaps pool \"default\"",
        ),
        (
            "[[pool]]\nname = \"a\"\nv4 = \"10.1.0.0/24\"\ngateways = [\"10.2.0.1\"]\n",
            "gateway 10.2.0.1 of pool \"a\" is outside",
        ),
        ("[[pool]]\nname = \"a\"\nv4 = \"10.1.0.1/24\"\n", "host bits"),
    ] {
        settings(&host, text);
        let output = host.ctl(&["create", "alice", "--image", "busybox"]).output();
        assert_eq!(exit(&output), USAGE, "{text}: {}", output.stderr);
        assert!(
            output.stderr.contains(says) && output.stderr.contains("help: "),
            "{text}: {}",
            output.stderr
        );
    }
    assert!(host.names().is_empty());
}

#[test]
fn of_two_commands_that_want_one_address_one_gets_it() {
    let host = host();
    for round in 0..4 {
        let nic = format!(r#"nic=[{{mode="routed",addresses=["203.0.113.{}"]}}]"#, round + 1);
        let commands = ["a", "b"].map(|who| {
            let name = format!("{who}{round}");
            let run = host.ctl(&["create", &name, "--image", "busybox", "--set", &nic]);
            let mut command = std::process::Command::new(&run.words()[0]);
            command.args(&run.words()[1..]).env("TENANTRY_ROOT", host.root());
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("tenantctl can be started")
        });
        let ended = commands.map(|command| command.wait_with_output().expect("it ends"));
        let codes: Vec<_> = ended.iter().map(|output| output.status.code()).collect();
        assert!(codes.contains(&Some(0)) && codes.contains(&Some(REFUSED)), "{codes:?}");
        let said: String = ended.iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect();
        assert!(said.contains("is in use by tenant"), "{said}");
    }
    assert_eq!(host.names().len(), 4);
}
