//! What ports have sent and received, asked of the kernel itself: nft(8) lists all that is in the tables, which takes ten
//! times as long with a thousand tenants.
//!
//! What does not work here, for whatever reason, is asked of nft.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicU32, Ordering},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::{
    encode::{self, DATA_VALUE, ELEMENT_KEY, LIST_ELEMENTS},
    item::Family,
    listing::Count,
    repair,
};
use crate::{
    kernel::{
        Result,
        netlink::{Answer, NLMSG_DONE, NLMSG_ERROR},
    },
    model::filter::HostFilter,
};

/// The sets of `tenantry.nft` that count, each of ports.
const SETS: [(Family, &str); 9] = [
    (Family::Inet, "sent"),
    (Family::Inet, "received"),
    (Family::Inet, "refused"),
    (Family::Inet, "limited"),
    (Family::Bridge, "sent"),
    (Family::Bridge, "received"),
    (Family::Bridge, "refused"),
    (Family::Bridge, "limited"),
    (Family::Arp, "refused"),
];

const GET_ELEMENTS: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8 | libc::NFT_MSG_GETSETELEM as u16;
/// `enum nft_set_elem_attributes`, `enum nft_expr_attributes`, `enum nft_counter_attributes`.
const ELEMENT_EXPRESSION: u16 = 7;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
/// Bits of a type that are not its number: nested, in network order.
const TYPE: u16 = 0x3fff;
/// As large as the kernel makes a part of a list, bytes.
const BUFFER: usize = 64 << 10;

type Counts = BTreeMap<(String, String), Count>;

/// What the ports of all tenants sent and received so far, by set (`sent`, `received`, `refused`, `limited`) and port.
///
/// # Errors
/// As [`repair::counts`].
pub fn counts(host: &HostFilter) -> Result<Counts> {
    static SEQUENCE: AtomicU32 = AtomicU32::new(1);
    let ask = || -> io::Result<Counts> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut counts = Counts::new();
        for (family, set) in SETS {
            let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
            let of = (encode::protocol_family(family), 0);
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let request = encode::message(GET_ELEMENTS, flags, sequence, of, &encode::set(&host.table, set));
            if socket.send(&request, 0)? != request.len() {
                return Err(io::ErrorKind::WriteZero.into());
            }
            list(&socket, set, &mut counts)?;
        }
        Ok(counts)
    };
    ask().or_else(|_| repair::counts(host))
}

/// Reads a list to its end.
fn list(socket: &Socket, set: &str, counts: &mut Counts) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some(answer) = Answer::next(&mut rest)? {
            match answer.kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    return Err(answer.error()?.unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
                }
                _ => elements(answer.payload, set, counts).ok_or(io::ErrorKind::InvalidData)?,
            }
        }
    }
}

/// Adds the counters of one message. A port that is both routed and bridged has a set of a name in two tables.
fn elements(payload: &[u8], set: &str, counts: &mut Counts) -> Option<()> {
    let Some(list) = find(payload.get(4..)?, LIST_ELEMENTS) else { return Some(()) };
    for (_, element) in attributes(list) {
        let name = find(find(element, ELEMENT_KEY)?, DATA_VALUE)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        // One without a counter was made by an admin.
        let Some(counter) =
            find(element, ELEMENT_EXPRESSION).and_then(|expression| find(expression, EXPRESSION_DATA))
        else {
            continue;
        };
        let number = |kind| Some(u64::from_be_bytes(find(counter, kind)?.try_into().ok()?));
        let port = String::from_utf8_lossy(name).into_owned();
        let count = counts.entry((set.to_owned(), port)).or_default();
        count.bytes += number(COUNTER_BYTES)?;
        count.packets += number(COUNTER_PACKETS)?;
    }
    Some(())
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The attributes that lie one after the other, see netlink(7); up to the first that is cut off.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::nft::encode::{nested, text};

    fn number(kind: u16, value: u64) -> Vec<u8> {
        [&12_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_be_bytes()].concat()
    }

    fn element(port: &str, packets: u64, bytes: u64) -> Vec<u8> {
        let counter = [number(COUNTER_BYTES, bytes), number(COUNTER_PACKETS, packets)];
        let expression = [text(1, "counter"), nested(EXPRESSION_DATA, &counter)];
        let parts = [
            nested(ELEMENT_KEY, &[text(DATA_VALUE, &format!("{port}\0\0\0"))]),
            nested(ELEMENT_EXPRESSION, &expression),
        ];
        nested(1, &parts)
    }

    #[test]
    fn counters_are_read_from_the_elements_of_a_list_and_added_up() {
        let message = |elements: &[Vec<u8>]| {
            [vec![1, 0, 0, 0], encode::set("t", "s"), nested(LIST_ELEMENTS, elements)].concat()
        };
        let mut counts = Counts::new();
        elements(&message(&[element("a", 1, 100), element("b", 2, 200)]), "sent", &mut counts).unwrap();
        elements(&message(&[element("a", 10, 1000)]), "sent", &mut counts).unwrap();
        let count = |port: &str| counts[&("sent".to_owned(), port.to_owned())];
        assert_eq!(count("a"), Count { packets: 11, bytes: 1100 });
        assert_eq!(count("b"), Count { packets: 2, bytes: 200 });
        // A set without elements, and one whose element is cut off.
        let mut none = Counts::new();
        elements(&[1, 0, 0, 0], "sent", &mut none).unwrap();
        assert!(none.is_empty());
        assert_eq!(elements(&message(&[nested(1, &[])]), "sent", &mut none), None);
        assert_eq!(elements(&[1], "sent", &mut none), None);
    }
}
