//! Tenants that are parked while they are idle: what wakes them, what does not, and that nothing is lost.

mod crowd;
mod stopped;
mod timers;
mod verbs;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use tenantry_tests::{Host, Running, Tenant, poll};

/// Those of a tenant that is idle soon.
const IDLE: [&str; 4] = ["--set", "idle=park", "--set", "idle_after_sec=2"];

/// A tenant that is parked.
fn parked<'a>(host: &'a Host, name: &str, more: &[&str]) -> Tenant<'a> {
    let tenant = host.boot(name, &[&IDLE[..], more].concat());
    tenant.awaits("parked");
    tenant
}

fn is_frozen(tenant: &Tenant<'_>) -> bool {
    let cgroup = tenant.field("/cgroup");
    std::fs::read_to_string(format!("{cgroup}/payload/cgroup.events"))
        .is_ok_and(|text| text.contains("frozen 1"))
}

/// A service of a tenant, as a program for perl(1).
fn serve(tenant: &Tenant<'_>, program: &str) {
    tenant.shell("cat > /root/server").stdin(program).ok();
    tenant.says("systemd-run --quiet --unit=server perl -MIO::Socket::INET /root/server");
}

/// What woke a tenant last.
fn woken_by(tenant: &Tenant<'_>) -> String {
    tenant.show()["woken"]["why"].as_str().unwrap_or("nothing").to_owned()
}

/// The first bytes that a server of a tenant says, and how long that took.
fn greeting(host: &Host, address: &str, port: u16) -> std::io::Result<(String, Duration)> {
    greeting_within(host, address, port, Duration::from_secs(10))
}

fn greeting_within(
    host: &Host,
    address: &str,
    port: u16,
    limit: Duration,
) -> std::io::Result<(String, Duration)> {
    let address = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port);
    host.in_network(|| {
        let begin = Instant::now();
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut said = [0; 4];
        stream.read_exact(&mut said)?;
        Ok((String::from_utf8_lossy(&said).into_owned(), begin.elapsed()))
    })
}

fn greets(host: &Host, address: &str, port: u16) -> Duration {
    let (said, took) =
        greeting(host, address, port).unwrap_or_else(|error| panic!("{address} {port}: {error}"));
    assert_eq!(said, "SSH-");
    took
}

#[test]
fn an_idle_tenant_is_parked_and_the_first_connection_wakes_it() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    assert!(is_frozen(&alice));
    let show = alice.ctl("show", &[]).ok().stdout;
    assert!(show.contains("parked        for "), "{show}");
    assert!(host.ctl(&["list"]).ok().stdout.contains("parked"));
    assert!(host.ctl(&["list", "--state", "parked", "--quiet"]).ok().text() == "alice");
    for address in [alice.field("/ipv4"), alice.field("/ipv6")] {
        alice.awaits("parked");
        greets(&host, &address, 22);
        assert_eq!((alice.phase().as_str(), woken_by(&alice).as_str()), ("running", "packet"));
    }
    let events = host.ctl(&["events", "--since", "1", "--no-follow"]).ok().stdout;
    assert!(events.contains(" alice parked\n") && events.contains(" alice woken: packet\n"), "{events}");
    assert_eq!(alice.says("systemctl is-system-running"), "running");
}

#[test]
fn a_datagram_wakes_and_is_answered() {
    let host = Host::start();
    let alice = host.boot("alice", &IDLE);
    serve(
        &alice,
        "$s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp') or die; \
         while (defined $s->recv($m, 99)) { $s->send(\"got $m\") }",
    );
    poll::until_true("it listens", || alice.says("ss -lun").contains(":53 "));
    alice.awaits("parked");
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
fn a_forwarded_port_wakes() {
    let host = Host::start();
    host.run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]).ok();
    let alice = parked(&host, "alice", &["--set", "ports=2222:22/tcp"]);
    greets(&host, "192.0.2.1", 2222);
    assert_eq!(woken_by(&alice), "packet");
}

#[test]
fn what_the_kernel_answers_itself_wakes_no_tenant() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    let address = alice.field("/ipv4");
    let since = alice.show()["parked_ms"].clone();
    host.run("busybox", &["ping", "-c", "2", "-W", "2", &address]).ok();
    let refused = greeting(&host, &address, 4711).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
    assert_eq!((alice.phase().as_str(), alice.show()["parked_ms"].clone()), ("parked", since));
}

#[test]
fn a_command_and_a_client_of_a_console_wake_and_keep_it_awake() {
    let host = Host::start();
    let alice = parked(&host, "alice", &[]);
    let took = alice.exec(&["true"]).ok().took;
    assert_eq!(woken_by(&alice), "exec", "{took:?}");
    alice.awaits("parked");
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "login:");
    assert_eq!(woken_by(&alice), "attach");
    let mut session = Running::start(&alice.shell("echo here; read line; echo $line"));
    session.expect("here");
    drop(terminal);
    stays_awake(&alice);
    session.say("there");
    session.expect("there");
    session.end();
    alice.awaits("parked");
}

/// For longer than it would have to be idle.
fn stays_awake(tenant: &Tenant<'_>) {
    let end = Instant::now() + Duration::from_secs(8);
    poll::until_true("the time is over", || {
        assert_eq!(tenant.phase(), "running");
        Instant::now() > end
    });
}

#[test]
fn a_tenant_that_works_or_is_connected_is_not_parked() {
    let host = Host::start();
    let (busy, served) = (host.boot("busy", &IDLE), host.boot("served", &IDLE));
    busy.says("systemd-run --quiet --unit=work sh -c 'while :; do :; done'");
    let address = SocketAddr::new(served.field("/ipv4").parse().expect("an address"), 22);
    let mut stream = host.in_network(|| TcpStream::connect(address).expect("it listens"));
    let mut said = [0; 4];
    stream.read_exact(&mut said).expect("a greeting");
    stays_awake(&served);
    stream.write_all(b"SSH-2.0-test\r\n").expect("it is connected");
    assert_eq!(busy.phase(), "running");
    busy.says("systemctl stop work");
    drop(stream);
    busy.awaits("parked");
    served.awaits("parked");
}
