//! The host ends of the tenant's interfaces. Init configures its own ends, see `kernel/inside.rs`.

use super::Undo;
use crate::{
    kernel::{Kernel, Result, Veth},
    plan::{GATEWAY4, GATEWAY6, NicPlan},
};

pub(super) fn connect<K: Kernel>(kernel: &K, nics: &[NicPlan], pid: i32, done: &mut Vec<Undo>) -> Result<()> {
    for nic in nics {
        match nic {
            NicPlan::Routed { host_name, altname, host_mac, name, mac, mtu, ipv4, ipv6 } => {
                // Its journal entry comes first: a link that was made and could not be brought up is
                // there as well.
                done.push(Undo::Link(host_name.clone()));
                kernel.veth_create(&Veth {
                    host_name,
                    altname,
                    host_mac: *host_mac,
                    name,
                    mac: *mac,
                    mtu: *mtu,
                    pid,
                })?;
                kernel.address_add(host_name, GATEWAY4.into())?;
                kernel.route_add(host_name, (*ipv4).into())?;
                kernel.neighbour_add(host_name, (*ipv4).into(), *mac)?;
                if let Some(ipv6) = *ipv6 {
                    kernel.address_add(host_name, GATEWAY6.into())?;
                    kernel.route_add(host_name, ipv6.into())?;
                    kernel.neighbour_add(host_name, ipv6.into(), *mac)?;
                }
                kernel.forwarding_enable(host_name, ipv6.is_some())?;
            }
        }
    }
    Ok(())
}
