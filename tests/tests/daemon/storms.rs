//! Many changes at once, and contradictory ones.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// How many tenants are started at once.
const TENANTS: usize = 20;

fn states(host: &Host) -> Vec<(String, String)> {
    let list = host.ctl(&["--json", "list"]).ok().json();
    let text = |tenant: &Value, key: &str| tenant[key].as_str().unwrap_or_default().to_owned();
    let tenants = list.as_array().cloned().unwrap_or_default();
    tenants.iter().map(|tenant| (text(tenant, "name"), text(tenant, "state"))).collect()
}

/// Neither half up nor half down.
fn is_settled(host: &Host) -> bool {
    states(host).iter().all(|(_, state)| ["running", "stopped", "failed"].contains(&state.as_str()))
}

#[test]
fn a_hostd_that_ends_in_a_storm_of_starts_leaves_no_tenant_half_there() {
    let host = Host::start();
    let names: Vec<String> = (0..TENANTS).map(|number| format!("t{number:02}")).collect();
    let tenants: Vec<Tenant<'_>> =
        names.iter().map(|name| host.create(name, &["--image", "busybox"])).collect();
    for (is_killed, started) in [(true, 1), (false, 1), (true, 8), (false, 8)] {
        let at = format!("killed: {is_killed}, after {started} starts");
        let mut clients: Vec<Child> = tenants.iter().map(|tenant| tenant.ctl("start", &[]).spawn()).collect();
        poll::until_true("some are up", || {
            states(&host).iter().filter(|(_, state)| state == "running").count() >= started
        });
        if is_killed {
            host.kill_hostd()
        } else {
            host.end_hostd()
        }
        clients.iter_mut().for_each(|client| drop(client.wait()));
        host.start_hostd();
        poll::until_true(&format!("{at}: all are up or down"), || is_settled(&host));
        host.ctl(&["start", "--all"]).ok();
        let now = states(&host);
        assert!(now.iter().all(|(_, state)| state == "running"), "{at}: {now:?}");
        tenants.iter().for_each(|tenant| assert_eq!(tenant.says("echo up"), "up", "{at}"));
        host.ctl(&["stop", "--all"]).ok();
        let now = states(&host);
        assert!(now.iter().all(|(_, state)| state == "stopped"), "{at}: {now:?}");
    }
    let log = host.hostd_log();
    assert!(!log.contains("panicked"), "{log}");
}

/// A sequence of numbers that looks random and is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        // Knuth's MMIX; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// What clients ask of one tenant that has either of two names.
const REQUESTS: &[&[&str]] = &[
    &["create", "alice", "--image", "busybox"],
    &["create", "alice", "--image", "busybox"],
    &["start", "alice"],
    &["start", "alice"],
    &["stop", "alice"],
    &["restart", "alice"],
    &["destroy", "alice", "--force", "--yes"],
    &["destroy", "bob", "--force", "--yes"],
    &["set", "alice", "description=one"],
    &["set", "alice", "memory_max=200M"],
    &["rename", "alice", "bob"],
    &["rename", "bob", "alice"],
    &["snapshot", "alice", "one"],
    &["snapshots", "alice", "--remove", "one"],
    &["restore", "alice", "one"],
    &["reset", "alice", "/etc", "--yes"],
    &["clone", "alice", "bob"],
    &["kill", "alice"],
    &["show", "alice"],
    &["list"],
];

#[test]
fn clients_that_contradict_each_other_are_answered_and_leave_something_whole() {
    const CLIENTS: u64 = 2;
    let host = Host::start();
    let stays = host.boot("stays", &["--image", "busybox"]);
    let boot = stays.boot_id();
    let seconds = if std::env::var_os(tenantry_tests::host::ALL).is_some() { 120 } else { 10 };
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (host, is_over) = (&host, &is_over);
                scope.spawn(move || {
                    let (mut dice, mut done) = (Dice(seed + number), Vec::new());
                    while !is_over.load(Ordering::Acquire) {
                        let words = REQUESTS[dice.throw(REQUESTS.len())];
                        let answer = host.ctl(words).limit(Duration::from_secs(60)).output();
                        done.push((words, answer));
                    }
                    done
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(seconds));
        is_over.store(true, Ordering::Release);
        let (mut good, mut all) = (0, 0);
        for client in clients {
            for (words, answer) in client.join().expect("a client does not panic") {
                all += 1;
                good += usize::from(answer.status.success());
                // What somebody else has ended meanwhile fails, at whatever step that was.
                let is_clear = matches!(answer.code(), FAILED | NOT_FOUND | REFUSED)
                    && answer.stderr.contains("error: ")
                    && !answer.stderr.contains("os error");
                assert!(
                    answer.status.success() || is_clear,
                    "{words:?}: {} {}",
                    answer.code(),
                    answer.stderr
                );
            }
        }
        eprintln!("{good} of {all} requests were granted");
        assert!(good > 20, "{good} of {all} requests were granted");
    });
    poll::until_true("all are up or down", || is_settled(&host));
    let log = host.hostd_log();
    assert!(!log.contains("panicked"), "{log}");
    host.ctl(&["doctor"]).output();
    for name in host.names() {
        let tenant = Tenant::new(&host, &name);
        tenant.start();
        assert_eq!(tenant.says("echo up"), "up");
    }
    assert_eq!(stays.boot_id(), boot, "no other tenant was touched");
    for name in host.names().iter().filter(|name| *name != "stays") {
        host.ctl(&["destroy", name, "--force", "--yes"]).ok();
    }
    let tenants = host.path("var/lib/tenantry/tenants");
    let left = |dir: &Path| {
        let entries = fs::read_dir(dir).expect("a directory").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    poll::until_true("nothing else is left", || left(&tenants) == ["stays"]);
    assert_eq!(left(&host.path("etc/tenantry/tenants")), ["stays.toml"]);
}
