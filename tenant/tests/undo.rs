//! A failure at every step k of start and stop, on a kernel that keeps a table of what exists.

mod common;

use tenant::{
    apply,
    kernel::{Fake, Table},
};

/// What a tenant leaves on purpose: the supervisor's own cgroup, which its unit manager removes.
fn without_supervisor(table: Table) -> Table {
    table.into_iter().filter(|entry| !entry.ends_with("/supervisor")).collect()
}

#[test]
fn a_start_that_fails_at_any_step_leaves_the_host_as_it_was() {
    let plan = common::plan_of("").unwrap();
    let whole = Fake::new();
    drop(apply::start(&whole, &plan).unwrap());
    let steps = whole.calls();
    assert!(steps > 40, "the plan has shrunk to {steps} steps");
    for step in 0..steps {
        let kernel = Fake::new();
        kernel.fail_at(step);
        let error = apply::start(&kernel, &plan).unwrap_err();
        assert!(error.cleanup.is_empty(), "step {step}: {error}");
        assert_eq!(without_supervisor(kernel.table()), Table::new(), "after a failure at step {step}");
    }
}

#[test]
fn a_stop_that_fails_at_any_step_reports_it_and_a_second_one_finishes() {
    let plan = common::plan_of("").unwrap();
    let whole = Fake::new();
    drop(apply::start(&whole, &plan).unwrap());
    whole.fail_at(usize::MAX);
    assert!(apply::stop(&whole, &plan).is_empty());
    let steps = whole.calls();
    assert!(steps >= 3);
    for step in 0..steps {
        let kernel = Fake::new();
        drop(apply::start(&kernel, &plan).unwrap());
        kernel.fail_at(step);
        assert_eq!(apply::stop(&kernel, &plan).len(), 1, "step {step}");
        kernel.fail_at(usize::MAX);
        assert!(apply::stop(&kernel, &plan).is_empty());
        assert_eq!(without_supervisor(kernel.table()), Table::new(), "after a failure at step {step}");
    }
}

#[test]
fn a_cleanup_that_fails_as_well_is_reported_beside_the_cause() {
    let plan = common::plan_of("").unwrap();
    let whole = Fake::new();
    drop(apply::start(&whole, &plan).unwrap());
    let last = whole.calls() - 1;
    let kernel = Fake::new();
    kernel.fail_from(last);
    let error = apply::start(&kernel, &plan).unwrap_err();
    assert_eq!((error.step, error.cleanup.len()), ("init", 3), "link, process and cgroup: {error}");
}
