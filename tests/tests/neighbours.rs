//! Tenants without settings of their own, of which one does what it can: what its neighbour notices.

use std::sync::{Mutex, PoisonError};

use tenantry_tests::{Host, Tenant, poll};

/// Programs started one after the other for one figure.
const SPAWNS: &str = "400";

/// The 99th percentile of the time that fork, exec and the end of a program take in a tenant, microseconds.
fn p99(tenant: &Tenant<'_>) -> u64 {
    let said = tenant.probe_again(&["spawns", SPAWNS]).succeeded().json();
    said["p99_us"].as_u64().expect("a number")
}

/// One hog at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Use of a tenant, seen from outside: nothing more may be startable in it.
fn usage(tenant: &Tenant<'_>, what: &str) -> u64 {
    let stat = tenant.ctl("stat", &["--json"]).ok().json();
    let usage = stat.pointer("/0/usage").or(stat.pointer("/usage")).expect("its use");
    usage[what].as_u64().unwrap_or_default()
}

/// Compares a quiet neighbour with one beside which `script` runs in a tenant of the same kind.
fn compare(script: &str, begun: impl Fn(&Tenant<'_>) -> bool, bounded: impl Fn(&Tenant<'_>)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Host::start();
    let (victim, hog) = (host.boot("victim", &[]), host.boot("hog", &[]));
    victim.bring_probe();
    hog.bring_probe();
    let boot = victim.boot_id();
    let quiet = p99(&victim);
    hog.shell(&format!("setsid sh -c '{script}' > /dev/null 2>&1 < /dev/null &")).ok();
    poll::until_true("the neighbour is at it", || begun(&hog));
    // Other tests may disturb one figure, a hog that is not held back disturbs all of them. What is left is the wait for
    // the slice of whatever runs, some ticks of the kernel's clock: no weight or quota shortens that.
    let loud = (0..5).map(|_| p99(&victim)).min().expect("figures");
    bounded(&hog);
    println!("fork and exec of a neighbour, p99: {quiet} us quiet, {loud} us beside `{script}`");
    assert!(loud <= 10 * quiet, "{quiet} us became {loud} us beside `{script}`");
    assert_eq!(victim.boot_id(), boot);
    hog.ctl("kill", &[]).ok();
}

#[test]
fn a_fork_bomb_in_a_tenant_without_settings_is_held_back() {
    let tasks = |hog: &Tenant<'_>| usage(hog, "tasks");
    compare("/root/probe breed", |hog| tasks(hog) > 500, |hog| assert!(tasks(hog) <= 4096, "{}", tasks(hog)));
}

#[test]
fn a_memory_hog_in_a_tenant_without_settings_is_held_back() {
    let memory = |hog: &Tenant<'_>| usage(hog, "memory_bytes");
    let total = rustix::system::sysinfo().totalram;
    compare(
        "while :; do /root/probe eat 1000000; done",
        |hog| memory(hog) > 64 << 20,
        |hog| assert!(memory(hog) <= total / 2, "{} of {total} bytes", memory(hog)),
    );
}
