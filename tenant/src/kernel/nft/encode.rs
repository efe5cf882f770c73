//! Elements and limits as nf_tables takes them over netlink, see `include/uapi/linux/netfilter/nf_tables.h`.
//!
//! Only what a tenant is: sets of intervals and rules are left to nft(8).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::item::{Family, Item};
use crate::{
    kernel::netlink::HEADER,
    model::net::{Mac, Protocol},
};

/// `enum nft_set_elem_list_attributes`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
pub(super) const LIST_ELEMENTS: u16 = 3;
/// `enum nft_set_elem_attributes`, `enum nft_data_attributes`, `enum nft_verdict_attributes`.
const ELEMENT: u16 = 1;
pub(super) const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_OBJECT: u16 = 9;
pub(super) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `enum nft_object_attributes`, `enum nft_limit_attributes`.
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const LIMIT: u32 = 4;
const LIMIT_RATE: u16 = 1;
const LIMIT_UNIT: u16 = 2;
const LIMIT_BURST: u16 = 3;
const LIMIT_TYPE: u16 = 4;
const LIMIT_FLAGS: u16 = 5;
/// Of bytes, not of packets; what is above it matches.
const OF_BYTES: u32 = libc::NFT_LIMIT_PKT_BYTES as u32;
const ABOVE: u32 = libc::NFT_LIMIT_F_INV as u32;
const NESTED: u16 = libc::NLA_F_NESTED as u16;
/// Bits of a type that are not its number: nested, in network order.
const TYPE: u16 = 0x3fff;
/// Length of an interface's name in a key.
const LINK: usize = libc::IFNAMSIZ;

/// A part of a key or of what a map leads to.
#[derive(Clone, Copy)]
enum Part {
    Link,
    Ether,
    Four,
    Six,
    Protocol,
    Port,
    /// A mark or an interface group.
    Number,
    /// An IPv6 address as it lies in a packet.
    Target,
}

use Part::{Ether, Four, Link, Number, Port, Six, Target};

/// What an element of a map leads to.
enum Value {
    Data(&'static [Part]),
    Chain,
    Object,
}

/// The parts of the keys of a set or map, and what its elements lead to if they have a value.
fn shape(set: &str) -> Option<(&'static [Part], Value)> {
    let nothing = Value::Data(&[]);
    Some(match set {
        "pins4" => (&[Link, Ether, Four], Value::Chain),
        "pins6" => (&[Link, Ether, Six], Value::Chain),
        "macs" => (&[Link, Ether], nothing),
        "targets" => (&[Link, Target], nothing),
        "taken4" => (&[Four], nothing),
        "taken6" => (&[Target], nothing),
        "sent" | "received" | "refused" | "limited" | "free" => (&[Link], nothing),
        "rate_in" | "rate_out" => (&[Link], Value::Object),
        "groups" => (&[Link], Value::Data(&[Number])),
        "members" => (&[Link, Number], nothing),
        "forwards4" => (&[Part::Protocol, Port], Value::Data(&[Four, Port])),
        "forwards6" => (&[Part::Protocol, Port], Value::Data(&[Six, Port])),
        "loops4" => (&[Four, Four], nothing),
        "loops6" => (&[Six, Six], nothing),
        "services" => (&[Part::Protocol, Port], nothing),
        "open" => (&[Number], nothing),
        _ => return None,
    })
}

/// A word as the kernel compares it. Each part begins at a multiple of four bytes.
fn part(part: Part, word: &str) -> Option<Vec<u8>> {
    let mut bytes = match part {
        Link => {
            let mut name = word.as_bytes().to_vec();
            if name.len() >= LINK {
                return None;
            }
            name.resize(LINK, 0);
            name
        }
        Ether => word.parse::<Mac>().ok()?.bytes().to_vec(),
        Four => word.parse::<Ipv4Addr>().ok()?.octets().to_vec(),
        Six => word.parse::<Ipv6Addr>().ok()?.octets().to_vec(),
        Part::Protocol => {
            let is_it = |protocol: &Protocol| protocol.to_string() == word;
            vec![match [Protocol::Tcp, Protocol::Udp].into_iter().find(is_it)? {
                Protocol::Tcp => libc::IPPROTO_TCP as u8,
                Protocol::Udp => libc::IPPROTO_UDP as u8,
            }]
        }
        Port => word.parse::<u16>().ok()?.to_be_bytes().to_vec(),
        Number => word.parse::<u32>().ok()?.to_ne_bytes().to_vec(),
        Target => u128::from_str_radix(word.strip_prefix("0x")?, 16).ok()?.to_be_bytes().to_vec(),
    };
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Some(bytes)
}

fn parts(shape: &[Part], words: &[String]) -> Option<Vec<u8>> {
    if shape.len() != words.len() {
        return None;
    }
    let parts: Option<Vec<Vec<u8>>> = shape.iter().zip(words).map(|(kind, word)| part(*kind, word)).collect();
    parts.map(|parts| parts.concat())
}

/// A part of a key or value as a word, and the bytes behind it: what [`part`] makes of that word.
fn word(part: Part, bytes: &[u8]) -> Option<(String, &[u8])> {
    let length = match part {
        Link | Six | Target => 16,
        Ether => 6,
        Four | Number => 4,
        Part::Protocol => 1,
        Port => 2,
    };
    let own = bytes.get(..length)?;
    let word = match part {
        Link => {
            let name = own.split(|byte| *byte == 0).next()?;
            std::str::from_utf8(name).ok()?.to_owned()
        }
        Ether => {
            let digits: Vec<String> = own.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.join(":")
        }
        Four => Ipv4Addr::from(<[u8; 4]>::try_from(own).ok()?).to_string(),
        Six => Ipv6Addr::from(<[u8; 16]>::try_from(own).ok()?).to_string(),
        Part::Protocol => match i32::from(own[0]) {
            libc::IPPROTO_TCP => Protocol::Tcp.to_string(),
            libc::IPPROTO_UDP => Protocol::Udp.to_string(),
            other => other.to_string(),
        },
        Port => u16::from_be_bytes(own.try_into().ok()?).to_string(),
        Number => u32::from_ne_bytes(own.try_into().ok()?).to_string(),
        Target => format!("0x{:x}", u128::from_be_bytes(own.try_into().ok()?)),
    };
    Some((word, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn word_list(shape: &[Part], mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut words = Vec::with_capacity(shape.len());
    for kind in shape {
        let (word, rest) = word(*kind, bytes)?;
        words.push(word);
        bytes = rest;
    }
    bytes.is_empty().then_some(words)
}

/// The words of an element's key and of its value, from its attributes: what [`element`] makes of them. Nothing where the set
/// or the element is of a shape that is not known here.
pub(super) fn words(set: &str, element: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
    let (shape, leads_to) = shape(set)?;
    let key = word_list(shape, find(find(element, ELEMENT_KEY)?, DATA_VALUE)?)?;
    let text = |bytes: &[u8]| Some(std::str::from_utf8(bytes.strip_suffix(&[0])?).ok()?.to_owned());
    let (data, object) = (find(element, ELEMENT_DATA), find(element, ELEMENT_OBJECT));
    let value = match (leads_to, data, object) {
        (_, None, None) => Vec::new(),
        (Value::Data(shape), Some(data), None) => word_list(shape, find(data, DATA_VALUE)?)?,
        (Value::Chain, Some(data), None) => {
            let verdict = find(data, DATA_VERDICT)?;
            if find(verdict, VERDICT_CODE)? != libc::NFT_GOTO.to_be_bytes() {
                return None;
            }
            vec![format!("goto {}", text(find(verdict, VERDICT_CHAIN)?)?)]
        }
        (Value::Object, None, Some(object)) => vec![text(object)?],
        _ => return None,
    };
    Some((key, value))
}

/// The value of the first attribute of a kind.
pub(super) fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The attributes that lie one after the other, see netlink(7); up to the first that is cut off.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// An attribute, see `Documentation/userspace-api/netlink/intro.rst`.
pub(super) fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 4).expect("an attribute is shorter than 64 KiB");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds others.
pub(super) fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &attributes.concat())
}

/// A text with the zero byte that ends it.
pub(super) fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// An element for the list of a message; nothing where it has a shape that is not known here.
pub(super) fn element(item: &Item) -> Option<Vec<u8>> {
    let Item::Element { set, key, value, .. } = item else { return None };
    let (shape, leads_to) = shape(set)?;
    let data = |bytes: &[u8]| vec![attribute(DATA_VALUE, bytes)];
    let mut attributes = vec![nested(ELEMENT_KEY, &data(&parts(shape, key)?))];
    match (&value[..], leads_to) {
        ([], _) => {}
        (words, Value::Data(shape)) => {
            attributes.push(nested(ELEMENT_DATA, &data(&parts(shape, words)?)));
        }
        ([word], Value::Chain) => {
            let chain = word.strip_prefix("goto ")?;
            let verdict =
                [attribute(VERDICT_CODE, &libc::NFT_GOTO.to_be_bytes()), text(VERDICT_CHAIN, chain)];
            attributes.push(nested(ELEMENT_DATA, &[nested(DATA_VERDICT, &verdict)]));
        }
        ([word], Value::Object) => attributes.push(text(ELEMENT_OBJECT, word)),
        _ => return None,
    }
    Some(nested(ELEMENT, &attributes))
}

/// The attributes that make a limit, or name one that is deleted.
pub(super) fn limit(table: &str, item: &Item, is_new: bool) -> Option<Vec<u8>> {
    let Item::Limit { name, rate, burst, .. } = item else { return None };
    let mut attributes = vec![
        text(OBJECT_TABLE, table),
        text(OBJECT_NAME, name),
        attribute(OBJECT_TYPE, &LIMIT.to_be_bytes()),
    ];
    if is_new {
        let of_a_second: u64 = 1;
        let limit = [
            attribute(LIMIT_RATE, &rate.to_be_bytes()),
            attribute(LIMIT_UNIT, &of_a_second.to_be_bytes()),
            attribute(LIMIT_BURST, &u32::try_from(*burst).ok()?.to_be_bytes()),
            attribute(LIMIT_TYPE, &OF_BYTES.to_be_bytes()),
            attribute(LIMIT_FLAGS, &ABOVE.to_be_bytes()),
        ];
        attributes.push(nested(OBJECT_DATA, &limit));
    }
    Some(attributes.concat())
}

/// `NFPROTO_…` of a family.
pub(super) fn protocol_family(family: Family) -> u8 {
    let family = match family {
        Family::Inet => libc::NFPROTO_INET,
        Family::Arp => libc::NFPROTO_ARP,
        Family::Bridge => libc::NFPROTO_BRIDGE,
    };
    family as u8
}

/// The attributes that name a set.
pub(super) fn set(table: &str, set: &str) -> Vec<u8> {
    [text(LIST_TABLE, table), text(LIST_SET, set)].concat()
}

/// A message of nfnetlink: struct nlmsghdr, struct nfgenmsg of this family and resource, attributes.
pub(super) fn message(
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    attributes: &[u8],
) -> Vec<u8> {
    let length = u32::try_from(HEADER + 4 + attributes.len()).expect("a message is shorter than 4 GiB");
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &[0; 4],
        &[family, 0],
        &resource.to_be_bytes(),
        attributes,
    ]
    .concat()
}
