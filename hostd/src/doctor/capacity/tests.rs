//! The table row by row: enough, short, unknown.

use std::collections::BTreeMap;

use wire::doctor::{Health, Row, Verdict};

use super::{Demand, Limits, demand::Wanted, figures::OWN, limits::Space, table};
use crate::doctor::systemd::Slice;

/// 100 tenants of which 10 exist and 5 run.
fn demand() -> Demand {
    Demand {
        tenants: 100,
        existing: 10,
        running: 5,
        terminals: 700,
        terminals_now: 35,
        veths: 100,
        lan: 20,
        bridges: BTreeMap::from([("br0".to_owned(), 20)]),
        tracked: true,
        pools: vec![Wanted {
            what: "uid ranges".to_owned(),
            need: 100,
            have: 8_192,
            remedy: "more".to_owned(),
        }],
    }
}

/// A host that has plenty of everything.
fn plenty() -> Limits {
    let keys = [
        ("kernel.pty.max", 1 << 20),
        ("kernel.pty.reserve", 1_024),
        ("kernel.pty.nr", 40),
        ("kernel.pid_max", 4 << 20),
        ("kernel.threads-max", 1 << 20),
        ("kernel.keys.root_maxkeys", 1_000_000),
        ("kernel.keys.root_maxbytes", 25_000_000),
        ("fs.file-max", u64::MAX >> 1),
        ("fs.nr_open", 1 << 20),
        ("net.ipv4.neigh.default.gc_thresh2", 65_536),
        ("net.ipv4.neigh.default.gc_thresh3", 65_536),
        ("net.ipv6.neigh.default.gc_thresh2", 65_536),
        ("net.ipv6.neigh.default.gc_thresh3", 65_536),
        ("net.netfilter.nf_conntrack_max", 262_144),
    ];
    let own = OWN.map(|(key, ..)| (key, 100_000));
    let sysctl = keys.into_iter().chain(own).map(|(key, value)| (key.to_owned(), value)).collect();
    Limits {
        sysctl,
        tasks: Some(200),
        files: Some(2_000),
        neighbours: [Some(20), Some(60)],
        memory_cgroups: Some(300),
        bridges: BTreeMap::from([("br0".to_owned(), 3)]),
        memory: Some(64 << 30),
        disk: Some(Space { bytes: 1 << 40, inodes: Some(1 << 24) }),
        run: Some(Space { bytes: 1 << 30, inodes: Some(1 << 20) }),
        descriptors: Some(524_288),
        slice: Some(Slice { tasks_max: Some(100_000), memory_max: Some(64 << 30) }),
    }
}

fn find(rows: &[Row], resource: &str) -> Row {
    rows.iter().find(|row| row.resource == resource).unwrap_or_else(|| panic!("no row {resource:?}")).clone()
}

/// The row of this resource for 100 tenants on a host that has plenty, but for what is changed.
fn on(change: impl FnOnce(&mut Limits), resource: &str) -> Row {
    let mut limits = plenty();
    change(&mut limits);
    find(&table(&demand(), &limits), resource)
}

/// The resources that a key of sysctl(8) limits, with their keys and needs of 100 tenants.
const BY_KEY: [(&str, &str, u64); 12] = [
    // 1024 are reserved, one more must be free, 5 are others'; 7 and a login each.
    ("terminals", "kernel.pty.max", 1_024 + 1 + 5 + 700 + 100),
    ("process ids", "kernel.pid_max", 300 + (200 - 30) + 600),
    ("processes and threads", "kernel.threads-max", (200 - 30) + 600),
    ("open files", "fs.file-max", (2_000 - 550) + 11_000),
    ("open files of one process", "fs.nr_open", 64 + 400),
    ("keys of root", "kernel.keys.root_maxkeys", 200),
    ("bytes of keys of root", "kernel.keys.root_maxbytes", 12_800),
    // 20 are not routed; of those that are there, 5 tenants have 1 or 5 each, and 2 permanent ones.
    ("IPv4 neighbours", "net.ipv4.neigh.default.gc_thresh3", 40 + 5),
    ("IPv4 neighbours kept", "net.ipv4.neigh.default.gc_thresh2", 40 + 5),
    ("IPv6 neighbours", "net.ipv6.neigh.default.gc_thresh3", 440 + 25),
    ("IPv6 neighbours kept", "net.ipv6.neigh.default.gc_thresh2", 440 + 25),
    ("tracked connections", "net.netfilter.nf_conntrack_max", 16_384),
];

#[test]
fn a_host_that_has_plenty_is_short_of_nothing_and_knows_everything() {
    for row in table(&demand(), &plenty()) {
        assert_eq!((row.verdict, row.health), (Verdict::Enough, Health::Ok), "{row:?}");
        assert!(row.sysctl.is_none() && row.remedy.is_none(), "{row:?}");
    }
}

#[test]
fn a_key_that_is_one_too_low_is_raised_and_one_that_just_does_is_not() {
    for (resource, key, need) in BY_KEY.into_iter().chain(OWN.map(|(key, what, need)| (what, key, need))) {
        let with = |value: u64| {
            on(
                |limits| {
                    limits.sysctl.insert(key.to_owned(), value);
                },
                resource,
            )
        };
        let row = with(need);
        assert_eq!((row.verdict, row.need), (Verdict::Enough, need), "{row:?}");
        let row = with(need - 1);
        assert_eq!((row.verdict, row.short_by()), (Verdict::Short, 1), "{row:?}");
        let setting = row.sysctl.clone().unwrap_or_else(|| panic!("{row:?}"));
        assert!(setting.key == key && (need..need * 2).contains(&setting.value), "{row:?}");
        let mild = resource.contains("neighbours");
        assert_eq!(row.health, if mild { Health::Degraded } else { Health::Fault }, "{row:?}");
    }
}

#[test]
fn a_key_that_is_not_to_be_seen_is_unknown_with_a_reason_and_no_fault() {
    for (resource, key, _) in BY_KEY.into_iter().chain(OWN.map(|(key, what, need)| (what, key, need))) {
        let row = on(
            |limits| {
                limits.sysctl.remove(key);
            },
            resource,
        );
        assert_eq!((row.verdict, row.health, row.sysctl), (Verdict::Unknown, Health::Ok, None), "{resource}");
        assert!(row.remedy.is_some_and(|why| !why.is_empty()), "{resource}");
    }
}

#[test]
fn what_no_sysctl_gives_is_refused_with_who_has_to_do_it() {
    type Change = fn(&mut Limits);
    let short: [(&str, Change, &str); 9] = [
        ("open files of hostd", |limits| limits.descriptors = Some(463), "LimitNOFILE=464"),
        ("memory cgroups", |limits| limits.memory_cgroups = Some(65_000), "kernel command line"),
        (
            "ports of bridge br0",
            |limits| {
                limits.bridges.insert("br0".to_owned(), 1_004);
            },
            "another bridge",
        ),
        ("memory", |limits| limits.memory = Some(1 << 20), "add memory"),
        ("disk", |limits| limits.disk = Some(Space { bytes: 1, inodes: None }), "larger filesystem"),
        ("disk, inodes", |limits| limits.disk = Some(Space { bytes: 1 << 40, inodes: Some(9) }), "larger"),
        ("/run", |limits| limits.run = Some(Space { bytes: 1, inodes: Some(1 << 20) }), "remount"),
        (
            "tasks of tenants.slice",
            |limits| limits.slice = Some(Slice { tasks_max: Some(500), memory_max: None }),
            "TasksMax=1024",
        ),
        (
            "memory of tenants.slice",
            |limits| limits.slice = Some(Slice { tasks_max: None, memory_max: Some(1 << 20) }),
            "MemoryMax=313M",
        ),
    ];
    for (resource, change, remedy) in short {
        let row = on(change, resource);
        assert_eq!((row.verdict, row.health, &row.sysctl), (Verdict::Short, Health::Fault, &None), "{row:?}");
        assert!(row.remedy.as_ref().is_some_and(|text| text.contains(remedy)), "{row:?}");
    }
    let mut few = demand();
    few.pools[0].have = 99;
    let row = find(&table(&few, &plenty()), "uid ranges");
    assert_eq!((row.verdict, row.remedy.as_deref()), (Verdict::Short, Some("more")));
}

#[test]
fn what_is_not_to_be_seen_is_unknown() {
    type Change = fn(&mut Limits);
    let unknown: [(&str, Change); 7] = [
        ("memory cgroups", |limits| limits.memory_cgroups = None),
        ("open files of hostd", |limits| limits.descriptors = None),
        ("ports of bridge br0", |limits| limits.bridges.clear()),
        ("memory", |limits| limits.memory = None),
        ("disk", |limits| limits.disk = None),
        ("disk, inodes", |limits| limits.disk = None),
        ("/run", |limits| limits.run = None),
    ];
    for (resource, change) in unknown {
        assert_eq!(on(change, resource).verdict, Verdict::Unknown, "{resource}");
    }
}

#[test]
fn what_a_host_does_not_limit_is_no_row() {
    let rows = table(
        &Demand { tracked: false, ..demand() },
        &Limits { slice: None, disk: Some(Space { bytes: 1 << 40, inodes: None }), ..plenty() },
    );
    for gone in ["tenants.slice", "tracked", "disk, inodes", "keys of root"] {
        assert!(!rows.iter().any(|row| row.resource.contains(gone)), "{gone}");
    }
}

#[test]
fn a_value_that_the_kernel_would_not_take_is_not_proposed() {
    let many = Demand { tenants: 1 << 20, ..demand() };
    let row = find(&table(&many, &plenty()), "process ids");
    assert_eq!((row.verdict, &row.sysctl), (Verdict::Short, &None));
    assert!(row.remedy.is_some_and(|text| text.contains("4194304")));
}
