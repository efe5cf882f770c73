//! The ports of tenants that run, and forwarding over them.

use std::fs;

use tenant::{
    kernel::{Kernel as _, Linux, links_of_group},
    plan::{LinkPlan, port_group},
};
use wire::{chain, doctor::Finding};

use super::{
    Examination,
    reach::{self, forwards, forwards_ipv6},
};

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    let host = examination.host;
    let there = match links_of_group(port_group(host.layout())) {
        Ok(there) => there,
        Err(error) => return vec![Finding::failed(&error)],
    };
    let mut findings = Vec::new();
    let (mut tenants, mut ports) = (0, 0);
    for name in host
        .store()
        .records()
        .keys()
        .filter(|name| host.units().state(name).is_some_and(|said| said.init.is_some()))
    {
        // One whose file is broken is told of by `show`.
        let Ok((_, plan)) = host.store().plan(name, Some(&host.units().cgroups(name).v2)) else { continue };
        if !host.units().is_running(name) {
            continue;
        }
        tenants += 1;
        for nic in &plan.nics {
            let Some(port) = nic.port() else { continue };
            ports += 1;
            if !there.contains(&port.host_name) {
                let text =
                    format!("the host's end of its interface {} is missing: {}", nic.name, port.host_name);
                findings.push(Finding::fault(text).about(name).help(format!("tenantctl restart {name}")));
            } else if matches!(nic.link, LinkPlan::Routed { .. }) {
                let six = nic.addresses.iter().any(|own| own.address.is_ipv6());
                let of_port = forwarding(examination, &port.host_name, six).into_iter();
                let of_port = of_port.chain(loose(examination, &port.host_name));
                findings.extend(of_port.map(|finding| finding.about(name)));
            }
        }
    }
    if ports > 0 {
        findings.extend(loose_everywhere());
        findings.extend(reach::shut_uplinks().map(beyond));
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok(format!("{ports} links of {tenants} running tenants are up and forwarding")));
    }
    findings
}

/// Not ours to change: it makes a router of the host for everybody on that link.
fn beyond(link: String) -> Finding {
    Finding::degraded(reach::shut(&link)).help(reach::remedy(&link))
}

fn rp_filter(link: &str) -> Option<u8> {
    fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter")).ok()?.trim().parse().ok()
}

/// The higher one of `all` and the interface's own counts, and 2 is looser than 1: see `rp_filter` in
/// `Documentation/networking/ip-sysctl.rst`.
fn loose_everywhere() -> Option<Finding> {
    let text = "net.ipv4.conf.all.rp_filter is 2: the kernel checks IPv4 sources of routed tenants only \
                loosely, so only the packet filter pins them";
    let help =
        "let each interface decide: sysctl net.ipv4.conf.all.rp_filter=0, and the same in /etc/sysctl.d";
    (rp_filter("all") == Some(2)).then(|| Finding::degraded(text).help(help))
}

/// A port whose own value a process changed, e.g. a rule for all new interfaces.
fn loose(examination: &Examination<'_>, port: &str) -> Option<Finding> {
    let value = rp_filter(port).filter(|value| *value != 1)?;
    let text = format!("rp_filter of {port} is {value}, not 1: only the packet filter pins its IPv4 sources");
    let finding = Finding::degraded(text).repairable();
    Some(match examination.repair {
        true => {
            finding.with_repair(Linux::new().forwarding_enable(port, None).map_err(|error| chain(&error)))
        }
        false => finding,
    })
}

fn forwarding(examination: &Examination<'_>, port: &str, six: bool) -> Option<Finding> {
    let mut off = Vec::new();
    if !forwards(port) {
        off.push("IPv4");
    }
    if six && !forwards_ipv6() {
        off.push("IPv6");
    }
    if off.is_empty() {
        return None;
    }
    let finding = Finding::fault(format!("{} from {port} is not forwarded", off.join(" and "))).repairable();
    Some(match examination.repair {
        true => {
            let note = six.then(|| examination.host.layout().forwarding6());
            let enabled = Linux::new().forwarding_enable(port, note.as_deref());
            finding.with_repair(enabled.map_err(|error| chain(&error)))
        }
        false => finding,
    })
}
