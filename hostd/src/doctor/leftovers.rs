//! What tenants that do not run have left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use tenant::{
    Layout, TenantName, apply,
    files::claim::NicClaim,
    kernel::{Kernel as _, KernelError, Linux, links_of_group},
    model::filter::HostFilter,
    plan::port_group,
};
use wire::{chain, doctor::Finding};

use super::{Examination, traffic};
use crate::{host::Host, records::traces::number_of_link};

/// The kernel has ended a network namespace after this long, or a process holds it.
const NAMESPACE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Things by the tenant they bear the name or the number of.
type Remains = BTreeMap<Option<TenantName>, BTreeSet<String>>;

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What is removed a moment after a tenant's end anyway is left by none.
    examination.host.filter().remove_ended(examination.host.store());
    let remains = remains(examination, &mut findings);
    for (name, things) in remains {
        let list = things.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let finding = Finding::fault(format!("it is not running, but it left behind: {list}")).repairable();
        let finding = match &name {
            Some(name) => finding.about(name),
            None => Finding { message: format!("they belong to no tenant: {list}"), ..finding },
        };
        findings.push(match examination.repair {
            true => finding.with_repair(repair(examination, name.as_ref(), &things)),
            false => finding,
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("stopped tenants left nothing behind"));
    }
    findings
}

/// What is there of tenants that have no supervisor.
fn remains(examination: &Examination<'_>, findings: &mut Vec<Finding>) -> Remains {
    let host = examination.host;
    let layout = host.layout();
    let mut remains = Remains::new();
    let pending = examination.runtime.block_on(host.units().pending()).unwrap_or_default();
    let mut note = |name: Option<TenantName>, what: String| {
        // What is being started or stopped will be one or the other in a moment.
        let is_down = |name: &TenantName| {
            !host.units().is_running(name) && !host.is_busy(name) && !pending.contains_key(name)
        };
        if name.as_ref().is_none_or(is_down) {
            remains.entry(name).or_default().insert(what);
        }
    };
    let is_down = |name: &TenantName| !host.units().is_running(name);
    let links = links(layout, |link| owner(host, link).is_some_and(|name| is_down(&name)));
    match links {
        Ok(links) => {
            for link in links {
                note(owner(host, &link), format!("interface {link}"));
            }
        }
        Err(error) => findings.push(Finding::failed(&error)),
    }
    match NicClaim::read_all(&layout.nic_claims()) {
        Ok(claims) => {
            for claim in claims {
                note(Some(claim.tenant), format!("NIC {}", claim.nic));
            }
        }
        Err(error) => findings.push(Finding::fault(format!("cannot read the claims of NICs: {error}"))),
    }
    for name in host.units().existing() {
        let dir = host.units().cgroups(&name).v2;
        note(Some(name), format!("cgroup {}", dir.display()));
    }
    for entry in fs::read_dir(layout.runtimes()).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().to_string_lossy().parse::<TenantName>() else { continue };
        if !host.store().has(&name) {
            note(Some(name.clone()), format!("directory {}", entry.path().display()));
        }
        if HostFilter::bare(layout).record(&name).exists() {
            note(Some(name), "its elements of the packet filter".to_owned());
        }
    }
    remains
}

/// The ports of tenants. Those of one that has just ended go with its network namespace, a moment after it.
fn links(layout: &Layout, is_left: impl Fn(&str) -> bool) -> Result<Vec<String>, KernelError> {
    let deadline = Instant::now() + NAMESPACE;
    loop {
        let links = {
            let _turn = traffic::no_trial_is_running();
            links_of_group(port_group(layout))?
        };
        if !links.iter().any(|link| is_left(link)) || Instant::now() > deadline {
            return Ok(links);
        }
        thread::sleep(LOOK);
    }
}

/// The tenant whose number is in the name of a port, `t<number>-<interface>`.
fn owner(host: &Host, link: &str) -> Option<TenantName> {
    let number = number_of_link(link)?;
    let records = host.store().records();
    let known = records.values().find(|record| record.index == number).map(|record| record.name.clone());
    known.or_else(|| {
        let broken = host.store().broken();
        let found = broken.iter().find(|(_, broken)| broken.holding.index == Some(number));
        found.map(|(name, _)| name.clone())
    })
}

/// Takes it away, unless the tenant has been started meanwhile.
fn repair(
    examination: &Examination<'_>,
    name: Option<&TenantName>,
    things: &BTreeSet<String>,
) -> Result<(), String> {
    let host = examination.host;
    // No process starts it while this goes on. Who is starting it now is not waited for: a tenant says how long that takes.
    let turn = name.map(|name| host.try_turn(name));
    if matches!(turn, Some(None)) {
        return Err("another operation on it is in progress".to_owned());
    }
    if let Some(name) = name {
        // Nor one that systemd is about to start: it has no supervisor yet.
        let is_down = examination.runtime.block_on(host.units().is_down(name));
        if !is_down.map_err(|error| chain(&error))? {
            return Ok(());
        }
        examination.runtime.block_on(host.sweep(name));
        let cgroup = host.units().cgroups(name).v2;
        if let Some(error) = apply::release(&Linux::new(), &host.layout().nic_claims(), name, &cgroup).first()
        {
            return Err(chain(error));
        }
        host.filter().forget(host.store(), name).map_err(|failure| failure.message)?;
        if !host.store().has(name) {
            let dir = host.layout().runtime(name);
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("cannot remove {}: {error}", dir.display()));
                }
                _ => {}
            }
        }
    }
    let group = port_group(host.layout());
    {
        let _turn = traffic::no_trial_is_running();
        for link in things.iter().filter_map(|thing| thing.strip_prefix("interface ")) {
            Linux::new().link_delete(link, group).map_err(|error| chain(&error))?;
        }
    }
    drop(turn);
    let left = remains(examination, &mut Vec::new()).remove(&name.cloned());
    match left {
        None => Ok(()),
        Some(left) => Err(format!("{} is still there", left.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        records::tests::Trial,
        units::{UnitManager, standalone::Standalone},
    };
    use nix::{
        sched::{CloneFlags, unshare},
        unistd::gettid,
    };
    use std::sync::mpsc;
    use tenant::{kernel::Veth, model::host::HostConfig, plan::trial_nic};
    use wire::doctor::{Capacity, Health};

    #[test]
    fn the_port_of_a_trial_that_goes_on_is_no_leftover_and_that_of_one_that_was_cut_short_is() {
        let dir = Trial::new();
        let units = Standalone::for_tests(dir.layout.clone(), "exit 0");
        let host = Host::new(dir.open(), UnitManager::Standalone(units));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let capacity = Capacity { tenants: 1, rows: Vec::new() };
        let nic = trial_nic(&dir.layout, &HostConfig::default(), false);
        let port = nic.port().unwrap();
        // Both ends in the network of this thread.
        let thread = gettid().as_raw();
        let make = || {
            let (host_name, altname) = (port.host_name.as_str(), port.altname.as_str());
            let (host_mac, mac) = (port.host_mac.bytes(), [2, 0, 0, 0, 0, 1]);
            let (group, name) = (port.group, "peer");
            Linux::new()
                .veth_create(&Veth {
                    host_name,
                    altname,
                    host_mac,
                    group,
                    bridge: None,
                    name,
                    mac,
                    mtu: None,
                    pid: thread,
                })
                .unwrap();
        };
        let look = |repair| {
            let runtime = runtime.handle().clone();
            check(&Examination { host: &host, repair, runtime, capacity: &capacity })
        };
        // This thread's network, and that of the threads it makes.
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let trial = traffic::no_trial_is_running();
            make();
            scope.spawn(|| tell.send(look(true)).unwrap());
            let early = told.recv_timeout(Duration::from_millis(500));
            assert!(early.is_err(), "it was looked at in the middle of a trial: {early:?}");
            Linux::new().link_delete(&port.host_name, port.group).unwrap();
            drop(trial);
            let findings = told.recv_timeout(Duration::from_secs(30)).unwrap();
            assert!(findings.iter().all(|finding| finding.health == Health::Ok), "{findings:?}");
        });
        make();
        let findings = look(true);
        assert!(findings.iter().any(|finding| finding.repaired), "{findings:?}");
        assert!(look(false).iter().all(|finding| finding.health == Health::Ok));
    }
}
