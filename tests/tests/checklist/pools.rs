//! Pools of the kernel that one tenant could use up for all.

use serde_json::{Value, json};
use tenantry_tests::{Host, Run, Tenant, Terminal, poll};

use crate::{BUSYBOX, Pair};

fn probe(tenant: &Tenant<'_>, words: &[&str]) -> Value {
    tenant.exec(&[&["/root/probe"], words].concat()).ok().json()
}

#[test]
fn namespaces_are_bounded_however_many_users_make_them() {
    let host = Host::unprotected();
    let options = [&BUSYBOX[..], &["--set", "namespaces_max=20"]].concat();
    let pair = Pair::boot(&host, "spaces", &options, &["namespaces"]);
    // Root inside may write the bound of its own namespace, and that does not lift the one around it.
    let attack = |tenant: &Tenant<'_>| {
        tenant.says("for file in /proc/sys/user/max_*_namespaces; do echo 100000 > $file; done");
        probe(tenant, &["spread", "40"])
    };
    let [guarded, open] = pair.both(attack);
    let made = guarded["made"].as_u64().expect("a number");
    // One is the tenant's own.
    assert!((15..20).contains(&made) && guarded["then"] == "ENOSPC", "{guarded}");
    assert_eq!(open, json!({ "made": 40, "then": null }));
    // Those that are gone can be had again, and the neighbour has its own.
    assert_eq!(probe(&pair.guarded, &["spread", "10"]), json!({ "made": 10, "then": null }));
    assert!(pair.guarded.ctl("plan", &[]).ok().stdout.contains("at most 20 of each kind inside"));
    // The ids of the host are out of sight.
    let map = pair.guarded.says("cat /proc/self/uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "65536"]);
}

#[test]
fn cgroups_and_terminals_are_bounded_by_the_plan() {
    let host = Host::unprotected();
    let options =
        [&BUSYBOX[..], &["--set", "cgroups_max=10", "--set", "pts_max=20", "--set", "ttys=1"]].concat();
    let pair = Pair::boot(&host, "pools", &options, &["cgroups", "terminals"]);
    let cgroups = |tenant: &Tenant<'_>| -> u32 {
        let made = tenant.says(
            "cd /sys/fs/cgroup; n=0; while [ $n -lt 50 ] && mkdir g$n 2>/dev/null; do n=$((n+1)); done; echo $n",
        );
        made.parse().expect("a number")
    };
    let [guarded, open] = pair.both(cgroups);
    assert!(guarded <= 10 && open == 50, "{guarded} and {open}");
    let terminals = |tenant: &Tenant<'_>| probe(tenant, &["ptys", "40"])["opened"].clone();
    assert_eq!(pair.both(terminals), [Value::from(18), Value::from(40)]);
}

#[test]
fn watches_of_one_tenant_are_nobodys_but_its_own() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &BUSYBOX), host.boot("bob", &BUSYBOX));
    alice.bring_probe();
    bob.bring_probe();
    alice.says("chmod 755 /root /root/probe");
    for kind in ["inotify", "fanotify"] {
        // Holds all that alice can have, until it is killed.
        let mut hog = Terminal::open(&alice.exec(&["/root/probe", "watch-all", kind]));
        hog.expect("EMFILE");
        let none = json!({ "opened": 0, "then": "EMFILE" });
        assert_eq!(probe(&alice, &["watchers", kind, "1"]), none, "{kind}");
        // Nor has another user of hers any, for all of them are one user of the host.
        let user = ["--user", "1000", "--", "/root/probe", "watchers", kind, "1"];
        assert_eq!(alice.ctl("exec", &user).ok().json(), none, "{kind} of another user");
        assert_eq!(probe(&bob, &["watchers", kind, "60"]), json!({ "opened": 60, "then": null }), "{kind}");
        let host_own = Run::new(host.program("probe"), ["watchers", kind, "20"]).ok().json();
        assert_eq!(host_own, json!({ "opened": 20, "then": null }), "{kind}");
    }
}

#[test]
fn mounts_are_charged_to_the_tenant_and_bounded_in_each_namespace() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &BUSYBOX), host.boot("bob", &BUSYBOX));
    alice.bring_probe();
    let most: u64 = alice.says("cat /proc/sys/fs/mount-max").parse().expect("a number");
    let said = alice.shell("echo 1000000 > /proc/sys/fs/mount-max").output();
    assert!(!said.status.success(), "a tenant has lifted the bound");
    // How many there were, and how it ended.
    let had = || -> (u64, String) {
        let said = alice.shell("exec /root/probe mount-many 24").output();
        let last = said.stdout.lines().filter_map(|line| line.parse().ok()).max().unwrap_or_default();
        (last, said.stdout.lines().last().unwrap_or_default().to_owned())
    };
    let (free, end) = had();
    assert!(free <= most && free * 2 > most && end == "ENOSPC", "{free} of {most}, then {end}");
    alice.ctl("set", &["memory_max=24M"]).ok();
    let (bounded, end) = had();
    println!("{free} mounts with room for them, {bounded} with 24 MiB, then {end}");
    assert!(bounded < free && end != "ENOSPC", "{bounded} mounts, then {end}");
    assert_eq!(bob.says("mount -t tmpfs tmpfs /mnt && umount /mnt && echo here"), "here");
}

#[test]
fn what_sockets_hold_is_charged_to_the_tenant() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &BUSYBOX), host.boot("bob", &BUSYBOX));
    alice.bring_probe();
    let boot = bob.boot_id();
    let had = || -> (i32, u32) {
        let said = alice.shell("exec /root/probe hoard 80").output();
        let last = said.text().lines().last().and_then(|line| line.parse().ok()).unwrap_or_default();
        (said.code(), last)
    };
    assert_eq!(had(), (0, 80), "with room for it");
    alice.ctl("set", &["memory_max=48M"]).ok();
    let (code, last) = had();
    assert!(code != 0 && last <= 48, "{last} MiB were had, exit code {code}");
    assert_eq!(bob.boot_id(), boot, "the neighbour does not notice");
    assert_eq!(bob.says("echo here"), "here");
    // Whatever was killed for it, its own supervisor too.
    poll::until_true("alice can be started", || alice.ctl("start", &[]).output().status.success());
    assert_eq!(alice.says("echo here"), "here");
}
