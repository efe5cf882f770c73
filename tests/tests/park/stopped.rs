//! Tenants that are stopped while they are idle, and boot when they are needed.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, Tenant, poll};

use super::{IDLE, greeting_within, woken_by};

/// Besides [`IDLE`].
const STOP: [&str; 2] = ["--set", "park=stop"];

/// Waits until a tenant is parked and stopped.
fn gone(tenant: &Tenant<'_>) {
    let end = Instant::now() + Duration::from_secs(30);
    poll::until_true("it is parked and stopped", || {
        assert!(Instant::now() < end, "{}", tenant.run_state());
        is_gone(tenant)
    });
}

fn is_gone(tenant: &Tenant<'_>) -> bool {
    let said = tenant.run_state();
    said["phase"] == "parked" && said["parked"]["stopped"] == true
}

fn stopped<'a>(host: &'a Host, name: &str, more: &[&str]) -> Tenant<'a> {
    let tenant = host.boot(name, &[&IDLE[..], &STOP, more].concat());
    gone(&tenant);
    tenant
}

/// A web server of a tenant that says whose it is, and a service of UDP: both are there again after a boot.
const SERVER: &str = "mkdir -p /root/bin && cat > /root/bin/web <<'EOF'
use IO::Socket::INET; use IO::Socket::IP;
$s = IO::Socket::IP->new(LocalHost => '::', LocalPort => 80, Listen => 64, ReuseAddr => 1) or die;
while ($c = $s->accept) { <$c>; print $c \"HTTP/1.0 200 OK\\r\\n\\r\\nof \", `hostname`; close $c }
EOF
cat > /root/bin/echo <<'EOF'
use IO::Socket::INET;
$s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp') or die;
while (defined $s->recv($m, 99)) { $s->send(\"got $m\") }
EOF
for name in web echo; do
    printf '[Service]\\nExecStart=/usr/bin/perl /root/bin/%s\\n[Install]\\nWantedBy=multi-user.target\\n' $name > /etc/systemd/system/$name.service
done
systemctl enable --quiet --now web echo";

/// The answer of a tenant's web server, and how long its first byte took.
fn request(host: &Host, address: SocketAddr) -> std::io::Result<(String, Duration)> {
    host.in_network(|| {
        let begin = Instant::now();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = vec![0];
        stream.read_exact(&mut answer)?;
        let took = begin.elapsed();
        stream.read_to_end(&mut answer)?;
        Ok((String::from_utf8_lossy(&answer).into_owned(), took))
    })
}

fn web(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), 80)
}

/// A tenant with that server that is parked and stopped.
fn server<'a>(host: &'a Host, name: &str, more: &[&str]) -> Tenant<'a> {
    let tenant = host.boot(name, &[&IDLE[..], &STOP, more].concat());
    tenant.says(SERVER);
    gone(&tenant);
    tenant
}

fn is_served(host: &Host, tenant: &Tenant<'_>, at: SocketAddr) -> Duration {
    let (answer, took) =
        request(host, at).unwrap_or_else(|error| panic!("{} at {at}: {error}", tenant.name()));
    assert!(answer.trim_end().ends_with(&format!("of {}", tenant.name())), "{answer}");
    took
}

#[test]
fn an_idle_tenant_is_stopped_and_the_first_connection_boots_it() {
    let host = Host::start();
    let alice = server(&host, "alice", &[]);
    let said = alice.run_state();
    assert!(said.get("init").is_none(), "{said}");
    let cgroup = alice.field("/cgroup");
    assert!(!std::path::Path::new(&format!("{cgroup}/payload")).exists());
    assert_eq!((alice.phase().as_str(), alice.field("/parked_way").as_str()), ("parked", "stopped"));
    let show = alice.ctl("show", &[]).ok().stdout;
    assert!(show.contains(", stopped\n"), "{show}");
    for address in [alice.field("/ipv4"), alice.field("/ipv6")] {
        gone(&alice);
        let took = is_served(&host, &alice, web(&address));
        println!("first byte from {address} after {took:?}");
        alice.awaits("running");
        assert_eq!(woken_by(&alice), "packet");
    }
    assert_eq!(alice.run_state()["boots"], 1, "it was not rebooted");
    let events = host.ctl(&["events", "--since", "1", "--no-follow"]).ok().stdout;
    assert!(events.contains(" alice parked\n") && events.contains(" alice woken: packet\n"), "{events}");
    assert!(!events.contains("reboot"), "{events}");
}

#[test]
fn it_has_its_packets_by_itself_again_when_it_is_back() {
    let host = Host::start();
    let alice = server(&host, "alice", &[]);
    let stand_in = |host: &Host| host.run("ip", &["-o", "link", "show", "type", "tun"]).ok().stdout;
    assert!(stand_in(&host).contains("t1-s"), "{}", stand_in(&host));
    let at = web(&alice.field("/ipv4"));
    is_served(&host, &alice, at);
    poll::until_true("nothing stands for it any more", || stand_in(&host).is_empty());
    is_served(&host, &alice, at);
    let port = alice.field("/nics/0/host_name");
    let strict =
        host.in_network(|| std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{port}/rp_filter")));
    assert_eq!(strict.expect("it can be read").trim(), "1");
    let closed = greeting_within(&host, &alice.field("/ipv4"), 4711, Duration::from_secs(5));
    assert_eq!(closed.expect_err("nobody listens").kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_datagram_boots_it_and_is_answered_and_a_ping_is_answered_without() {
    let host = Host::start();
    let alice = server(&host, "alice", &[]);
    let since = alice.show()["parked_ms"].clone();
    for address in [alice.field("/ipv4"), alice.field("/ipv6")] {
        host.run("busybox", &["ping", "-c", "2", "-W", "2", &address]).ok();
    }
    assert_eq!((alice.phase().as_str(), alice.show()["parked_ms"].clone()), ("parked", since));
    let address = format!("{}:53", alice.field("/ipv4"));
    let said = host.in_network(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        socket.send_to(b"this", &address).expect("it is sent");
        let mut said = [0; 64];
        let length = socket.recv(&mut said).expect("an answer to the first datagram");
        String::from_utf8_lossy(&said[..length]).into_owned()
    });
    assert_eq!((said.as_str(), woken_by(&alice).as_str()), ("got this", "packet"));
}

#[test]
fn commands_consoles_and_requests_boot_it() {
    let host = Host::start();
    let alice = stopped(&host, "alice", &[]);
    assert_eq!(alice.says("systemctl is-system-running"), "running");
    assert_eq!(woken_by(&alice), "exec");
    gone(&alice);
    alice.ctl("wake", &[]).ok();
    assert_eq!((alice.phase().as_str(), woken_by(&alice).as_str()), ("running", "admin"));
    gone(&alice);
    alice.ctl("start", &[]).ok();
    assert_eq!((alice.phase().as_str(), woken_by(&alice).as_str()), ("running", "admin"));
    gone(&alice);
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "login:");
    assert_eq!(woken_by(&alice), "attach");
    drop(terminal);
    gone(&alice);
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("echo up"), "up");
    gone(&alice);
    assert!(alice.ctl("stop", &[]).ok().took < Duration::from_secs(5));
    assert_eq!(alice.phase(), "stopped");
    alice.start();
    gone(&alice);
    alice.ctl("kill", &[]).ok();
    alice.awaits("stopped");
    alice.start();
    gone(&alice);
    alice.ctl("destroy", &["--force", "--yes"]).ok();
}

#[test]
fn it_boots_without_hostd_and_leaves_nothing_when_its_supervisor_is_killed() {
    let host = Host::start();
    let alice = server(&host, "alice", &[]);
    let (at, since) = (web(&alice.field("/ipv4")), alice.show()["parked_ms"].clone());
    host.kill_hostd();
    host.start_hostd();
    assert_eq!((alice.phase().as_str(), alice.show()["parked_ms"].clone()), ("parked", since));
    host.kill_hostd();
    is_served(&host, &alice, at);
    assert_eq!(alice.run_state()["woken"]["why"], "packet");
    host.start_hostd();
    gone(&alice);
    let supervisor = alice.run_state()["supervisor"]["pid"].as_i64().expect("a number");
    kill(Pid::from_raw(supervisor as i32), Signal::SIGKILL).expect("it runs");
    poll::until_true("it is down", || ["stopped", "failed"].contains(&alice.phase().as_str()));
    let links = host.run("ip", &["-o", "link"]).ok().stdout;
    assert!(!links.contains("t1-"), "{links}");
    alice.start();
    poll::until_true("it is served", || request(&host, at).is_ok());
}

#[test]
fn a_key_that_changes_while_it_is_away_is_in_effect_when_it_is_back() {
    let host = Host::start();
    let alice = server(&host, "alice", &[]);
    let at = web(&alice.field("/ipv4"));
    alice.ctl("set", &["park=freeze"]).ok();
    alice.ctl("wake", &[]).ok();
    poll::until_true("it is served", || request(&host, at).is_ok());
    alice.awaits("parked");
    assert_eq!(alice.field("/parked_way"), "frozen");
    is_served(&host, &alice, at);
}

#[test]
fn one_in_which_something_is_due_soon_is_frozen_and_later_is_told() {
    let host = Host::start();
    let options = [&IDLE[..], &STOP].concat();
    let (soon, later) = (host.boot("soon", &options), host.boot("later", &options));
    let timer = |after: u32| {
        let at = format!("$(date -u -d '{after} seconds' '+%F %T UTC')");
        format!("systemd-run --quiet --on-calendar=\"{at}\" --timer-property=AccuracySec=1ms true")
    };
    soon.says(&timer(900));
    later.says(&timer(3600));
    gone(&later);
    let said = later.run_state();
    let due = said["parked"]["due_ms"].as_u64().expect("a timer is due");
    let left = due.saturating_sub(said["parked"]["since_ms"].as_u64().expect("a time")) / 1000;
    assert!((3540..=3590).contains(&left), "it boots ten seconds before: {left}");
    soon.awaits("parked");
    assert_eq!(soon.field("/parked_way"), "frozen");
}

#[test]
fn a_process_that_sleeps_is_not_stopped_however_long_it_sleeps() {
    let host = Host::start();
    let alice = host.boot("alice", &[&IDLE[..], &STOP].concat());
    alice.says("systemd-run --quiet --unit=sleeper sleep 5000");
    alice.awaits("parked");
    assert_eq!(alice.field("/parked_way"), "frozen");
    assert_eq!(alice.says("systemctl is-active sleeper"), "active");
    alice.says("systemctl stop sleeper");
    gone(&alice);
}

#[test]
fn a_crowd_of_stopped_web_servers_answers_every_first_request() {
    let host = Host::start();
    host.run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]).ok();
    let names: Vec<String> = (0..super::crowd::size()).map(|number| format!("t{number}")).collect();
    let port = |number: usize| 10_000 + number as u16;
    let tenants: Vec<Tenant<'_>> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let forward = format!("ports={}:80/tcp", port(number));
            host.create(name, &[&IDLE[..], &STOP, &["--set", &forward]].concat())
        })
        .collect();
    super::crowd::each(&tenants, |_, tenant| {
        tenant.start();
        tenant.says(SERVER);
    });
    let own: Vec<SocketAddr> = tenants.iter().map(|tenant| web(&tenant.field("/ipv4"))).collect();
    let all_gone = || {
        poll::within(Duration::from_secs(180), "all are stopped", || {
            tenants.iter().all(is_gone).then_some(())
        });
    };
    let forwarded = |number: usize| SocketAddr::from(([192, 0, 2, 1], port(number)));
    let mut one_by_one = Vec::new();
    for by_port in [false, true] {
        all_gone();
        for (number, tenant) in tenants.iter().enumerate() {
            let at = if by_port { forwarded(number) } else { own[number] };
            one_by_one.push(is_served(&host, tenant, at));
        }
    }
    one_by_one.sort_unstable();
    println!(
        "one by one: {:?} in the middle, {:?} at most",
        one_by_one[one_by_one.len() / 2],
        one_by_one.last()
    );
    all_gone();
    let (host, own, forwarded) = (&host, &own, &forwarded);
    let mut at_once: Vec<Duration> = thread::scope(|scope| {
        let ask = |(number, tenant)| {
            [own[number], forwarded(number)].map(|at| scope.spawn(move || is_served(host, tenant, at)))
        };
        let asked: Vec<_> = tenants.iter().enumerate().flat_map(ask).collect();
        asked.into_iter().map(|asked| asked.join().expect("it is answered")).collect()
    });
    at_once.sort_unstable();
    println!("all at once: {:?} in the middle, {:?} at most", at_once[at_once.len() / 2], at_once.last());
    // Programs without optimization, on a machine that may be busy.
    assert!(one_by_one[one_by_one.len() / 2] < Duration::from_millis(1500), "{one_by_one:?}");
    super::crowd::each(&tenants, |_, tenant| {
        tenant.awaits("running");
        assert_eq!(woken_by(tenant), "packet");
    });
}
