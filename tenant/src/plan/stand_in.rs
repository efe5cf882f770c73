//! What stands for the interfaces of a tenant on the host while the tenant is parked and stopped.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    error::PlanError,
    inputs::Inputs,
    network::{LinkPlan, NicPlan, PortPlan, port_group, stand_in_link},
};
use crate::model::{
    net::{Cidr, Mac},
    park::Park,
};

/// Metric of the host's routes over the ports of a tenant that may have a stand-in: that one's come first while it is
/// there. Above what IPv6 uses by itself (1024).
const BEHIND: u32 = 2048;

/// What stands for a tenant that is parked and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StandInPlan {
    /// Its name on the host, at most 15 bytes.
    pub name: String,
    /// Its interface group: that of the ports.
    pub group: u32,
}

/// One of the ports that a stand-in stands for.
#[derive(Clone, Copy, Debug)]
pub struct StoodFor<'a> {
    /// The host's end.
    pub port: &'a PortPlan,
    /// The tenant's hardware address on it.
    pub mac: Mac,
    /// The tenant's addresses.
    pub addresses: &'a [Cidr],
    /// The addresses of the host on it.
    pub gateways: &'a [IpAddr],
}

impl StandInPlan {
    /// Metric of the host's routes over a port, 0 for what the kernel takes by itself.
    pub fn metric_of_ports(stand_in: Option<&Self>) -> u32 {
        stand_in.map_or(0, |_| BEHIND)
    }
}

/// The ports among interfaces that a stand-in can stand for.
pub fn stood_for(nics: &[NicPlan]) -> impl Iterator<Item = StoodFor<'_>> {
    nics.iter().filter_map(|nic| match &nic.link {
        LinkPlan::Routed { port } => {
            Some(StoodFor { port, mac: nic.mac?, addresses: &nic.addresses, gateways: &nic.gateways })
        }
        _ => None,
    })
}

/// Decides what stands for a tenant that is stopped when it is parked.
pub(super) fn plan(inputs: &Inputs<'_>, nics: &[NicPlan]) -> Result<Option<StandInPlan>, PlanError> {
    if inputs.tenant.park == Park::Freeze {
        return Ok(None);
    }
    if let Some(nic) = nics.iter().find(|nic| !matches!(nic.link, LinkPlan::Routed { .. })) {
        return Err(PlanError::Park { nic: nic.name.to_string() });
    }
    let Inputs { layout, allocation, .. } = inputs;
    Ok(Some(StandInPlan { name: stand_in_link(layout, allocation.index), group: port_group(layout) }))
}
