//! The host ends of the tenant's interfaces. Init configures its own ends, see `kernel/inside.rs`.

use super::Undo;
use crate::{
    kernel::{Kernel, KernelError, Result, Veth},
    net::Mac,
    plan::{LinkPlan, NicPlan, PortPlan},
};

pub(super) fn connect<K: Kernel>(kernel: &K, nics: &[NicPlan], pid: i32, done: &mut Vec<Undo>) -> Result<()> {
    for nic in nics {
        match &nic.link {
            LinkPlan::Routed { port } => {
                veth(kernel, nic, port, pid, done)?;
                route(kernel, nic, port)?;
            }
            _ => return Err(KernelError::new("connect", &nic.name, std::io::ErrorKind::Unsupported)),
        }
    }
    Ok(())
}

fn veth<K: Kernel>(kernel: &K, nic: &NicPlan, port: &PortPlan, pid: i32, done: &mut Vec<Undo>) -> Result<()> {
    // Its journal entry comes first: a link that was made and could not be brought up is there as well.
    done.push(Undo::Link(port.host_name.clone()));
    kernel.veth_create(&Veth {
        host_name: &port.host_name,
        altname: &port.altname,
        host_mac: port.host_mac.bytes(),
        group: port.group,
        name: nic.name.as_str(),
        mac: nic.mac.map(Mac::bytes).unwrap_or_default(),
        mtu: nic.mtu.unwrap_or(1500),
        pid,
    })
}

/// Routes every address of an interface to it.
fn route<K: Kernel>(kernel: &K, nic: &NicPlan, port: &PortPlan) -> Result<()> {
    for gateway in &nic.gateways {
        kernel.address_add(&port.host_name, *gateway)?;
    }
    for own in &nic.addresses {
        kernel.route_add(&port.host_name, own.address)?;
        if let Some(mac) = nic.mac {
            kernel.neighbour_add(&port.host_name, own.address, mac.bytes())?;
        }
    }
    kernel.forwarding_enable(&port.host_name, nic.addresses.iter().any(|own| own.address.is_ipv6()))
}
