//! Many tenants at once.

use std::{
    collections::BTreeSet,
    env, fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tenantry_tests::{Host, Tenant, poll};

/// How many: `cargo xtask test --tenants N`.
fn size() -> usize {
    env::var("TENANTRY_TEST_TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn each<'a>(tenants: &[Tenant<'a>], act: impl Fn(&Tenant<'a>) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(tenant) = tenants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(tenant);
                }
            });
        }
    });
}

#[test]
fn a_crowd_of_debian_tenants_runs_from_one_image_and_leaves_nothing() {
    let host = Host::start();
    let links = || host.run("ip", &["-brief", "link"]).ok().stdout;
    let files = || tenantry_tests::Run::new("find", [host.path("var/lib/tenantry/tenants")]).output().stdout;
    let before = links();
    host.boot("zero", &[]).ctl("destroy", &["--force", "--yes"]).ok();
    // A link goes a moment after its tenant.
    poll::until_true("the first tenant's link is gone", || links() == before);
    let before = (before, files());
    let names: Vec<String> = (0..size()).map(|number| format!("t{number}")).collect();
    let tenants: Vec<Tenant<'_>> = names.iter().map(|name| host.create(name, &[])).collect();
    each(&tenants, Tenant::start);
    each(&tenants, |tenant| assert_eq!(tenant.says("systemctl is-system-running"), "running"));
    let ids: Vec<String> = tenants.iter().map(|tenant| tenant.says("cat /etc/machine-id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), tenants.len());
    host.kill_hostd();
    host.start_hostd();
    each(&tenants, |tenant| assert_eq!(tenant.phase(), "running"));
    each(&tenants, Tenant::stop);
    each(&tenants, |tenant| drop(tenant.ctl("destroy", &["--yes"]).ok()));
    poll::until_true("nothing is left", || (links(), files()) == before);
}

#[test]
fn starts_and_stops_over_and_over_leak_nothing() {
    let host = Host::start();
    let links = || host.run("ip", &["-brief", "link"]).ok().stdout;
    let links_before = links();
    let tiny = host.boot("tiny", &["--image", "busybox"]);
    tiny.stop();
    let pid = host.hostd_pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("hostd runs").count();
    let before = descriptors();
    for _ in 0..50 {
        tiny.start();
        tiny.stop();
    }
    let after = descriptors();
    assert!(after <= before + 2, "hostd had {before} descriptors and has {after}");
    // The last one goes a moment after its tenant.
    poll::until_true("no link is left", || links() == links_before);
}

/// Anonymous memory of a process in the mappings of a name, such as `[heap]`; KiB.
fn anonymous(pid: i32, mapping: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("the host may look");
    let mut is_in = false;
    let kib = text.lines().filter_map(|line| {
        if let Some((range, _)) = line.split_once(' ').filter(|(range, _)| range.contains('-')) {
            is_in = !range.is_empty() && line.ends_with(mapping);
            return None;
        }
        let rest = line.strip_prefix("Anonymous:").filter(|_| is_in)?;
        rest.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    kib.sum()
}

#[test]
fn a_supervisor_at_rest_gives_back_what_the_start_took() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let (_, supervisor) = alice.pids();
    poll::until_true("heap and stack are small", || {
        let (heap, stack) = (anonymous(supervisor, "[heap]"), anonymous(supervisor, "[stack]"));
        eprintln!("heap {heap} KiB, stack {stack} KiB");
        heap <= 48 && stack <= 64
    });
}

#[test]
fn systemd_of_a_tuned_tenant_reads_no_unit_that_is_the_hosts() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let units = alice.says("systemctl list-units --all --plain --no-legend | cut -d ' ' -f 1");
    let units: Vec<&str> = units.lines().collect();
    for part in ["initrd", "cryptsetup", "getty", "sys-kernel-", "systemd-pcrphase", "fstrim"] {
        let read: Vec<_> = units.iter().filter(|unit| unit.contains(part)).collect();
        assert!(read.iter().all(|unit| **unit == "initrd-switch-root.target"), "{read:?}");
    }
    assert!(units.len() <= 80, "{} units: {units:?}", units.len());
    // Who wants one gets it back.
    alice.says("systemctl unmask getty.target && systemctl start getty.target");
    assert_eq!(alice.says("systemctl is-active getty.target"), "active");
}
