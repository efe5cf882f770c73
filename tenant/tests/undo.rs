//! A failure at every step k of start and stop, on a kernel that keeps a table of what exists.

mod common;

use tenant::{
    Plan, apply,
    kernel::{Fake, Table},
};

/// An application: other steps of the root.
const APP: &str = r#"
    profile = "app"
    init = ["/usr/bin/program"]
    paths = ["/usr/bin/program.x", "/usr/lib", "/usr/lib/inner"]
    dirs."/data" = "private"
"#;

/// What the host has, for tenants that ask for it.
const LINKS: [&str; 3] = ["br0", "eth1", "eth2"];

/// What a tenant leaves on purpose: the supervisor's own cgroup, which its unit manager removes.
fn without_supervisor(table: Table) -> Table {
    table.into_iter().filter(|entry| !entry.ends_with("/supervisor")).collect()
}

/// And what of a tenant that was there: its elements of the filter, which hostd removes.
fn without_filter(table: Table) -> Table {
    without_supervisor(table).into_iter().filter(|entry| !entry.starts_with("filter of ")).collect()
}

fn host() -> Fake {
    Fake::with_links(&LINKS)
}

fn plans() -> Vec<(&'static str, Plan)> {
    let modes = [
        ("routed", ""),
        ("bridge", "nic = [{ mode = \"bridge\", link = \"br0\", addresses = [\"10.0.0.2/24\"] }]"),
        ("macvlan", "nic = [{ mode = \"macvlan\", link = \"eth1\" }]"),
        ("phys", "nic = [{ mode = \"phys\", link = \"eth2\" }]"),
        ("vlan", "nic = [{ mode = \"vlan\", link = \"eth1\", vlan = 100 }]"),
        ("all", common::ALL_MODES),
        ("none", "nic = []"),
        ("app", APP),
    ];
    modes.map(|(mode, own)| (mode, common::plan_of(own).unwrap())).into()
}

#[test]
fn a_start_that_fails_at_any_step_leaves_the_host_as_it_was() {
    for (mode, plan) in plans() {
        let whole = host();
        drop(apply::start(&whole, &plan).unwrap());
        let steps = whole.calls();
        assert!(steps > 30, "{mode}: the plan has shrunk to {steps} steps");
        for step in 0..steps {
            let kernel = host();
            kernel.fail_at(step);
            let error = apply::start(&kernel, &plan).unwrap_err();
            assert!(error.cleanup.is_empty(), "{mode}, step {step}: {error}");
            let left = without_supervisor(kernel.table());
            assert_eq!(left, host().table(), "{mode}: after a failure at step {step}");
        }
    }
}

#[test]
fn a_stop_that_fails_at_any_step_reports_it_and_a_second_one_finishes() {
    for (mode, plan) in plans() {
        let whole = host();
        let payload = apply::start(&whole, &plan).unwrap();
        whole.fail_at(usize::MAX);
        assert!(apply::stop(&whole, &plan, payload.network.as_ref()).is_empty());
        let steps = whole.calls();
        assert!(steps >= 3);
        for step in 0..steps {
            let kernel = host();
            let payload = apply::start(&kernel, &plan).unwrap();
            let network = payload.network;
            drop((payload.pidfd, payload.terminals, payload.notify, payload.files));
            drop((payload.remains, payload.kept));
            kernel.fail_at(step);
            let failures = apply::stop(&kernel, &plan, network.as_ref());
            assert_eq!(failures.len(), 1, "{mode}, step {step}: {failures:?}");
            kernel.fail_at(usize::MAX);
            assert!(apply::stop(&kernel, &plan, network.as_ref()).is_empty());
            drop(network);
            let left = without_filter(kernel.table());
            assert_eq!(left, host().table(), "{mode}: after a failure at step {step}");
        }
    }
}

#[test]
fn a_nic_comes_home_when_its_supervisor_was_killed() {
    let (kernel, plan) = (host(), common::plan_of(common::ALL_MODES).unwrap());
    // Whatever the supervisor held is closed; init lives.
    drop(apply::start(&kernel, &plan).unwrap());
    assert!(!kernel.table().contains("link eth2"));
    assert!(apply::stop(&kernel, &plan, None).is_empty());
    assert_eq!(without_filter(kernel.table()), host().table());
}

#[test]
fn a_nic_comes_home_when_the_tenant_has_no_plan_any_more() {
    let (kernel, plan) = (host(), common::plan_of(common::ALL_MODES).unwrap());
    drop(apply::start(&kernel, &plan).unwrap());
    let failures = apply::release(&kernel, &plan.claims, &plan.tenant, &plan.cgroup.payload);
    assert!(failures.is_empty(), "{failures:?}");
    let table = kernel.table();
    assert!(table.contains("link eth2"), "{table:?}");
    assert!(
        !table.iter().any(|entry| entry.starts_with("claim ") || entry.starts_with("inside ")),
        "{table:?}"
    );
}

#[test]
fn a_nic_that_another_tenant_has_is_not_taken_and_stays_claimed() {
    let (kernel, plan) = (host(), common::plan_of(common::ALL_MODES).unwrap());
    let _payload = apply::start(&kernel, &plan).unwrap();
    let mut other = common::plan_of("nic = [{ mode = \"phys\", link = \"eth2\" }]").unwrap();
    other.tenant = "bob".parse().unwrap();
    assert_eq!(apply::start(&kernel, &other).unwrap_err().step, "network");
    assert!(kernel.table().contains("claim eth2 alice"));
    assert!(kernel.table().contains("inside eth2"));
}

#[test]
fn an_init_that_dies_early_is_not_blamed_on_the_network() {
    for (mode, plan) in plans() {
        let kernel = host();
        kernel.let_init_die();
        let error = apply::start(&kernel, &plan).unwrap_err();
        assert_eq!(error.step, "init", "{mode}: {error}");
        assert_eq!(without_supervisor(kernel.table()), host().table(), "{mode}");
    }
}

#[test]
fn a_cleanup_that_fails_as_well_is_reported_beside_the_cause() {
    let plan = common::plan_of("").unwrap();
    let whole = host();
    drop(apply::start(&whole, &plan).unwrap());
    let last = whole.calls() - 1;
    let kernel = host();
    kernel.fail_from(last);
    let error = apply::start(&kernel, &plan).unwrap_err();
    let cleanup = error.cleanup.len();
    assert_eq!((error.step, cleanup), ("init", 4), "filter, link, process and cgroup: {error}");
}
