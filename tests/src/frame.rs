//! Ethernet frames, honest and forged, each with a mark by which it is known where it arrives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub type Mac = [u8; 6];

/// Everybody on the link.
pub const BROADCAST: Mac = [0xff; 6];
/// Every IPv6 node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Bytes of the Ethernet header.
pub const HEADER: usize = 14;

/// A whole frame without its checksum, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is, in the words of the test.
    pub what: String,
    bytes: Vec<u8>,
}

/// 8 bytes that stand in no other frame of a test: they follow from what it is.
fn mark(what: &str) -> [u8; 8] {
    // FNV-1a: the same in every run, and different for different texts of one test.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    what.bytes().fold(0xcbf2_9ce4_8422_2325, fold).to_be_bytes()
}

impl Frame {
    /// Something on an Ethernet, the mark behind it, filled up to the shortest frame there is.
    pub fn raw(what: &str, to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Self {
        let mut bytes = [&to[..], &from[..], &ethertype.to_be_bytes(), payload, &mark(what)].concat();
        bytes.resize(bytes.len().max(60), 0);
        Self { what: what.to_owned(), bytes }
    }

    /// An ARP message of operation 1 (request) or 2 (reply), see RFC 826.
    pub fn arp(
        what: &str,
        to: Mac,
        from: Mac,
        operation: u16,
        sender: (Mac, Ipv4Addr),
        target: Ipv4Addr,
    ) -> Self {
        let head = [0, 1, 8, 0, 6, 4];
        let payload =
            [&head[..], &operation.to_be_bytes(), &sender.0, &sender.1.octets(), &[0; 6], &target.octets()]
                .concat();
        Self::raw(what, to, from, 0x0806, &payload)
    }

    /// A UDP datagram over IPv4 or IPv6, whichever the addresses are.
    ///
    /// # Panics
    /// When the addresses are of two families.
    pub fn udp(
        what: &str,
        (to, from): (Mac, Mac),
        (target, source): (IpAddr, IpAddr),
        (to_port, from_port): (u16, u16),
    ) -> Self {
        let head = [from_port.to_be_bytes(), to_port.to_be_bytes(), 16_u16.to_be_bytes(), [0, 0]];
        let mut datagram = [&head.concat()[..], &mark(what)].concat();
        let sum = checksum(&[&pseudo(target, source, 17, datagram.len())[..], &datagram].concat());
        // Zero would say that there is no checksum.
        let sum = if sum == 0 { 0xffff } else { sum };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        let (ethertype, head) = ip(target, source, 17, datagram.len());
        let mut bytes = [&to[..], &from[..], &ethertype.to_be_bytes(), &head, &datagram].concat();
        bytes.resize(bytes.len().max(60), 0);
        Self { what: what.to_owned(), bytes }
    }

    /// An IP packet of any protocol whose content is the mark.
    ///
    /// # Panics
    /// As [`Self::udp`].
    pub fn packet(
        what: &str,
        (to, from): (Mac, Mac),
        (target, source): (IpAddr, IpAddr),
        protocol: u8,
    ) -> Self {
        let content = [&[0; 8][..], &mark(what)].concat();
        let (ethertype, head) = ip(target, source, protocol, content.len());
        let mut bytes = [&to[..], &from[..], &ethertype.to_be_bytes(), &head, &content].concat();
        bytes.resize(bytes.len().max(60), 0);
        Self { what: what.to_owned(), bytes }
    }

    /// The same IPv4 packet as the last part of a longer one.
    ///
    /// # Panics
    /// When it is no IPv4 packet.
    #[must_use]
    pub fn last_fragment(&self, what: &str) -> Self {
        assert_eq!(self.ethertype(), 0x0800, "{}", self.what);
        let mut bytes = self.bytes_as(what);
        // Behind the first 8 bytes, which nobody sends.
        bytes[20..22].copy_from_slice(&1_u16.to_be_bytes());
        bytes[24..26].copy_from_slice(&[0, 0]);
        let sum = checksum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        Self { what: what.to_owned(), bytes }
    }

    /// An ICMPv6 message of neighbour discovery (RFC 4861): the body behind the checksum, then an option
    /// that nobody knows with the mark in it.
    pub fn discovery(
        what: &str,
        (to, from): (Mac, Mac),
        (target, source): (Ipv6Addr, Ipv6Addr),
        kind: u8,
        body: &[u8],
    ) -> Self {
        // Option 253 is for experiments; its length is counted in units of 8 bytes.
        let option = [&[253, 2, 0, 0, 0, 0, 0, 0][..], &mark(what)].concat();
        let mut message = [&[kind, 0, 0, 0][..], body, &option].concat();
        let (target, source) = (IpAddr::V6(target), IpAddr::V6(source));
        let sum = checksum(&[&pseudo(target, source, 58, message.len())[..], &message].concat());
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let (ethertype, mut head) = ip(target, source, 58, message.len());
        // Whoever hears it must see that no router passed it on.
        head[7] = 255;
        let bytes = [&to[..], &from[..], &ethertype.to_be_bytes(), &head, &message].concat();
        Self { what: what.to_owned(), bytes }
    }

    /// The same IPv6 packet with an extension header of 8 bytes before its content, which hides what it
    /// is from whoever looks at the first header alone (RFC 7113): 0 hop-by-hop options, 44 fragment,
    /// 60 destination options.
    ///
    /// # Panics
    /// When it is no IPv6 packet.
    #[must_use]
    pub fn behind(&self, what: &str, header: u8) -> Self {
        assert_eq!(self.ethertype(), 0x86dd, "{}", self.what);
        let mut bytes = self.bytes_as(what);
        let next = std::mem::replace(&mut bytes[20], header);
        let length = u16::from_be_bytes([bytes[18], bytes[19]]) + 8;
        bytes[18..20].copy_from_slice(&length.to_be_bytes());
        // An option that is but padding; for a fragment: the first and only one, of number 1.
        let extension = match header {
            44 => [next, 0, 0, 0, 0, 0, 0, 1],
            _ => [next, 0, 1, 4, 0, 0, 0, 0],
        };
        bytes.splice(54..54, extension);
        Self { what: what.to_owned(), bytes }
    }

    /// The same with a tag of 802.1Q (0x8100) or 802.1ad (0x88a8).
    #[must_use]
    pub fn tagged(&self, what: &str, protocol: u16, vlan: u16) -> Self {
        let mut bytes = self.bytes_as(what);
        bytes.splice(12..12, [protocol.to_be_bytes(), vlan.to_be_bytes()].concat());
        Self { what: what.to_owned(), bytes }
    }

    /// Its bytes with the mark of another.
    fn bytes_as(&self, what: &str) -> Vec<u8> {
        let (at, mut bytes) = (self.mark_at(), self.bytes.clone());
        bytes[at..at + 8].copy_from_slice(&mark(what));
        bytes
    }

    /// Where its mark stands, in bytes from the beginning.
    ///
    /// # Panics
    /// Never: every frame is made with one.
    pub fn mark_at(&self) -> usize {
        let mark = mark(&self.what);
        self.bytes.windows(8).position(|window| window == mark).expect("every frame has a mark")
    }

    /// Where its mark may stand when it arrives: whoever puts fragments together takes their header out.
    pub fn marks_at(&self) -> Vec<usize> {
        let is_fragment = self.ethertype() == 0x86dd && self.bytes[20] == 44;
        let at = self.mark_at();
        if is_fragment { vec![at, at - 8] } else { vec![at] }
    }

    /// Its mark as nft(8) wants it.
    pub fn mark(&self) -> String {
        format!("{:#018x}", u64::from_be_bytes(mark(&self.what)))
    }

    /// Whom it is for.
    pub fn to(&self) -> Mac {
        std::array::from_fn(|at| self.bytes[at])
    }

    /// From whom it says it is.
    pub fn from(&self) -> Mac {
        std::array::from_fn(|at| self.bytes[at + 6])
    }

    /// Its type.
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }

    /// Hexadecimal digits.
    pub fn hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The hardware address of an IPv6 multicast group (RFC 2464).
pub fn multicast(group: Ipv6Addr) -> Mac {
    let octets = group.octets();
    [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
}

/// A type and an IP header.
fn ip(target: IpAddr, source: IpAddr, protocol: u8, length: usize) -> (u16, Vec<u8>) {
    let length = u16::try_from(length).expect("a short packet");
    match (target, source) {
        (IpAddr::V4(target), IpAddr::V4(source)) => {
            let total = (20 + length).to_be_bytes();
            let head = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            let mut head = [&head[..], &source.octets(), &target.octets()].concat();
            let sum = checksum(&head);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            (0x0800, head)
        }
        (IpAddr::V6(target), IpAddr::V6(source)) => {
            let length = length.to_be_bytes();
            let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            (0x86dd, [&head[..], &source.octets(), &target.octets()].concat())
        }
        _ => panic!("{source} and {target} are of two families"),
    }
}

/// What a checksum covers besides the message itself.
fn pseudo(target: IpAddr, source: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = u32::try_from(length).expect("a short packet").to_be_bytes();
    // The sum is the same wherever its 16-bit words stand.
    [octets(source), octets(target), length.to_vec(), vec![0, 0, 0, protocol]].concat()
}

/// The checksum of the Internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_checksum_makes_the_sum_zero() {
        let ends = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 1]));
        let frame = Frame::udp("u", (B, A), ends, (53, 1024));
        assert_eq!(checksum(&frame.bytes[14..34]), 0, "the header's");
        let datagram = &frame.bytes[34..50];
        assert_eq!(checksum(&[&pseudo(ends.0, ends.1, 17, 16)[..], datagram].concat()), 0, "UDP's");
        assert_eq!(frame.bytes.len(), 60);
        assert_eq!(frame.mark_at(), 42);
        let fragment = Frame::packet("p", (B, A), ends, 47).last_fragment("f");
        assert_eq!(checksum(&fragment.bytes[14..34]), 0, "a fragment's header");
        assert_eq!((fragment.bytes[21], fragment.mark_at()), (1, 42));
    }

    #[test]
    fn marks_are_found_where_a_tag_moved_them() {
        let plain = Frame::arp("a", BROADCAST, A, 1, (A, Ipv4Addr::LOCALHOST), Ipv4Addr::BROADCAST);
        assert_eq!((plain.mark_at(), plain.ethertype()), (42, 0x0806));
        let tagged = plain.tagged("b", 0x8100, 100);
        assert_eq!((tagged.mark_at(), tagged.ethertype()), (46, 0x8100));
        assert_ne!(plain.mark(), tagged.mark());
        let ends = (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let packet = Frame::udp("u", (B, A), ends, (1, 2));
        assert_eq!(packet.behind("v", 60).mark_at(), packet.mark_at() + 8);
    }

    #[test]
    fn discovery_has_the_longest_way_to_live() {
        let source = Ipv6Addr::LOCALHOST;
        let frame = Frame::discovery("r", (multicast(ALL_NODES), A), (ALL_NODES, source), 134, &[0; 12]);
        assert_eq!(frame.bytes[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(frame.bytes[21], 255);
        let message = &frame.bytes[54..];
        let covered = pseudo(ALL_NODES.into(), source.into(), 58, message.len());
        assert_eq!(checksum(&[&covered[..], message].concat()), 0);
    }
}
