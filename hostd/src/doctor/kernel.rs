//! Features of the kernel that networks and devices rest on. They are tried, not looked up: what a kernel
//! was built with says nothing of the modules that are installed.

use std::{io, thread};

use nix::sched::{CloneFlags, unshare};
use tenant::kernel::{raw, try_kinds};

use super::{Examination, Finding};

/// What each kind of interface is for, and what turns it on in the kernel.
const KINDS: [(&str, &str, &str); 4] = [
    ("veth", "routed and bridged interfaces", "CONFIG_VETH"),
    ("bridge", "bridges of the host", "CONFIG_BRIDGE"),
    ("macvlan", "interfaces of mode macvlan", "CONFIG_MACVLAN"),
    ("vlan", "interfaces of mode vlan", "CONFIG_VLAN_8021Q"),
];

/// `r0 = 1; exit`: a device program that allows everything.
const ALLOW: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

pub(super) fn check(_: &Examination<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match kinds() {
        Ok(results) => {
            findings.extend(results.into_iter().filter_map(|(kind, result)| missing(kind, result.err()?)))
        }
        Err(error) => findings.push(Finding::fault(format!("cannot make a network namespace: {error}"))),
    }
    if let Err(error) = raw::bpf_load_cgroup_device(&ALLOW) {
        let text = format!("the kernel takes no device programs, so no tenant can be started: {error}");
        findings.push(Finding::fault(text).help("boot a kernel with CONFIG_CGROUP_BPF"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("veth, bridge, macvlan, VLAN and device programs work"));
    }
    findings
}

fn missing(kind: &'static str, error: io::Error) -> Option<Finding> {
    let (_, what, option) = KINDS.iter().find(|(name, ..)| *name == kind)?;
    let text = format!("{what} cannot be had: the kernel makes no {kind}: {error}");
    let finding = if kind == "veth" { Finding::fault(text) } else { Finding::degraded(text) };
    Some(finding.help(format!("load its module, or boot a kernel with {option}")))
}

/// Makes one interface of each kind where nobody is.
fn kinds() -> io::Result<Vec<(&'static str, io::Result<()>)>> {
    let work = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(try_kinds())
    };
    // The namespace is this thread's alone and goes with it, and the interfaces with the namespace.
    thread::spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("the attempt was cut short")))
}
