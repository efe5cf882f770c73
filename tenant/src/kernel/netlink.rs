//! rtnetlink(7): links, addresses, routes and neighbours, one request and one answer at a time.
//!
//! The only module that knows the netlink crates, which change their interfaces often.

use std::{fs, io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage, Prop,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{KernelError, Result, Veth};
use crate::plan::NicPlan;

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
const FORWARDING6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;

/// Sends one request and waits for its acknowledgement.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    packet.header.sequence_number = 1;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}

fn index(link: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(link)?)
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Brings a link up with no address but those of the plan: the kernel generates no link-local one.
fn set_up(link: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index(link)?;
    let mut up = message.clone();
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])];
    match request(RouteNetlinkMessage::SetLink(message), 0) {
        // A host without IPv6.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
        result => result?,
    }
    up.header.flags = LinkFlags::Up;
    up.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(up), 0)
}

pub(super) fn veth_create(veth: &Veth<'_>) -> Result<()> {
    let create = || -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(veth.name.to_owned()),
            LinkAttribute::Address(veth.mac.to_vec()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NetNsPid(veth.pid as u32),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(veth.host_name.to_owned()),
            LinkAttribute::Address(veth.host_mac.to_vec()),
            LinkAttribute::Group(veth.group),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        request(RouteNetlinkMessage::NewLink(message), CREATE)?;
        let mut names = LinkMessage::default();
        names.header.index = index(veth.host_name)?;
        names.attributes = vec![LinkAttribute::PropList(vec![Prop::AltIfName(veth.altname.to_owned())])];
        request(RouteNetlinkMessage::NewLinkProp(names), CREATE | NLM_F_APPEND)?;
        set_up(veth.host_name)
    };
    create().map_err(|error| KernelError::new("create link", veth.host_name, error))
}

fn add_address(link: &str, address: IpAddr) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = host_prefix(address);
    message.header.index = index(link)?;
    // Without duplicate address detection, see RFC 4862: the other end is ours.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.scope = if is_link_local(address) { AddressScope::Link } else { AddressScope::Universe };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    request(RouteNetlinkMessage::NewAddress(message), REPLACE)
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

/// A route to one address on the link (`via` none), or the default route through a gateway on it.
fn add_route(link: &str, address: IpAddr, via: Option<IpAddr>) -> io::Result<()> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index(link)?));
    match via {
        Some(gateway) => {
            message.header.scope = RouteScope::Universe;
            message.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
            message.attributes.push(RouteAttribute::PrefSource(route_address(address)));
        }
        None => {
            message.header.scope = if address.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
            message.header.destination_prefix_length = host_prefix(address);
            message.attributes.push(RouteAttribute::Destination(route_address(address)));
        }
    }
    request(RouteNetlinkMessage::NewRoute(message), CREATE)
}

fn add_neighbour(link: &str, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index(link)?;
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    request(RouteNetlinkMessage::NewNeighbour(message), REPLACE)
}

pub(super) fn address_add(link: &str, address: IpAddr) -> Result<()> {
    add_address(link, address)
        .map_err(|error| KernelError::new("add address", format!("{address} to {link}"), error))
}

pub(super) fn route_add(link: &str, address: IpAddr) -> Result<()> {
    add_route(link, address, None)
        .map_err(|error| KernelError::new("add route", format!("to {address} on {link}"), error))
}

pub(super) fn neighbour_add(link: &str, address: IpAddr, mac: [u8; 6]) -> Result<()> {
    add_neighbour(link, address, mac)
        .map_err(|error| KernelError::new("add neighbour", format!("{address} on {link}"), error))
}

/// See `Documentation/networking/ip-sysctl.rst`. IPv4 forwards and checks the source address
/// (`rp_filter`) per interface; IPv6 has one switch for the host, which is only ever turned on.
pub(super) fn forwarding_enable(link: &str, ipv6: bool) -> Result<()> {
    set(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"), "1")?;
    set(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter"), "1")?;
    // Answers for every address at once, for tenants that route by hand: `ip route add default dev eth0`.
    set(format!("/proc/sys/net/ipv4/conf/{link}/proxy_arp"), "1")?;
    set(format!("/proc/sys/net/ipv4/neigh/{link}/proxy_delay"), "0")?;
    if ipv6 && !is_set(FORWARDING6, "1") {
        keep_advertised_routes()?;
        set(FORWARDING6.to_owned(), "1")?;
    }
    Ok(())
}

fn is_set(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|now| now.trim() == value)
}

fn set(path: String, value: &str) -> Result<()> {
    if is_set(&path, value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| KernelError::new(format!("write {value} to"), path, error))
}

/// A host that forwards ignores router advertisements, also those it has its own default route from,
/// unless `accept_ra` is 2.
fn keep_advertised_routes() -> Result<()> {
    let conf = "/proc/sys/net/ipv6/conf";
    let links = fs::read_dir(conf).map_err(|error| KernelError::new("list", conf, error))?;
    for link in links.flatten() {
        let path = format!("{conf}/{}/accept_ra", link.file_name().to_string_lossy());
        if is_set(&path, "1") {
            set(path, "2")?;
        }
    }
    Ok(())
}

pub(super) fn link_delete(link: &str) -> Result<()> {
    let delete = || -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index(link)?;
        request(RouteNetlinkMessage::DelLink(message), 0)
    };
    match delete() {
        // It goes by itself a moment after the namespace of its peer.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        Err(error) => Err(KernelError::new("delete link", link, error)),
        Ok(()) => Ok(()),
    }
}

/// Init's side: loopback, and each interface with address, gateway and neighbours, all valid at once.
pub(super) fn configure_inside(nics: &[NicPlan]) -> Result<()> {
    set_up("lo").map_err(|error| KernelError::new("set up link", "lo", error))?;
    for nic in nics {
        let Some(port) = nic.port() else { continue };
        let name = nic.name.as_str();
        let configure = || -> io::Result<()> {
            set_up(name)?;
            for own in &nic.addresses {
                add_address(name, own.address)?;
            }
            for gateway in &nic.gateways {
                add_neighbour(name, *gateway, port.host_mac.bytes())?;
                if gateway.is_ipv4() {
                    add_route(name, *gateway, None)?;
                }
                let own = nic.addresses.iter().find(|own| own.address.is_ipv4() == gateway.is_ipv4());
                if let Some(own) = own {
                    add_route(name, own.address, Some(*gateway))?;
                }
            }
            Ok(())
        };
        configure().map_err(|error| KernelError::new("configure link", name, error))?;
    }
    Ok(())
}
