//! Many parked web servers: each answers its first request.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use tenantry_tests::{Host, Tenant, poll};

use super::{serve, woken_by};

const SERVER: &str = "$s = IO::Socket::INET->new(LocalPort => 80, Listen => 64, ReuseAddr => 1) or die; \
    while ($c = $s->accept) { <$c>; print $c \"HTTP/1.0 200 OK\\r\\n\\r\\nof NAME\"; close $c }";

/// How many: `cargo xtask test --tenants N`.
pub(super) fn size() -> usize {
    env::var("TENANTRY_TEST_TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

pub(super) fn each<'a>(tenants: &[Tenant<'a>], act: impl Fn(usize, &Tenant<'a>) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(tenant) = tenants.get(number) else { return };
                    act(number, tenant);
                }
            });
        }
    });
}

/// A request, and how long it took until the first byte of its answer.
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

#[test]
fn a_crowd_of_parked_web_servers_answers_every_first_request() {
    let host = Host::start();
    host.run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]).ok();
    let names: Vec<String> = (0..size()).map(|number| format!("t{number}")).collect();
    let port = |number: usize| 10_000 + number as u16;
    let create = |(number, name): (usize, &String)| {
        let forward = format!("ports={}:80/tcp", port(number));
        let settings = ["--set", "idle=park", "--set", "idle_after_sec=4", "--set", &forward];
        host.create(name, &settings)
    };
    let tenants: Vec<Tenant<'_>> = names.iter().enumerate().map(create).collect();
    each(&tenants, |_, tenant| {
        tenant.start();
        serve(tenant, &SERVER.replace("NAME", tenant.name()));
        poll::until_true("it listens", || tenant.says("ss -ltn").contains(":80 "));
    });
    let addresses: Vec<String> = tenants.iter().map(|tenant| tenant.field("/ipv4")).collect();
    let all_parked = || {
        poll::within(Duration::from_secs(180), "all are parked", || {
            let parked = host.ctl(&["list", "--state", "parked", "--quiet"]).ok().stdout;
            (parked.lines().count() == tenants.len()).then_some(())
        });
    };
    let mut times = Vec::new();
    for forwarded in [false, true] {
        all_parked();
        for (number, tenant) in tenants.iter().enumerate() {
            let own = SocketAddr::new(addresses[number].parse().expect("an address"), 80);
            let at = if forwarded { SocketAddr::from(([192, 0, 2, 1], port(number))) } else { own };
            let (answer, took) =
                request(&host, at).unwrap_or_else(|error| panic!("{}: {error}", tenant.name()));
            assert!(answer.ends_with(&format!("of {}", tenant.name())), "{answer}");
            times.push(took);
        }
    }
    times.sort_unstable();
    println!(
        "first byte after {:?} in the middle, {:?} at most",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    all_parked();
    each(&tenants, |_, tenant| {
        assert_eq!(woken_by(tenant), "packet");
        assert_eq!(tenant.says("systemctl is-active server"), "active");
    });
}
