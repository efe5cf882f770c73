//! Interfaces that are made for a tenant and go with it: veth pairs, macvlans, VLANs.

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use netlink_packet_core::NLM_F_APPEND;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoMacVlan,
        InfoPortData, InfoPortKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
        MacVlanMode, Prop,
    },
};

use super::{
    CREATE, Connection, LinkError, Outcome, Request, address,
    address::{Hop, neighbour, route},
    has_code, index, nic,
};
use crate::{
    config::MacvlanMode,
    kernel::{Cause, Child, ChildKind, KernelError, PortRoute, Result, Veth},
    model::net::Cidr,
};

/// An interface without link-local addresses of the kernel's making.
pub(super) fn no_generated_addresses(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])];
    (RouteNetlinkMessage::SetLink(message), 0)
}

pub(super) fn up(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    (RouteNetlinkMessage::SetLink(message), 0)
}

pub(super) fn altnames<'a>(index: u32, names: impl IntoIterator<Item = &'a str>) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let names = names.into_iter().map(|name| Prop::AltIfName(name.to_owned())).collect();
    message.attributes = vec![LinkAttribute::PropList(names)];
    (RouteNetlinkMessage::NewLinkProp(message), CREATE | NLM_F_APPEND)
}

/// A port on which a tenant cannot take part in the spanning tree: the first frame that tries to shuts
/// it. See bridge(8), `guard`.
fn guarded_port(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let port = vec![InfoBridgePort::Guard(true), InfoBridgePort::Learning(true)];
    message.attributes = vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(port)),
    ])];
    (RouteNetlinkMessage::NewLink(message), 0)
}

/// IPv6 can be missing as a whole.
fn without_ipv6(error: &io::Error) -> bool {
    has_code(error, libc::EAFNOSUPPORT)
}

/// The bridge, and the MTU that a port must have so as not to lower the bridge's.
fn bridge(connection: &mut Connection, name: &str) -> Outcome<(u32, u32)> {
    let missing = || LinkError::Missing { name: name.to_owned() };
    let facts = connection.link(name)?.ok_or_else(missing)?;
    if !facts.is("bridge") {
        return Err(LinkError::NotBridge { name: name.to_owned() }.into());
    }
    Ok((facts.index, facts.mtu))
}

fn veth_message(veth: &Veth<'_>, mtu: u32, host_mtu: u32, master: Option<u32>) -> LinkMessage {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(veth.name.to_owned()),
        LinkAttribute::Address(veth.mac.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::NetNsPid(veth.pid as u32),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(veth.host_name.to_owned()),
        LinkAttribute::Address(veth.host_mac.to_vec()),
        LinkAttribute::Mtu(host_mtu),
        LinkAttribute::Group(veth.group),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    message.attributes.extend(master.map(LinkAttribute::Controller));
    message
}

/// MTU of a veth that is told none, bytes.
const ETHERNET_MTU: u32 = 1500;

pub(in crate::kernel) fn veth_create(veth: &Veth<'_>) -> Result<()> {
    let create = || -> Outcome<()> {
        let mut connection = Connection::open()?;
        let bridge = veth.bridge.map(|name| bridge(&mut connection, name)).transpose()?;
        let mtu = veth.mtu.or(bridge.map(|(_, mtu)| mtu)).unwrap_or(ETHERNET_MTU);
        let host_mtu = bridge.map_or(mtu, |(_, bridge)| bridge.max(mtu));
        let message = veth_message(veth, mtu, host_mtu, bridge.map(|(index, _)| index));
        connection.request(RouteNetlinkMessage::NewLink(message), CREATE).map_err(|error| {
            let name = || veth.bridge.unwrap_or_default().to_owned();
            match error.raw_os_error() {
                Some(libc::EEXIST) => LinkError::NotOwned { name: veth.host_name.to_owned() }.into(),
                Some(libc::EXFULL) => LinkError::BridgeFull { name: name() }.into(),
                _ => Cause::from(error),
            }
        })?;
        let index = index(veth.host_name)?;
        name_also(&mut connection, index, veth)?;
        if bridge.is_some() {
            connection.batch(vec![guarded_port(index)]).map_err(|(_, error)| error)?;
        }
        Ok(set_up(&mut connection, index)?)
    };
    create().map_err(|error| KernelError::new("create link", veth.host_name, error))
}

/// Gives a port its readable name. A port of ours that has it is of a tenant of this name that was destroyed a moment ago.
fn name_also(connection: &mut Connection, index: u32, veth: &Veth<'_>) -> Outcome<()> {
    let name = |connection: &mut Connection| {
        connection.batch(vec![altnames(index, [veth.altname])]).map_err(|(_, error)| error)
    };
    match name(connection) {
        Err(error) if has_code(&error, libc::EEXIST) => {}
        result => return Ok(result?),
    }
    match connection.link(veth.altname)? {
        Some(holder) if holder.group != veth.group => {
            return Err(LinkError::NotOwned { name: veth.altname.to_owned() }.into());
        }
        Some(holder) => delete(connection, holder.index)?,
        None => {}
    }
    Ok(retry_busy(libc::EEXIST, || name(connection))?)
}

/// Removes an interface, unless it goes by itself meanwhile, as it does a moment after the namespace of its peer.
fn delete(connection: &mut Connection, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    match connection.request(RouteNetlinkMessage::DelLink(message), 0) {
        Err(error) if has_code(&error, libc::ENODEV) => Ok(()),
        result => result,
    }
}

/// Brings a link up with no address but those of the plan: the kernel generates no link-local one.
pub(super) fn set_up(connection: &mut Connection, index: u32) -> io::Result<()> {
    match connection.batch(vec![no_generated_addresses(index), up(index)]) {
        Err((0, error)) if without_ipv6(&error) => {
            connection.batch(vec![up(index)]).map_err(|(_, error)| error)
        }
        Err((_, error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

pub(in crate::kernel) fn port_route(port: &PortRoute<'_>) -> Result<()> {
    let link = port.link;
    let failed = |error| KernelError::new("route to", link, error);
    let index = index(link).map_err(failed)?;
    let mut what: Vec<(&str, IpAddr)> = Vec::new();
    let mut requests = Vec::new();
    for gateway in port.gateways {
        what.push(("add address", *gateway));
        requests.push(address::address(index, Cidr::host(*gateway)));
    }
    for own in port.addresses {
        what.push(("add route to", own.address));
        requests.push(route(index, Hop { metric: port.metric, ..Hop::direct(Cidr::host(own.address)) }));
        if let Some(mac) = port.mac {
            what.push(("add neighbour", own.address));
            requests.push(neighbour(index, own.address, mac));
        }
    }
    let mut connection = Connection::open().map_err(failed)?;
    for (number, error) in connection.each(requests.clone()).map_err(failed)? {
        // The port of a tenant that had the address, and has just ended, may still hold the route.
        let result = match has_code(&error, libc::EEXIST) {
            true => retry_busy(libc::EEXIST, || {
                connection.batch(vec![requests[number].clone()]).map_err(|(_, error)| error)
            }),
            false => Err(error),
        };
        let (operation, address) = what[number];
        result.map_err(|error| KernelError::new(operation, format!("{address} on {link}"), error))?;
    }
    Ok(())
}

/// The kernel ends a network namespace, and what was in it, a moment after its last process: a tenant that
/// starts again may come before that.
const NAMESPACE_DEADLINE: Duration = Duration::from_secs(5);

/// Tries until it is not `code` any more that stands in the way.
pub(super) fn retry_busy(code: i32, mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let deadline = Instant::now() + NAMESPACE_DEADLINE;
    loop {
        match attempt() {
            Err(error) if has_code(&error, code) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Brings a stand-in up, see [`crate::kernel::stand_in`], in an interface group. `mtu` in bytes; none is the kernel's.
pub(in crate::kernel) fn stand_in_up(link: &str, group: u32, mtu: Option<u32>) -> Result<()> {
    let begin = || -> io::Result<()> {
        let index = index(link)?;
        let mut connection = Connection::open()?;
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::Group(group)];
        message.attributes.extend(mtu.map(LinkAttribute::Mtu));
        connection.request(RouteNetlinkMessage::SetLink(message), 0)?;
        set_up(&mut connection, index)
    };
    begin().map_err(|error| KernelError::new("set up link", link, error))
}

/// Deletes the routes that [`port_route`] has made. Those that are gone are passed over.
pub(in crate::kernel) fn port_unroute(port: &PortRoute<'_>) -> Result<()> {
    let end = || -> io::Result<()> {
        let index = index(port.link)?;
        let requests = port.addresses.iter().filter_map(|own| {
            let hop = Hop { metric: port.metric, ..Hop::direct(Cidr::host(own.address)) };
            match route(index, hop) {
                (RouteNetlinkMessage::NewRoute(message), _) => {
                    Some((RouteNetlinkMessage::DelRoute(message), 0))
                }
                _ => None,
            }
        });
        let failures = Connection::open()?.each(requests.collect())?;
        let failed = failures.into_iter().find(|(_, error)| !has_code(error, libc::ESRCH));
        failed.map_or(Ok(()), |(_, error)| Err(error))
    };
    end().map_err(|error| KernelError::new("delete routes over", port.link, error))
}

fn child_message(child: &Child<'_>, parent: u32) -> LinkMessage {
    let (kind, data) = match child.kind {
        ChildKind::Macvlan(mode) => {
            let mode = match mode {
                MacvlanMode::Bridge => MacVlanMode::Bridge,
                MacvlanMode::Private => MacVlanMode::Private,
                MacvlanMode::Vepa => MacVlanMode::Vepa,
            };
            (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]))
        }
        ChildKind::Vlan(id) => (InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(id)])),
    };
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(child.name.to_owned()),
        LinkAttribute::Link(parent),
        LinkAttribute::NetNsPid(child.pid as u32),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
    ];
    message.attributes.extend(child.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    message.attributes.extend(child.mtu.map(LinkAttribute::Mtu));
    message
}

pub(in crate::kernel) fn child_create(child: &Child<'_>) -> Result<()> {
    let parent = child.parent;
    let create = || -> Outcome<()> {
        let mut connection = Connection::open()?;
        let facts = connection.link(parent)?.ok_or_else(|| nic::missing(child.claims, parent))?;
        let message = RouteNetlinkMessage::NewLink(child_message(child, facts.index));
        let unsuitable = |reason: &str| -> Cause {
            LinkError::Unsuitable { nic: parent.to_owned(), reason: reason.to_owned() }.into()
        };
        let made = retry_busy(libc::EEXIST, || connection.request(message.clone(), CREATE));
        made.map_err(|error| match (error.raw_os_error(), child.kind) {
            (Some(libc::EOPNOTSUPP), ChildKind::Vlan(_)) => {
                LinkError::Unsupported { what: "VLANs", option: "CONFIG_VLAN_8021Q" }.into()
            }
            (Some(libc::EOPNOTSUPP), ChildKind::Macvlan(_)) => {
                LinkError::Unsupported { what: "macvlans", option: "CONFIG_MACVLAN" }.into()
            }
            (Some(libc::EEXIST), ChildKind::Vlan(id)) => {
                LinkError::VlanTaken { parent: parent.to_owned(), id }.into()
            }
            (Some(libc::EBUSY), ChildKind::Macvlan(_)) => {
                unsuitable("it is a port of a bridge or bond, or the parent of a macvlan in mode passthru")
            }
            (Some(libc::ENETDOWN), _) => unsuitable("it is down; bring it up first: ip link set LINK up"),
            (Some(libc::EINVAL), _) => unsuitable("it is not an Ethernet interface, or its MTU is smaller"),
            _ => Cause::from(error),
        })
    };
    create().map_err(|error| {
        let what = match child.kind {
            ChildKind::Macvlan(_) => "a macvlan".to_owned(),
            ChildKind::Vlan(id) => format!("VLAN {id}"),
        };
        KernelError::new("create", format!("{what} of {parent}"), error)
    })
}

/// Removes an interface that belongs to `group`; another one with the same name is not ours to remove.
pub(in crate::kernel) fn link_delete(link: &str, group: u32) -> Result<()> {
    let ours = || -> io::Result<()> {
        let mut connection = Connection::open()?;
        let facts = connection.link(link)?.filter(|facts| facts.group == group);
        facts.map_or(Ok(()), |facts| delete(&mut connection, facts.index))
    };
    ours().map_err(|error| KernelError::new("delete link", link, error))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;
    use std::path::Path;

    fn bytes(message: &LinkMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    /// `bytes` holds an attribute: length, kind, value.
    fn holds(bytes: &[u8], kind: u16, value: &[u8]) -> bool {
        let mut attribute = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        attribute.extend_from_slice(&kind.to_ne_bytes());
        attribute.extend_from_slice(value);
        bytes.windows(attribute.len()).any(|window| window == attribute)
    }

    fn child(kind: ChildKind) -> Vec<u8> {
        let (name, parent) = ("wan", "eth2");
        let claims = Path::new("/nonexistent");
        bytes(&child_message(&Child { kind, parent, name, mac: None, mtu: Some(1400), pid: 77, claims }, 5))
    }

    #[test]
    fn a_vlan_is_born_in_the_tenant_with_its_tag() {
        let message = child(ChildKind::Vlan(100));
        assert!(holds(&message, libc::IFLA_INFO_KIND, b"vlan\0"));
        // IFLA_VLAN_ID
        assert!(holds(&message, 1, &100_u16.to_ne_bytes()));
        assert!(holds(&message, libc::IFLA_LINK, &5_u32.to_ne_bytes()));
        assert!(holds(&message, libc::IFLA_NET_NS_PID, &77_u32.to_ne_bytes()));
        assert!(holds(&message, libc::IFLA_MTU, &1400_u32.to_ne_bytes()));
        assert!(holds(&message, libc::IFLA_IFNAME, b"wan\0"));
    }

    #[test]
    fn a_macvlan_has_the_mode_it_was_given() {
        for (mode, number) in
            [(MacvlanMode::Private, 1_u32), (MacvlanMode::Vepa, 2), (MacvlanMode::Bridge, 4)]
        {
            let message = child(ChildKind::Macvlan(mode));
            assert!(holds(&message, libc::IFLA_INFO_KIND, b"macvlan\0"));
            // IFLA_MACVLAN_MODE
            assert!(holds(&message, 1, &number.to_ne_bytes()), "{mode:?}");
        }
    }
}
