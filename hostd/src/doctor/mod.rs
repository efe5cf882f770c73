//! `tenantctl doctor`: whether this host is as tenants need it, and putting back what is ours.
//!
//! One check is one function in `CHECKS`; it looks at one thing, and with `repair` it puts that thing
//! right. No check touches a tenant that runs.
//!
//! | file | what it looks at |
//! |---|---|
//! | `filter` | nft(8) and our tables |
//! | `records` | records of tenants that are damaged, files of removed ones that stay |
//! | `traffic` | packets over a port that is no tenant's: tracked, forwarded, translated |
//! | `leftovers` | what dead tenants left: ports, NICs, cgroups, directories |
//! | `reach` | what decides whether tenants reach the world |
//! | `links` | the ports of tenants that run, and forwarding over them |
//! | `kernel` | features of the kernel; `feature` is the table of them |
//! | `apparmor` | whether the profile of tenants is loaded |
//! | `terminals` | the host's pseudoterminals |
//! | `waits` | waits of the kernel that a setting of the host shortens: advice |
//! | `defaults` | limits of tenants without settings |
//! | `images` | images with hash trees: damaged blocks |
//! | `systemd` | systemd as PID 1: controllers, machined, polkit, tenants' units |
//! | `capacity` | whether this host is large enough for N tenants |
//!
//! `sysctl` is not a check: it is what `tenantctl doctor --fix` does.

mod apparmor;
pub mod capacity;
mod defaults;
mod examination;
mod filter;
mod images;
mod kernel;
mod leftovers;
mod links;
pub mod reach;
mod records;
pub mod systemd;
mod terminals;
mod traffic;
mod waits;

use std::sync::Arc;

use tokio::{runtime::Handle, task};
use wire::{
    Code, Failure,
    doctor::{Capacity, Diagnosis, Finding, Health, Row},
};

use self::{
    capacity::{Demand, Limits},
    examination::{Check, Examination},
};
use crate::host::Host;

const CHECKS: &[(&str, Check)] = &[
    ("nft", filter::program),
    ("filter", filter::tables),
    ("records", records::check),
    ("traffic", traffic::check),
    ("leftovers", leftovers::check),
    ("links", links::check),
    ("kernel", kernel::check),
    ("apparmor", apparmor::check),
    ("terminals", terminals::check),
    ("waits", waits::check),
    ("defaults", defaults::check),
    ("images", images::check),
    ("systemd", systemd::check),
    ("capacity", enough),
];

/// What is short for so many tenants.
fn enough(examination: &Examination<'_>) -> Vec<Finding> {
    let Capacity { tenants, .. } = examination.capacity;
    let mut findings: Vec<Finding> = examination.capacity.short().map(|row| short(row, *tenants)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(format!("this host is large enough for {}", count(*tenants))));
    }
    findings
}

fn count(tenants: u32) -> String {
    if tenants == 1 { "one tenant".to_owned() } else { format!("{tenants} tenants") }
}

fn short(row: &Row, tenants: u32) -> Finding {
    let have = row.have.unwrap_or(0);
    let text = format!("{} for {}: {} needed, {have} available", row.resource, count(tenants), row.need);
    let help = match row.sysctl {
        Some(_) => Some(format!("tenantctl doctor --tenants {tenants} --fix")),
        None => row.remedy.clone(),
    };
    Finding { health: row.health, help, ..Finding::ok(text) }
}

/// Makes every check, the last of them for `tenants` tenants in all (none means those that exist, at least
/// one); with `repair` puts right what can be.
///
/// # Errors
/// A check was cut short.
pub async fn examine(host: &Arc<Host>, repair: bool, tenants: Option<u32>) -> Result<Diagnosis, Failure> {
    let (host, runtime) = (host.clone(), Handle::current());
    let work = move || {
        let demand = Demand::of(&host, tenants);
        let limits = Limits::gather(&host, demand.bridges.keys());
        let rows = capacity::table(&demand, &limits);
        let capacity = Capacity { tenants: u32::try_from(demand.tenants).unwrap_or(u32::MAX), rows };
        let examination = Examination { host: &host, repair, runtime, capacity: &capacity };
        let mut findings = Vec::new();
        for (name, check) in CHECKS {
            let found = check(&examination).into_iter();
            findings.extend(found.map(|finding| Finding { check: (*name).to_owned(), ..finding }));
        }
        let left = findings.iter().filter(|finding| !finding.repaired).map(|finding| finding.health);
        Diagnosis { health: left.max().unwrap_or(Health::Ok), findings, capacity }
    };
    task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Code::Failed, format!("the examination panicked: {error}")))
}
