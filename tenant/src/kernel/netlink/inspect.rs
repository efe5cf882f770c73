//! What `tenantctl doctor` asks: which ports there are, and which kinds of interfaces this kernel makes.

use std::io;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage},
};

use super::{CREATE, Connection, index};
use crate::kernel::{KernelError, Result};

/// The names of all interfaces of an interface group.
///
/// # Errors
/// The kernel's.
pub fn links_of_group(group: u32) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        let links = Connection::open()?.links()?;
        Ok(links.into_iter().filter(|link| link.group == group).map(|link| link.name).collect())
    };
    list().map_err(|error| KernelError::new("list", "interfaces", error))
}

/// Makes one interface of each kind that tenants are connected by, in the network namespace of this thread:
/// it must be one that no other process is in. What the kernel says of each.
pub fn try_kinds() -> Vec<(&'static str, io::Result<()>)> {
    let kinds = [
        ("veth", InfoKind::Veth),
        ("bridge", InfoKind::Bridge),
        ("macvlan", InfoKind::MacVlan),
        ("vlan", InfoKind::Vlan),
    ];
    kinds.map(|(name, kind)| (name, make(name, kind))).into()
}

/// Makes one interface of a type, as [`try_kinds`] does.
pub(in crate::kernel) fn try_kind(kind: &str) -> io::Result<()> {
    make("one", InfoKind::Other(kind.to_owned()))
}

fn make(name: &str, kind: InfoKind) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(format!("try-{name}"))];
    let mut info = vec![LinkInfo::Kind(kind.clone())];
    if matches!(kind, InfoKind::MacVlan | InfoKind::Vlan) {
        // Both sit on another interface: the bridge that was made before them.
        message.attributes.push(LinkAttribute::Link(index("try-bridge")?));
    }
    if kind == InfoKind::Vlan {
        info.push(LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(1)])));
    }
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Connection::open()?.request(RouteNetlinkMessage::NewLink(message), CREATE)
}
