//! What is due in a parked tenant happens on time.

use std::time::{Duration, SystemTime};

use tenantry_tests::{Host, Tenant, poll};

use super::{IDLE, is_frozen};

/// After how long something is due: long enough for a tenant to be parked before.
const DUE: u64 = 15;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The file that a tenant made, from the host's side: looking wakes nobody.
fn made(host: &Host, tenant: &Tenant<'_>, name: &str) -> Option<u64> {
    let path = host.path(format!("var/lib/tenantry/tenants/{}/dirs/root/{name}", tenant.name()));
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    Some(modified.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs())
}

/// Something that a script has begun in a tenant is done on time, while that is parked before and after.
fn happens_on_time(name: &str, script: &str) {
    let host = Host::start();
    let alice = host.boot("alice", &IDLE);
    let begin = now();
    alice.says(script);
    alice.awaits("parked");
    assert!(now() < begin + DUE, "too slow to be parked before");
    assert_eq!(made(&host, &alice, name), None);
    let at = poll::until("it happens", || made(&host, &alice, name));
    let late = at.saturating_sub(begin + DUE);
    assert!(late <= 3 && at + 1 >= begin + DUE, "{late} s late");
    poll::until_true("it is frozen again", || is_frozen(&alice));
    assert_eq!(alice.phase(), "parked", "it was awake for a moment, and nobody has woken it");
    assert_eq!(alice.show().get("woken").map(|woken| woken["why"] == "timer"), None);
}

#[test]
fn a_timer_of_systemd_fires_on_time_in_a_blink() {
    let timer =
        format!("systemd-run --quiet --on-active={DUE} --timer-property=AccuracySec=1ms touch /root/timer");
    happens_on_time("timer", &timer);
}

#[test]
fn a_process_that_sleeps_goes_on_on_time() {
    happens_on_time("slept", &format!("systemd-run --quiet sh -c 'sleep {DUE}; touch /root/slept'"));
}

#[test]
fn a_process_that_waits_for_something_else_at_most_so_long_goes_on_on_time() {
    let wait = format!("perl -e 'select(undef, undef, undef, {DUE}); open(F, \">\", \"/root/waited\")'");
    happens_on_time("waited", &format!("systemd-run --quiet {wait}"));
}

#[test]
fn a_timer_that_has_more_to_do_wakes_the_tenant() {
    let host = Host::start();
    let alice = host.boot("alice", &IDLE);
    let work = "timeout 60 sh -c 'while :; do :; done'";
    alice.says(&format!("systemd-run --quiet --on-active={DUE} --timer-property=AccuracySec=1ms {work}"));
    alice.awaits("parked");
    poll::until_true("it is awake", || alice.phase() == "running");
    assert_eq!(super::woken_by(&alice), "timer");
}

#[test]
fn a_parked_tenant_says_when_something_is_due() {
    let host = Host::start();
    let alice = host.boot("alice", &IDLE);
    alice.says("systemd-run --quiet --on-active=40 --timer-property=AccuracySec=1ms true");
    let begin = now();
    alice.awaits("parked");
    let due = alice.run_state()["parked"]["due_ms"].as_u64().expect("a timer is due") / 1000;
    let left = Duration::from_secs(due.saturating_sub(begin));
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(42), "{left:?}");
}
