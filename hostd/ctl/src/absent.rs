//! What `doctor` finds out itself where hostd is not running.

use std::{fs, path::Path};

use tenant::{Layout, TenantName, cause::chain, config::profile, files::state::RunState};
use wire::{
    Failure,
    doctor::{Capacity, Diagnosis, Finding, Health},
    feature::{MISC, NAMESPACES, Probe},
    programs,
};

use super::candidates;

/// One check.
type Check = fn(&Layout) -> Vec<Finding>;

/// What is looked at, in this order.
const CHECKS: &[(&str, Check)] = &[
    ("settings", settings),
    ("tenants", tenants),
    ("programs", installed),
    ("images", images),
    ("kernel", kernel),
];

/// The diagnosis without hostd: that it is missing comes first.
pub(super) fn diagnose(layout: &Layout, failure: &Failure) -> Diagnosis {
    let absent = Finding { help: failure.help.clone(), ..Finding::fault(failure.message.clone()) };
    let mut findings = vec![Finding { check: "hostd".to_owned(), ..absent }];
    for (name, check) in CHECKS {
        let found = check(layout).into_iter();
        findings.extend(found.map(|finding| Finding { check: (*name).to_owned(), ..finding }));
    }
    Diagnosis { health: Health::Fault, findings, capacity: Capacity { tenants: 0, rows: Vec::new() } }
}

/// The files that hostd reads when it begins, and without which it does not.
fn settings(layout: &Layout) -> Vec<Finding> {
    let errors = [profile::load_host(layout).err(), profile::load_nic_table(layout).err()];
    let mut findings: Vec<Finding> = errors
        .into_iter()
        .flatten()
        .map(|error| Finding::fault(chain(&error)).help("correct the file"))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("hostd.toml and nics.toml can be read"));
    }
    findings
}

/// Files of tenants that are in error, and how many tenants are running all the same.
fn tenants(layout: &Layout) -> Vec<Finding> {
    let names = candidates::configured(layout);
    let names: Vec<TenantName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let mut findings = Vec::new();
    for name in &names {
        if let Err(error) = profile::load_tenant(layout, name) {
            findings
                .push(Finding::degraded(chain(&error)).about(name).help(format!("tenantctl edit {name}")));
        }
    }
    let is_running = |name: &&TenantName| {
        let state = RunState::read(&layout.run_state(name)).ok().flatten();
        state.is_some_and(|state| state.init.is_some_and(|init| init.is_alive()))
    };
    let running = names.iter().filter(is_running).count();
    findings.push(Finding::ok(format!("{} tenants, {running} of them running without hostd", names.len())));
    findings
}

fn installed(_: &Layout) -> Vec<Finding> {
    match programs::tenant() {
        Ok(_) => vec![Finding::ok("the programs are installed")],
        Err(error) => {
            let finding = Finding::fault(chain(&error));
            vec![match error.help() {
                Some(help) => finding.help(help),
                None => finding,
            }]
        }
    }
}

fn images(layout: &Layout) -> Vec<Finding> {
    let count = fs::read_dir(layout.images()).map_or(0, |entries| entries.flatten().count());
    match count {
        0 => vec![Finding::degraded("there is no image").help("rootfsctl build debian")],
        count => vec![Finding::ok(format!("{count} images"))],
    }
}

/// The features that a file shows; hostd tries the others.
fn kernel(_: &Layout) -> Vec<Finding> {
    let mut findings = Vec::new();
    for feature in NAMESPACES.iter().chain(&MISC).filter(|feature| !feature.probe.shows()) {
        let text = |file: &str| format!("the kernel has no {file}: {} cannot work", feature.what);
        let finding = match feature.probe {
            Probe::File(file) => Finding::fault(text(file)),
            Probe::Optional(file) => Finding::degraded(text(file)),
            _ => continue,
        };
        findings.push(finding.help(format!("boot a kernel with CONFIG_{}", feature.option)));
    }
    if findings.is_empty() && Path::new("/proc/self/ns").exists() {
        findings.push(Finding::ok("namespaces and seccomp are there; the rest is tried by hostd"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    #[test]
    fn that_hostd_is_missing_comes_first_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let failure = Failure::new(Code::NoHostd, "hostd is not running").help("start it");
        let diagnosis = diagnose(&layout, &failure);
        assert_eq!(diagnosis.health, Health::Fault);
        let first = &diagnosis.findings[0];
        assert_eq!((first.check.as_str(), first.message.as_str()), ("hostd", "hostd is not running"));
        assert_eq!(first.help.as_deref(), Some("start it"));
        let checks: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.check.as_str()).collect();
        assert!(CHECKS.iter().all(|(name, _)| checks.contains(name)), "{checks:?}");
    }

    #[test]
    fn files_in_error_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.tenant_configs()).unwrap();
        fs::write(layout.tenant_configs().join("bad.toml"), "nonsense = 1\n").unwrap();
        fs::write(layout.host_config(), "nonsense = 1\n").unwrap();
        let findings = [settings(&layout), tenants(&layout)].concat();
        assert_eq!(findings[0].health, Health::Fault);
        assert_eq!(findings[1].tenant.as_deref(), Some("bad"));
    }
}
