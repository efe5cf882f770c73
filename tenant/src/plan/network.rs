//! The tenant's interfaces.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    allocation::Allocation,
    config::{Attachment, Tenant},
    facts::HostFacts,
    ids::Index,
    layout::Layout,
};

/// The IPv4 address of the host on every routed link: link-local, so it takes nothing from a pool.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 address of the host on every routed link.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum NicPlan {
    /// A veth pair: a host route to each address, the host as the gateway, permanent neighbours on
    /// both ends. See veth(4) and ip-neighbour(8).
    Routed {
        /// Name of the host end, at most 15 bytes.
        host_name: String,
        /// Readable name of the host end.
        altname: String,
        /// Hardware address of the host end.
        host_mac: [u8; 6],
        /// Name inside.
        name: String,
        /// Hardware address inside.
        mac: [u8; 6],
        /// MTU in bytes.
        mtu: u32,
        /// Its address, /32.
        ipv4: Ipv4Addr,
        /// Its address, /128; none on a host without IPv6.
        ipv6: Option<Ipv6Addr>,
    },
}

/// Name of the host end of a tenant's interface `nic`, at most 15 bytes; under a root of its own also
/// with 4 hex digits of it, so that two roots on one machine do not meet.
pub fn host_link(layout: &Layout, index: Index, nic: usize) -> String {
    format!("t{index}-{nic}{}", suffix(layout))
}

fn suffix(layout: &Layout) -> String {
    layout.instance().split_once('-').map(|(_, hash)| format!(".{}", &hash[..4])).unwrap_or_default()
}

/// A stable, locally administered unicast address.
fn mac(uuid: &str, nic: usize, end: &str) -> [u8; 6] {
    let hash: [u8; 32] = Sha256::digest(format!("{uuid} {nic} {end}")).into();
    [(hash[0] & 0xfc) | 0x02, hash[1], hash[2], hash[3], hash[4], hash[5]]
}

pub(super) fn plan(
    layout: &Layout,
    tenant: &Tenant,
    allocation: &Allocation,
    facts: &HostFacts,
) -> Vec<NicPlan> {
    let mut nics = Vec::new();
    for (number, nic) in tenant.nics.iter().enumerate() {
        if let Attachment::Routed { .. } = nic.attachment {
            nics.push(NicPlan::Routed {
                host_name: host_link(layout, allocation.index, number),
                altname: format!("ve-{}{}", tenant.name, suffix(layout)),
                host_mac: mac(&allocation.uuid, number, "host"),
                name: nic.name.to_string(),
                mac: mac(&allocation.uuid, number, "tenant"),
                mtu: nic.mtu.unwrap_or(1500),
                ipv4: allocation.ipv4,
                ipv6: facts.ipv6.then_some(allocation.ipv6),
            });
        }
    }
    nics
}
