//! Addresses, routes, neighbours and rules, as messages.

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
        RouteType,
    },
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{CREATE, REPLACE, Request};
use crate::model::net::Cidr;

/// A route of a table over an interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// Where to; host bits do not matter.
    pub(super) to: Cidr,
    /// Over whom; none is directly.
    pub(super) via: Option<IpAddr>,
    /// Whether `via` is there although no prefix of the interface holds it.
    pub(super) onlink: bool,
    /// The address that packets leave with, unless they have one.
    pub(super) source: Option<IpAddr>,
    /// 0 is what the kernel takes by itself.
    pub(super) metric: u32,
    /// 0 is the main table.
    pub(super) table: u32,
}

impl Hop {
    /// A route to a network that lies on the interface.
    pub(super) fn direct(to: Cidr) -> Self {
        Self { to, via: None, onlink: false, source: None, metric: 0, table: 0 }
    }

    /// The route to everything that has no other.
    pub(super) fn default(via: IpAddr) -> Self {
        let any = if via.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        Self { via: Some(via), ..Self::direct(Cidr { address: any, prefix: 0 }) }
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

/// The network of an address: its host bits are zero.
fn network(cidr: Cidr) -> IpAddr {
    match cidr.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(cidr.prefix)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(cidr.prefix)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
    }
}

/// An address on an interface. Without duplicate address detection, see RFC 4862: it is valid at once,
/// and a tenant that starts is not kept waiting for it.
pub(super) fn address(index: u32, own: Cidr) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(own.address);
    message.header.prefix_len = own.prefix;
    message.header.index = index;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.scope =
        if is_link_local(own.address) { AddressScope::Link } else { AddressScope::Universe };
    message.attributes = vec![AddressAttribute::Local(own.address), AddressAttribute::Address(own.address)];
    if let (IpAddr::V4(address), 1..=30) = (own.address, own.prefix) {
        let broadcast = address.to_bits() | (u32::MAX >> own.prefix);
        message.attributes.push(AddressAttribute::Broadcast(broadcast.into()));
    }
    (RouteNetlinkMessage::NewAddress(message), REPLACE)
}

pub(super) fn route(index: u32, hop: Hop) -> Request {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(hop.to.address);
    header.destination_prefix_length = hop.to.prefix;
    header.table = if hop.table == 0 { RouteHeader::RT_TABLE_MAIN } else { RouteHeader::RT_TABLE_UNSPEC };
    header.protocol = RouteProtocol::Static;
    header.kind = RouteType::Unicast;
    let direct4 = hop.via.is_none() && hop.to.address.is_ipv4();
    header.scope = if direct4 { RouteScope::Link } else { RouteScope::Universe };
    if hop.onlink {
        header.flags = RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Oif(index));
    if hop.to.prefix > 0 {
        attributes.push(RouteAttribute::Destination(route_address(network(hop.to))));
    }
    attributes.extend(hop.via.map(|via| RouteAttribute::Gateway(route_address(via))));
    attributes.extend(hop.source.map(|source| RouteAttribute::PrefSource(route_address(source))));
    if hop.metric > 0 {
        attributes.push(RouteAttribute::Priority(hop.metric));
    }
    if hop.table > 0 {
        attributes.push(RouteAttribute::Table(hop.table));
    }
    (RouteNetlinkMessage::NewRoute(message), CREATE)
}

/// A neighbour that is known without being asked for.
pub(super) fn neighbour(index: u32, address: IpAddr, mac: [u8; 6]) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    (RouteNetlinkMessage::NewNeighbour(message), REPLACE)
}

/// Packets from an address go by a table of their own, see ip-rule(8).
pub(super) fn rule(from: IpAddr, table: u32) -> Request {
    let mut message = RuleMessage::default();
    message.header.family = family(from);
    message.header.src_len = if from.is_ipv4() { 32 } else { 128 };
    message.header.action = RuleAction::ToTable;
    message.attributes =
        vec![RuleAttribute::Source(from), RuleAttribute::Table(table), RuleAttribute::Priority(table)];
    (RouteNetlinkMessage::NewRule(message), CREATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_no_host_bits() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("10.1.2.3/16"), "10.1.0.0");
        assert_eq!(of("10.1.2.3/32"), "10.1.2.3");
        assert_eq!(of("10.1.2.3/0"), "0.0.0.0");
        assert_eq!(of("2001:db8::5/64"), "2001:db8::");
        assert_eq!(of("::1/0"), "::");
    }
}
