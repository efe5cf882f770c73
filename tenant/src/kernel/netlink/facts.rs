//! What an interface is. Answers are read attribute by attribute: an attribute that a newer kernel has
//! added or changed does not matter here.

use std::{io, net::IpAddr};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
    route::{RouteAttribute, RouteHeader, RouteMessage},
};

use super::{Connection, address::family, has_code, number};
use crate::model::net::Mac;

/// Length of struct ifinfomsg and struct rtmsg, rtnetlink(7), bytes.
const IFINFOMSG: usize = 16;
const RTMSG: usize = 12;
/// The bits that say what an attribute is; the rest are flags.
const KIND: u16 = 0x3fff;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkFacts {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) altnames: Vec<String>,
    /// `veth`, `bridge`, …; none for hardware.
    pub(super) kind: Option<String>,
    /// `IFF_*`, netdevice(7).
    pub(super) flags: u32,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
    pub(super) group: u32,
    /// Length of its queue, packets.
    pub(super) queue: u32,
    pub(super) alias: Option<String>,
    /// Index of the bridge or bond it is a port of; 0 is none.
    pub(super) master: u32,
    /// The hardware address that is burned in.
    pub(super) permanent: Option<Mac>,
    /// What it sits on, e.g. `pci 0000:03:00.0`.
    pub(super) device: Option<String>,
}

/// The attributes of a message, each with what it is.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn mac(value: &[u8]) -> Option<Mac> {
    let bytes: [u8; 6] = value.try_into().ok()?;
    bytes.map(|byte| format!("{byte:02x}")).join(":").parse().ok()
}

impl LinkFacts {
    pub(super) const LOOPBACK: u32 = libc::IFF_LOOPBACK as u32;

    /// Reads a message of the kind `RTM_NEWLINK`, after its header.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut facts = Self { index: number(message, 4)?, flags: number(message, 8)?, ..Self::default() };
        let (mut bus, mut device) = (None, None);
        for (kind, value) in attributes(message.get(IFINFOMSG..)?) {
            let word = || number(value, 0).unwrap_or_default();
            match kind {
                libc::IFLA_ADDRESS => facts.mac = mac(value),
                libc::IFLA_IFNAME => facts.name = text(value),
                libc::IFLA_MTU => facts.mtu = word(),
                libc::IFLA_MASTER => facts.master = word(),
                libc::IFLA_TXQLEN => facts.queue = word(),
                libc::IFLA_GROUP => facts.group = word(),
                libc::IFLA_IFALIAS => facts.alias = Some(text(value)),
                libc::IFLA_LINKINFO => {
                    facts.kind = attributes(value)
                        .find(|(kind, _)| *kind == libc::IFLA_INFO_KIND)
                        .map(|(_, kind)| text(kind));
                }
                libc::IFLA_PROP_LIST => {
                    let names = attributes(value).filter(|(kind, _)| *kind == libc::IFLA_ALT_IFNAME);
                    facts.altnames = names.map(|(_, name)| text(name)).collect();
                }
                libc::IFLA_PERM_ADDRESS => facts.permanent = mac(value),
                libc::IFLA_PARENT_DEV_NAME => device = Some(text(value)),
                libc::IFLA_PARENT_DEV_BUS_NAME => bus = Some(text(value)),
                _ => {}
            }
        }
        facts.device = device.map(|device| format!("{} {device}", bus.unwrap_or_default()));
        Some(facts)
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

impl Connection {
    fn facts(&mut self, mut message: LinkMessage) -> io::Result<Option<LinkFacts>> {
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        match self.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(answer) => {
                LinkFacts::parse(&answer).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            Err(error) if has_code(&error, libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The interface of a name, an altname too.
    pub(super) fn link(&mut self, name: &str) -> io::Result<Option<LinkFacts>> {
        let mut message = LinkMessage::default();
        let short = name.len() < libc::IFNAMSIZ;
        message.attributes = vec![match short {
            true => LinkAttribute::IfName(name.to_owned()),
            false => {
                let text = [name.as_bytes(), b"\0"].concat();
                LinkAttribute::Other(DefaultNla::new(libc::IFLA_ALT_IFNAME, text))
            }
        }];
        self.facts(message)
    }

    /// The interface of an index.
    pub(super) fn link_at(&mut self, index: u32) -> io::Result<Option<LinkFacts>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.facts(message)
    }

    /// Every interface.
    pub(super) fn links(&mut self) -> io::Result<Vec<LinkFacts>> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let answers = self.dump(RouteNetlinkMessage::GetLink(message))?;
        Ok(answers.iter().filter_map(|answer| LinkFacts::parse(answer)).collect())
    }

    /// Whether a default route of the main table leads over an interface.
    pub(super) fn carries_default_route(&mut self, index: u32) -> io::Result<bool> {
        // With it, a dump is of the routes over one interface.
        self.socket.set_netlink_get_strict_chk(true)?;
        for any in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
            let mut message = RouteMessage::default();
            message.header.address_family = family(any);
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            message.attributes = vec![RouteAttribute::Oif(index)];
            let answers = match self.dump(RouteNetlinkMessage::GetRoute(message)) {
                Ok(answers) => answers,
                // No IPv6, or no such table yet.
                Err(error) if has_code(&error, libc::EOPNOTSUPP) || has_code(&error, libc::ENOENT) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            // The second byte of struct rtmsg is the length of the destination's prefix.
            if answers.iter().any(|answer| answer.len() >= RTMSG && answer[1] == 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a kernel that appends unknown attributes would send it.
    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; IFINFOMSG];
        bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        for (kind, value) in attributes {
            bytes.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn an_interface_is_read_whatever_else_the_kernel_tells() {
        let kind = message(&[(libc::IFLA_INFO_KIND, b"veth\0")]);
        let names = message(&[(libc::IFLA_ALT_IFNAME, b"uplink\0"), (libc::IFLA_ALT_IFNAME, b"wan\0")]);
        let text = message(&[
            (9999, b"?"),
            (libc::IFLA_IFNAME, b"eth2\0"),
            (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]),
            (libc::IFLA_PERM_ADDRESS, &[0x52, 0x54, 0, 0, 0, 9]),
            (libc::IFLA_MTU, &1400_u32.to_ne_bytes()),
            (libc::IFLA_LINKINFO, &kind[IFINFOMSG..]),
            (libc::IFLA_PROP_LIST | 0x8000, &names[IFINFOMSG..]),
            (libc::IFLA_PARENT_DEV_NAME, b"0000:03:00.0\0"),
            (libc::IFLA_PARENT_DEV_BUS_NAME, b"pci\0"),
        ]);
        let facts = LinkFacts::parse(&text).unwrap();
        assert_eq!((facts.index, facts.name.as_str(), facts.mtu, facts.flags), (7, "eth2", 1400, 1));
        assert_eq!(facts.altnames, ["uplink", "wan"]);
        assert!(facts.is("veth"));
        assert_eq!(facts.device.as_deref(), Some("pci 0000:03:00.0"));
        assert_eq!(facts.permanent.unwrap().to_string(), "52:54:00:00:00:09");
    }

    #[test]
    fn a_cut_message_is_no_interface_and_no_panic() {
        let consistent = message(&[(libc::IFLA_IFNAME, b"eth2\0"), (libc::IFLA_MTU, &1_u32.to_ne_bytes())]);
        for length in 0..consistent.len() {
            let facts = LinkFacts::parse(&consistent[..length]);
            assert!(facts.is_none() || length >= IFINFOMSG);
        }
    }

    #[test]
    fn this_host_has_a_loopback_interface() {
        let mut connection = Connection::open().unwrap();
        let lo = connection.link("lo").unwrap().unwrap();
        assert_eq!((lo.index, lo.flags & LinkFacts::LOOPBACK), (1, LinkFacts::LOOPBACK));
        assert!(connection.links().unwrap().iter().any(|link| link.name == "lo"));
        assert_eq!(connection.link("no-such-link").unwrap(), None);
        assert_eq!(connection.link("an-altname-that-nobody-has").unwrap(), None);
        assert!(!connection.carries_default_route(lo.index).unwrap());
    }
}
