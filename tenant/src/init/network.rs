//! The tenant's side of its interfaces, and what is set in its network namespace.

use std::{collections::BTreeMap, io};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};

use crate::{
    kernel::{Interface, KernelError, Result, netlink, openat2},
    plan::{LinkPlan, NicPlan},
};

/// Configures loopback and every interface of a plan.
pub(super) fn configure(nics: &[NicPlan]) -> Result<()> {
    let interfaces: Vec<Interface<'_>> = nics.iter().map(interface).collect();
    netlink::configure_inside(&interfaces)
}

/// An interface as it is configured inside.
pub(crate) fn interface(nic: &NicPlan) -> Interface<'_> {
    let peer = match &nic.link {
        LinkPlan::Routed { port } => Some(port.host_mac),
        LinkPlan::Bridge { .. }
        | LinkPlan::Macvlan { .. }
        | LinkPlan::Phys { .. }
        | LinkPlan::Vlan { .. } => None,
    };
    Interface {
        name: nic.name.as_str(),
        altnames: &nic.altnames,
        addresses: &nic.addresses,
        gateways: &nic.gateways,
        metric: nic.metric,
        routes: &nic.routes,
        peer,
    }
}

/// Keys of the network namespace, once its interfaces are there, see sysctl(8).
pub(super) fn write_sysctls(sysctl: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in sysctl {
        // As in sysctl(8): a dot in a name of an interface is written as a slash, and the other way round.
        let path: String = key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        let write = || -> io::Result<()> {
            let dir = openat(CWD, "/proc/sys/net", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let below = path.strip_prefix("net/").ok_or(io::ErrorKind::InvalidInput)?;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let file = openat2(&dir, below, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
            // One write, for the kernel takes each one as a whole value.
            rustix::io::write(&file, value.as_bytes())?;
            Ok(())
        };
        write().map_err(|error| KernelError::new("set sysctl", format!("{key} = {value:?}"), error))?;
    }
    Ok(())
}
