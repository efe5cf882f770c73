//! Features of the kernel that tenants rest on. They are tried, not looked up: what a kernel was built with
//! says nothing of the modules that are installed.

use std::{collections::BTreeMap, io, thread};

use nix::sched::{CloneFlags, unshare};
use tenant::kernel::{raw, try_kinds};
use wire::{
    doctor::Finding,
    feature::{Feature, MISC, NAMESPACES, Probe},
};

use super::Examination;

/// `r0 = 1; exit`: a device program that allows everything.
const ALLOW: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

pub(super) fn check(_: &Examination<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kinds = kinds().unwrap_or_else(|error| {
        findings.push(Finding::fault(format!("cannot create a network namespace: {error}")));
        BTreeMap::new()
    });
    let all = NAMESPACES.iter().chain(&MISC);
    findings.extend(all.filter_map(|feature| missing(feature, kinds.get(kind(feature)?)?.as_ref().err())));
    findings.extend(NAMESPACES.iter().chain(&MISC).filter_map(absent));
    if findings.is_empty() {
        findings.push(Finding::ok("namespaces, veth, bridge, macvlan, VLAN and device programs work"));
    }
    findings
}

fn kind(feature: &Feature) -> Option<&'static str> {
    match feature.probe {
        Probe::Link(kind, _) => Some(kind),
        _ => None,
    }
}

/// An interface that could not be made.
fn missing(feature: &Feature, error: Option<&io::Error>) -> Option<Finding> {
    let (kind, error) = (kind(feature)?, error?);
    let text = format!("{} not available: cannot create a {kind} interface: {error}", feature.what);
    let finding = if kind == "veth" { Finding::fault(text) } else { Finding::degraded(text) };
    Some(finding.help(format!("load its module, or boot a kernel with CONFIG_{}", feature.option)))
}

/// Something else that is not there.
fn absent(feature: &Feature) -> Option<Finding> {
    let text = |why: &str| format!("{} not available: {why}", feature.what);
    let finding = match feature.probe {
        Probe::File(file) if !feature.probe.shows() => {
            Finding::fault(text(&format!("{file} is missing, so tenants cannot be started")))
        }
        Probe::Optional(file) if !feature.probe.shows() => {
            Finding::degraded(text(&format!("{file} is missing")))
        }
        Probe::DeviceProgram(_) => {
            let error = raw::bpf_load(raw::CgroupProgram::Device, &ALLOW).err()?;
            let why = format!("the kernel rejects device programs, so tenants cannot be started: {error}");
            Finding::fault(text(&why))
        }
        _ => return None,
    };
    Some(finding.help(format!("boot a kernel with CONFIG_{}", feature.option)))
}

/// Makes one interface of each kind where no process is.
fn kinds() -> io::Result<BTreeMap<&'static str, io::Result<()>>> {
    let work = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(try_kinds().into_iter().collect())
    };
    // The namespace is this thread's alone and goes with it, and the interfaces with the namespace.
    thread::spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("the attempt panicked")))
}
