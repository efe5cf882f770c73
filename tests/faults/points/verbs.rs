//! The verbs in which calls fail: a row for each.

use tenantry_tests::Output;

use crate::{
    inject::{Fault, Point},
    site::{LIMIT, Site, VICTIM},
};

/// One verb.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// What its errors name.
    pub(crate) object: &'static str,
    /// What there must be before it.
    pub(crate) prepare: fn(&Site),
    /// Itself.
    pub(crate) act: fn(&Site) -> Output,
    /// What must hold after it, whatever it said.
    pub(crate) check: fn(&Site, &Point, &Output) -> Result<(), String>,
}

const ABOUT_A_TENANT: Verb =
    Verb { name: "", object: VICTIM, prepare: |_| (), act: create_it, check: |_, _, _| Ok(()) };

/// What the victim has of what a tenant can have.
const OPTIONS: &[&str] = &[
    "--image",
    "busybox:one",
    "--set",
    "start_timeout_sec=10",
    "--set",
    "stop_timeout_sec=5",
    "--set",
    "show_limits=true",
];

pub(crate) const TABLE: &[Verb] = &[
    Verb { name: "create", ..ABOUT_A_TENANT },
    Verb { name: "start", prepare: create, act: |site| ctl(site, "start", &[]), ..ABOUT_A_TENANT },
    Verb { name: "stop", prepare: boot, act: |site| ctl(site, "stop", &[]), ..ABOUT_A_TENANT },
    Verb {
        name: "destroy",
        prepare: boot,
        act: |site| ctl(site, "destroy", &["--force", "--yes"]),
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "rebase",
        prepare: boot,
        act: |site| ctl(site, "rebase", &["--to", ":two"]),
        check: is_one_of_two,
        ..ABOUT_A_TENANT
    },
];

fn ctl(site: &Site, verb: &str, more: &[&str]) -> Output {
    site.victim().ctl(verb, more).limit(LIMIT).output()
}

fn create_it(site: &Site) -> Output {
    ctl(site, "create", OPTIONS)
}

pub(crate) fn create(site: &Site) {
    create_it(site).succeeded();
}

fn boot(site: &Site) {
    create(site);
    site.victim().start();
    site.victims_boot.set(site.victim().boot_id());
}

fn is_same_boot(site: &Site) -> Result<(), String> {
    let state = site.victim().phase();
    if state != "running" {
        return Err(format!("the tenant is {state}"));
    }
    if site.victim().boot_id() == site.victims_boot.get() {
        return Ok(());
    }
    Err("the tenant was booted again".to_owned())
}

/// A swap that fails leaves the tenant as it was; without its supervisor it is not there.
fn is_one_of_two(site: &Site, point: &Point, done: &Output) -> Result<(), String> {
    if point.fault == Fault::Kill && point.role.is_supervisor() {
        return Ok(());
    }
    is_same_boot(site)?;
    let said = site.victim().shell("cat /usr/lib/generation").output();
    let wanted: &[&str] = if done.status.success() { &["two"] } else { &["one", "two"] };
    if wanted.contains(&said.text()) {
        return Ok(());
    }
    Err(format!("it has version {:?} {}", said.text(), said.stderr))
}
