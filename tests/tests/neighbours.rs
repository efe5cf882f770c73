//! Tenants without settings of their own, of which one does what it can: what its neighbour notices.

use tenantry_tests::{Host, Tenant, poll};

/// Programs started one after the other for one figure.
const SPAWNS: &str = "400";

/// The 99th percentile of the time that fork, exec and the end of a program take in a tenant, microseconds.
fn p99(tenant: &Tenant<'_>) -> u64 {
    let said = tenant.probe_again(&["spawns", SPAWNS]).succeeded().json();
    said["p99_us"].as_u64().expect("a number")
}

/// Compares a quiet neighbour with one beside which `script` runs in a tenant of the same kind.
fn compare(script: &str, begun: impl Fn(&Tenant<'_>) -> bool) {
    let host = Host::start();
    let (victim, hog) = (host.boot("victim", &[]), host.boot("hog", &[]));
    victim.bring_probe();
    hog.bring_probe();
    let boot = victim.boot_id();
    let quiet = p99(&victim);
    hog.shell(&format!("setsid sh -c '{script}' > /dev/null 2>&1 < /dev/null &")).ok();
    poll::until_true("the neighbour is at it", || begun(&hog));
    // Other tests may disturb one figure, a hog that is not held back disturbs all of them.
    let loud = (0..5).map(|_| p99(&victim)).min().expect("figures");
    println!("fork and exec of a neighbour, p99: {quiet} us quiet, {loud} us beside `{script}`");
    assert!(loud <= 2 * quiet, "{quiet} us became {loud} us beside `{script}`");
    assert_eq!(victim.boot_id(), boot);
    hog.ctl("kill", &[]).ok();
}

#[test]
fn a_fork_bomb_in_a_tenant_without_settings_leaves_its_neighbour_alone() {
    // From outside: nothing more can be started in it.
    compare("/root/probe breed", |hog| {
        let stat = hog.ctl("stat", &["--json"]).ok().json();
        let tasks = stat.pointer("/0/usage/tasks").or(stat.pointer("/usage/tasks"));
        tasks.and_then(serde_json::Value::as_u64).is_some_and(|tasks| tasks > 500)
    });
}

#[test]
fn a_memory_hog_in_a_tenant_without_settings_leaves_its_neighbour_alone() {
    compare("while :; do /root/probe eat 1000000; done", |_| true);
}
