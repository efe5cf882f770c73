//! The tenant's interfaces.
//!
//! | file | what it decides |
//! |---|---|
//! | `addresses` | which addresses and gateways an interface has, and where they come from |
//! | `trial` | a port that is no tenant's |
//! | `mod` | what it is connected to, and the names and hardware addresses that follow from the tenant |

mod addresses;
mod trial;

use std::{net::IpAddr, path::PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
pub use trial::trial_nic;

use super::{error::PlanError, inputs::Inputs};
use crate::{
    config::{Attachment, MacvlanMode, Nic},
    files::layout::Layout,
    model::{
        ids::Index,
        net::{Cidr, LinkName, Mac, Route},
    },
};

/// Interface indexes of what is moved in begin here, a hundred for each tenant: no index that the kernel
/// gives by itself is ever as high, so each of them means one NIC of one tenant, inside and on the host. A
/// tenant can rename what it was given, but not give it another index.
const FIRST_INDEX: u32 = 1_000_000_000;

/// Metric of the default routes of every interface but the first: above what IPv6 uses by itself (1024),
/// so that those of the first prevail.
const LATER_METRIC: u32 = 2000;

/// One interface of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NicPlan {
    /// Its name inside.
    pub name: LinkName,
    /// More names inside.
    pub altnames: Vec<String>,
    /// Its hardware address inside; none is the one it has or the kernel gives it.
    pub mac: Option<Mac>,
    /// Its MTU in bytes; none is that of what it is connected to.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Its default gateways, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Metric of its default routes; 0 is what the kernel takes by itself.
    pub metric: u32,
    /// Routes besides.
    pub routes: Vec<Route>,
    /// What it is connected to.
    pub link: LinkPlan,
}

/// What an interface is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum LinkPlan {
    /// A veth pair: a host route to each address, the host as the gateway, permanent neighbours on
    /// both ends. See veth(4) and ip-neighbour(8).
    Routed {
        /// The host's end.
        port: PortPlan,
    },
    /// A veth pair whose host end is a port of a bridge.
    Bridge {
        /// The host's end.
        port: PortPlan,
        /// The bridge.
        bridge: LinkName,
    },
    /// A macvlan that is born in the tenant.
    Macvlan {
        /// The NIC of the host that it shares.
        parent: LinkName,
        /// Whom it reaches there.
        submode: MacvlanMode,
    },
    /// A NIC of the host that is moved in, and brought home when the tenant ends.
    Phys {
        /// The NIC.
        nic: LinkName,
        /// Its interface index inside, by which it is found again.
        index: u32,
    },
    /// A VLAN of a NIC of the host that is born in the tenant.
    Vlan {
        /// The NIC.
        parent: LinkName,
        /// The tag.
        id: u16,
    },
}

/// The host's end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortPlan {
    /// Its name, at most 15 bytes.
    pub host_name: String,
    /// Its readable name: `ve-NAME`, and `ve-NAME.1` for the interface number 1. No tenant's name has a
    /// dot, so no two ports share one.
    pub altname: String,
    /// Its hardware address.
    pub host_mac: Mac,
    /// Its interface group, see ip-link(8): the one of all ports of this root.
    pub group: u32,
}

impl NicPlan {
    /// The host's end, of an interface that has one.
    pub fn port(&self) -> Option<&PortPlan> {
        match &self.link {
            LinkPlan::Routed { port } | LinkPlan::Bridge { port, .. } => Some(port),
            LinkPlan::Macvlan { .. } | LinkPlan::Phys { .. } | LinkPlan::Vlan { .. } => None,
        }
    }

    /// Whether it has an IPv6 address.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|own| own.address.is_ipv6())
    }

    /// The bridge that its host end is a port of.
    pub fn bridge(&self) -> Option<&LinkName> {
        match &self.link {
            LinkPlan::Bridge { bridge, .. } => Some(bridge),
            _ => None,
        }
    }
}

/// Name of the host end of a tenant's interface `nic`, at most 15 bytes; under a root of its own also
/// with 4 hex digits of it, so that two roots on one machine do not meet.
pub fn host_link(layout: &Layout, index: Index, nic: usize) -> String {
    format!("t{index}-{nic}{}", suffix(layout))
}

/// Name of what stands for a tenant's interfaces on the host while it is parked and stopped, at most 15 bytes.
pub fn stand_in_link(layout: &Layout, index: Index) -> String {
    format!("t{index}-s{}", suffix(layout))
}

/// The interface group of every port of a root, one of [`crate::model::port::PORT_GROUPS`]: 0x74 (`t`), then 24 bits of its
/// name's hash.
pub fn port_group(layout: &Layout) -> u32 {
    let hash: [u8; 32] = Sha256::digest(layout.instance()).into();
    u32::from_be_bytes([0x74, hash[0], hash[1], hash[2]])
}

fn suffix(layout: &Layout) -> String {
    layout.instance().split_once('-').map(|(_, hash)| format!(".{}", &hash[..4])).unwrap_or_default()
}

/// A stable, locally administered unicast address.
fn mac(uuid: &str, nic: usize, end: &str) -> Mac {
    let hash: [u8; 32] = Sha256::digest(format!("{uuid} {nic} {end}")).into();
    Mac::local([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]])
}

fn port(inputs: &Inputs<'_>, number: usize) -> PortPlan {
    let Inputs { layout, tenant, allocation, .. } = inputs;
    let number_text = if number == 0 { String::new() } else { format!(".{number}") };
    PortPlan {
        host_name: host_link(layout, allocation.index, number),
        altname: format!("ve-{}{number_text}{}", tenant.name, suffix(layout)),
        host_mac: mac(&allocation.uuid, number, "host"),
        group: port_group(layout),
    }
}

fn link(inputs: &Inputs<'_>, number: usize, nic: &Nic) -> LinkPlan {
    match &nic.attachment {
        Attachment::Routed { .. } => LinkPlan::Routed { port: port(inputs, number) },
        Attachment::Bridge { bridge, .. } => {
            LinkPlan::Bridge { port: port(inputs, number), bridge: bridge.clone() }
        }
        Attachment::Macvlan { parent, mode, .. } => {
            LinkPlan::Macvlan { parent: parent.clone(), submode: *mode }
        }
        Attachment::Phys { nic } => {
            let index = FIRST_INDEX + inputs.allocation.index.get() * 100 + number as u32;
            LinkPlan::Phys { nic: nic.clone(), index }
        }
        Attachment::Vlan { parent, id } => LinkPlan::Vlan { parent: parent.clone(), id: *id },
    }
}

/// Where it is noted what of the host is changed so that it forwards IPv6; none where no interface needs it.
pub(super) fn forwarding6(layout: &Layout, nics: &[NicPlan]) -> Option<PathBuf> {
    let needs = |nic: &NicPlan| matches!(nic.link, LinkPlan::Routed { .. }) && nic.has_ipv6();
    nics.iter().any(needs).then(|| layout.forwarding6())
}

pub(super) fn plan(inputs: &Inputs<'_>) -> Result<Vec<NicPlan>, PlanError> {
    let mut nics = Vec::new();
    for (number, nic) in inputs.tenant.nics.iter().enumerate() {
        let link = link(inputs, number, nic);
        // One that is another's keeps the hardware address it has.
        let own = match link {
            LinkPlan::Phys { .. } | LinkPlan::Vlan { .. } => None,
            _ => Some(mac(&inputs.allocation.uuid, number, "tenant")),
        };
        let (addresses, gateways) = addresses::plan(inputs, number, nic)?;
        nics.push(NicPlan {
            name: nic.name.clone(),
            altnames: nic.altnames.clone(),
            mac: nic.mac.or(own),
            mtu: nic.mtu,
            addresses,
            gateways,
            metric: if number == 0 { 0 } else { LATER_METRIC + number as u32 },
            routes: nic.routes.clone(),
            link,
        });
    }
    Ok(nics)
}
