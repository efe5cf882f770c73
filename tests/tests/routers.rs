//! Tenants that forward between NICs of the host: real packets between hosts at their ends, one table that
//! says who has which NIC, and a routing protocol.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, TcpListener},
    thread,
};

use serde_json::Value;
use tenantry_tests::{Elsewhere, Host, Namespace, Run, Tenant, poll};

/// Exit codes.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 4;

/// Runs `ip` in the network of a host.
fn ip(host: &Host, words: &str) {
    host.run("ip", &words.split(' ').collect::<Vec<_>>()).ok();
}

/// Gives the host a NIC whose other end, `end0`, is in another machine with these addresses and gateways.
fn wire(host: &Host, nic: &str, to: &Namespace, addresses: [&str; 2], gateways: [&str; 2]) {
    ip(host, &format!("link add {nic} type veth peer name end0 netns {}", to.pid()));
    let [four, six] = addresses;
    to.shell(&format!(
        "ip address add {four} dev end0; ip address add {six} dev end0 nodad; ip link set end0 up"
    ))
    .ok();
    let [via4, via6] = gateways;
    to.shell(&format!("ip route add default via {via4}; ip -6 route add default via {via6}")).ok();
}

fn ctl(host: &Host, words: &str) -> Run {
    host.ctl(&words.split(' ').collect::<Vec<_>>())
}

/// The row of the table of nics for a NIC: its state and its tenant.
fn port(host: &Host, link: &str, vlan: Option<u16>) -> (String, String) {
    let nics = host.ctl(&["--json", "nics", "--all"]).ok().json();
    let nics = nics["nics"].as_array().cloned().unwrap_or_default();
    let is_it = |row: &&Value| row["link"] == link && row["vlan"].as_u64() == vlan.map(u64::from);
    let row = nics.iter().find(is_it).unwrap_or_else(|| panic!("{link} is not in {nics:?}"));
    let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    (text("state"), text("tenant"))
}

fn is(state: &str, tenant: &str) -> (String, String) {
    (state.to_owned(), tenant.to_owned())
}

/// The time to live of the answer to a ping; none without an answer.
fn ping(from: &Namespace, address: &str) -> Option<u8> {
    let said = from.run("busybox", &["ping", "-c", "1", "-W", "2", address]).output().stdout;
    said.split("ttl=").nth(1)?.split(' ').next()?.parse().ok()
}

/// What a server at an address says to a client elsewhere.
fn greeting(from: &Namespace, to: &Namespace, address: &str) -> String {
    let ip: IpAddr = address.parse().expect("an address");
    let namespace = fs::File::open(to.path()).expect("the namespace is there");
    let bind = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("it can be entered");
        TcpListener::bind((ip, 0)).expect("a port")
    };
    let listener = thread::spawn(bind).join().expect("somebody listens");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        // Whoever left before being greeted is not missed.
        let _unread = stream.write_all(b"hello");
    });
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && head -c 5 <&3");
    from.run("timeout", &["10", "bash", "-c", &script]).ok().stdout
}

/// The interfaces that a tenant sees.
fn interfaces(tenant: &Tenant<'_>) -> Vec<String> {
    tenant.says("ls /sys/class/net").split_ascii_whitespace().map(str::to_owned).collect()
}

fn host_has(host: &Host, nic: &str) -> bool {
    host.run("ip", &["link", "show", "dev", nic]).output().status.success()
}

const LEFT: [&str; 2] = ["10.1.0.2/24", "fd01::2/64"];
const RIGHT: [&str; 2] = ["10.2.0.2/24", "fd02::2/64"];

#[test]
fn a_busybox_router_forwards_between_nics_that_the_table_gives_it() {
    let host = Host::start();
    let (left, right) = (Elsewhere::new(), Elsewhere::new());
    let (left, right) = (left.network(), right.network());
    wire(&host, "h1", &left, LEFT, ["10.1.0.1", "fd01::1"]);
    wire(&host, "h2", &right, RIGHT, ["10.2.0.1", "fd02::1"]);
    let edge = host.create("edge", &["--profile", "router", "--image", "busybox"]);
    assert_eq!(port(&host, "h1", None), is("free", "-"));
    ctl(&host, "ports set h1 edge --name left --address 10.1.0.1/24 --address fd01::1/64").ok();
    ctl(&host, "ports set h2 edge --name right --address 10.2.0.1/24 --address fd02::1/64").ok();
    assert_eq!(port(&host, "h1", None), is("waiting", "edge"));
    assert_eq!(ping(&left, "10.2.0.2"), None);
    edge.start();
    assert_eq!(port(&host, "h1", None), is("held", "edge"));
    assert_eq!(interfaces(&edge), ["left", "lo", "right"]);
    assert!(!host_has(&host, "h1") && !host_has(&host, "h2"));
    let explained = host.ctl(&["explain", "edge", "nic"]).ok().stdout;
    assert_eq!(explained.lines().count(), 3, "{explained}");
    assert!(explained.contains("nics.toml"), "{explained}");
    // One hop: the answer comes with 64 less one.
    poll::until_true("IPv4 goes through", || ping(&left, "10.2.0.2") == Some(63));
    poll::until_true("IPv6 goes through", || ping(&right, "fd01::2") == Some(63));
    assert_eq!(greeting(&left, &right, "10.2.0.2"), "hello");
    assert_eq!(greeting(&left, &right, "fd02::2"), "hello");
    // What is held is neither taken away nor given to another.
    let core = host.create("core", &["--profile", "router", "--image", "busybox"]);
    for words in ["ports unset h1", "ports set h1 core", "ports set h1 edge --name other"] {
        let refused = ctl(&host, words).output();
        assert_eq!(refused.status.code(), Some(REFUSED), "{words}: {}", refused.stderr);
        assert!(refused.stderr.contains("in use by tenant \"edge\", which is running"), "{}", refused.stderr);
    }
    let refused = host.ctl(&["set", "core", r#"nic=[{mode="phys",link="h1"}]"#]).output();
    assert_eq!(refused.status.code(), Some(REFUSED), "{}", refused.stderr);
    assert!(refused.stderr.contains("\"edge\" in nics.toml"), "{}", refused.stderr);
    edge.stop();
    assert!(host_has(&host, "h1") && host_has(&host, "h2"), "they are home");
    assert_eq!(port(&host, "h2", None), is("waiting", "edge"));
    // Now it can move, and the other tenant has it.
    ctl(&host, "ports set h1 core --name left --address 10.1.0.1/24").ok();
    [&edge, &core].into_iter().for_each(Tenant::start);
    assert_eq!(
        (interfaces(&edge), interfaces(&core)),
        (vec!["lo".into(), "right".into()], vec!["left".into(), "lo".into()])
    );
    assert_eq!(port(&host, "h1", None), is("held", "core"));
}

#[test]
fn one_table_gives_nics_to_several_routers_and_is_edited_by_hand() {
    let host = Host::start();
    let ends: Vec<_> = (0..4).map(|_| Elsewhere::new()).collect();
    for (number, end) in ends.iter().enumerate() {
        let [four, six] = [format!("10.{number}.0.2/24"), format!("fd0{number}::2/64")];
        let [via4, via6] = [format!("10.{number}.0.1"), format!("fd0{number}::1")];
        wire(&host, &format!("n{number}"), &end.network(), [&four, &six], [&via4, &via6]);
    }
    let routers =
        ["north", "south"].map(|name| host.create(name, &["--profile", "router", "--image", "busybox"]));
    let row = |number: usize, tenant: &str| {
        format!(
            "[[nic]]\nlink = \"n{number}\"\ntenant = \"{tenant}\"\naddresses = [\"10.{number}.0.1/24\", \"fd0{number}::1/64\"]\n"
        )
    };
    let rows: String =
        [(0, "north"), (1, "north"), (2, "south"), (3, "south")].iter().map(|(n, t)| row(*n, t)).collect();
    let more = "[[nic]]\nlink = \"n9\"\ntenant = \"north\"\nvlan = 7\nname = \"later\"\n[[nic]]\nlink = \"n8\"\ntenant = \"nobody\"\n";
    let table = host.path("etc/tenantry/nics.toml");
    fs::write(&table, format!("# By hand.\n{rows}{more}")).expect("an admin can write it");
    let listed = ctl(&host, "ports").ok();
    assert!(listed.stderr.contains("warning: nics.toml assigns n8 to \"nobody\""), "{}", listed.stderr);
    assert_eq!(port(&host, "n9", Some(7)), is("missing", "north"));
    // What is not there keeps its own tenant from starting, and nobody else.
    routers[1].start();
    let refused = routers[0].ctl("start", &[]).output();
    assert!(!refused.status.success() && refused.stderr.contains("\"n9\""), "{}", refused.stderr);
    assert!(host_has(&host, "n0") && host_has(&host, "n1"), "nothing is half done");
    ctl(&host, "ports unset n9.7").ok();
    routers[0].start();
    for router in &routers {
        assert_eq!(interfaces(router), ["eth0", "eth1", "lo"]);
    }
    poll::until_true("north forwards", || ping(&ends[0].network(), "10.1.0.2") == Some(63));
    poll::until_true("south forwards", || ping(&ends[2].network(), "fd03::2") == Some(63));
    assert_eq!(ping(&ends[0].network(), "10.2.0.2"), None, "nothing joins the two");
    // A NIC comes home however its router ends.
    routers[1].ctl("kill", &[]).ok();
    poll::until_true("they are home", || host_has(&host, "n2") && host_has(&host, "n3"));
    let text = fs::read_to_string(&table).expect("the table is there");
    assert!(text.starts_with("# By hand.\n"), "{text}");
    // A file that gives a NIC twice is told, and so is one that is no table.
    for (text, says) in [
        (format!("{}{}", row(2, "south"), row(2, "north")), "n2 is assigned to both \"south\" and \"north\""),
        ("[[nic]]\nlink = \"n2\"\ntenants = \"south\"\n".to_owned(), "did you mean `tenant`?"),
    ] {
        fs::write(&table, &text).expect("an admin can write it");
        let refused = routers[1].ctl("start", &[]).output();
        assert_eq!(refused.status.code(), Some(USAGE), "{}", refused.stderr);
        assert!(refused.stderr.contains(says) && refused.stderr.contains("help: "), "{}", refused.stderr);
    }
    fs::write(&table, row(2, "south")).expect("an admin can write it");
    assert_eq!(ctl(&host, "ports set n3 nobody").output().status.code(), Some(NOT_FOUND));
    assert_eq!(ctl(&host, "ports set n2.5000 south").output().status.code(), Some(USAGE));
}

/// The configuration of bird: OSPF for both families on every interface.
fn bird(id: &str) -> String {
    format!(
        "router id {id};\n\
         protocol device {{ scan time 1; }}\n\
         protocol kernel {{ ipv4 {{ import none; export all; }}; }}\n\
         protocol kernel {{ ipv6 {{ import none; export all; }}; }}\n\
         protocol ospf v2 four {{ ipv4 {{ import all; export none; }}; area 0 {{\n\
         \tinterface \"core\" {{ type ptp; hello 1; dead 4; }};\n\tinterface \"lan\" {{ stub; }};\n}}; }}\n\
         protocol ospf v3 six {{ ipv6 {{ import all; export none; }}; area 0 {{\n\
         \tinterface \"core\" {{ type ptp; hello 1; dead 4; }};\n\tinterface \"lan\" {{ stub; }};\n}}; }}\n"
    )
}

#[test]
fn debian_routers_learn_from_each_other_where_packets_go() {
    let host = Host::start();
    let (left, right) = (Elsewhere::new(), Elsewhere::new());
    let (left, right) = (left.network(), right.network());
    wire(&host, "h1", &left, LEFT, ["10.1.0.1", "fd01::1"]);
    wire(&host, "h2", &right, RIGHT, ["10.2.0.1", "fd02::1"]);
    // A cable between two NICs of the host: each router gets one end.
    ip(&host, "link add c1 type veth peer name c2");
    let routers = ["west", "east"].map(|name| host.create(name, &["--profile", "router", "--image", "bird"]));
    for words in [
        "h1 west --name lan --address 10.1.0.1/24 --address fd01::1/64",
        "c1 west --name core --address 10.0.0.1/30",
        "h2 east --name lan --address 10.2.0.1/24 --address fd02::1/64",
        "c2 east --name core --address 10.0.0.2/30",
    ] {
        ctl(&host, &format!("ports set {words}")).ok();
    }
    routers.iter().for_each(Tenant::start);
    assert_eq!(interfaces(&routers[0]), ["core", "lan", "lo"]);
    assert_eq!(ping(&left, "10.2.0.2"), None, "nobody has told the way yet");
    for (number, router) in routers.iter().enumerate() {
        // It runs because it is enabled in the image.
        poll::until_true("bird runs", || {
            router.shell("systemctl is-active bird").output().stdout.trim() == "active"
        });
        let text = bird(&format!("10.0.0.{}", number + 1));
        router.shell("cat > /etc/bird/bird.conf && birdc configure").stdin(text).ok();
    }
    poll::until_true("IPv4 goes through both", || ping(&left, "10.2.0.2") == Some(62));
    poll::until_true("IPv6 goes through both", || ping(&left, "fd02::2") == Some(62));
    assert_eq!(greeting(&left, &right, "10.2.0.2"), "hello");
    assert_eq!(greeting(&right, &left, "fd01::2"), "hello");
    let learnt = routers[0].says("ip route show 10.2.0.0/24; ip -6 route show fd02::/64");
    assert_eq!(learnt.matches("proto bird").count(), 2, "{learnt}");
    assert!(learnt.contains("via 10.0.0.2 dev core"), "{learnt}");
    // Nothing but what the image has enabled.
    let units = "systemctl list-units --type=service --state=running --no-legend --plain | cut -d' ' -f1";
    let running = routers[0].says(units);
    let expected = ["bird.service", "systemd-journald.service"];
    assert!(running.lines().all(|unit| expected.contains(&unit.trim())), "{running}");
    // The socket of sshd is systemd's own, until somebody knocks.
    let listening = routers[0].says("cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" { print $2 }'");
    assert!(listening.lines().all(|address| address.ends_with(":0016")), "{listening}");
    // What one router learnt goes when the other one does.
    routers[1].stop();
    poll::until_true("the way is forgotten", || !routers[0].says("ip route").contains("10.2.0.0/24"));
    assert!(host_has(&host, "h2") && host_has(&host, "c2"));
}
