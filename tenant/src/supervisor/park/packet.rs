//! Packets for a tenant that is not there, pure: which of them need it, and those that are kept until it can take them.
//!
//! See RFC 791, 8200, 9293, 768, 792 and 4443. Every byte here was chosen by strangers.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::kernel::stand_in::Service;

/// Most packets that are kept, and bytes of them: whoever is not among them asks again.
const MOST: usize = 512;
const MOST_BYTES: usize = 1 << 20;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// What a packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Purpose {
    /// To begin something with a service.
    Call(Call),
    /// To know whether there is somebody: an echo request.
    Echo,
    /// Something that a tenant that has just booted knows nothing of.
    Other,
}

/// The first packet of a connection, or a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Call {
    pub(in crate::supervisor) from: SocketAddr,
    pub(in crate::supervisor) service: Service,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Packet {
    pub(in crate::supervisor) from: IpAddr,
    pub(in crate::supervisor) to: IpAddr,
    pub(in crate::supervisor) purpose: Purpose,
    /// Where what the packet carries begins.
    body: usize,
}

impl Packet {
    /// Reads a packet; none is none of IP.
    pub(in crate::supervisor) fn read(bytes: &[u8]) -> Option<Self> {
        let (from, to, protocol, body) = match bytes.first()? >> 4 {
            4 => {
                let address = |at| Some(IpAddr::from(Ipv4Addr::from(array::<4>(bytes, at)?)));
                let length = usize::from(bytes[0] & 15) * 4;
                // Only the first fragment has ports; the others follow it, and are asked for again.
                let is_part = array::<2>(bytes, 6).map(u16::from_be_bytes)? & 0x3fff != 0;
                let protocol = if is_part { 0 } else { *bytes.get(9)? };
                (address(12)?, address(16)?, protocol, length)
            }
            6 => {
                let address = |at| Some(IpAddr::from(Ipv6Addr::from(array::<16>(bytes, at)?)));
                (address(8)?, address(24)?, *bytes.get(6)?, 40)
            }
            _ => return None,
        };
        let purpose =
            purpose(from, protocol, bytes.get(body..).unwrap_or_default()).unwrap_or(Purpose::Other);
        Some(Self { from, to, purpose, body })
    }

    /// The answer to an echo request.
    pub(in crate::supervisor) fn echo(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut reply = request.to_vec();
        let (first, second, length) = if self.to.is_ipv4() { (12, 16, 4) } else { (8, 24, 16) };
        let (source, target) = (request.get(first..first + length)?, request.get(second..second + length)?);
        reply.get_mut(first..first + length)?.copy_from_slice(target);
        reply.get_mut(second..second + length)?.copy_from_slice(source);
        let kind = if self.to.is_ipv4() { 0 } else { 129 };
        let old = u16::from_be_bytes([request.get(self.body).copied()?, 0]);
        let sum = self.body + 2;
        let new = adjusted(u16::from_be_bytes(array(request, sum)?), old, u16::from_be_bytes([kind, 0]));
        reply[self.body] = kind;
        reply[sum..sum + 2].copy_from_slice(&new.to_be_bytes());
        Some(reply)
    }
}

/// A checksum when a word of what it is of becomes another, see RFC 1624.
fn adjusted(sum: u16, old: u16, new: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn purpose(from: IpAddr, protocol: u8, body: &[u8]) -> Option<Purpose> {
    const SYN_ACK_RST: u8 = 0x02 | 0x10 | 0x04;
    let call = || {
        let port = |at| array(body, at).map(u16::from_be_bytes);
        let service = Service { protocol, port: port(2)?, is_six: from.is_ipv6() };
        Some(Purpose::Call(Call { from: SocketAddr::new(from, port(0)?), service }))
    };
    match protocol {
        TCP if body.get(13)? & SYN_ACK_RST == 0x02 => call(),
        UDP => call(),
        ICMP if from.is_ipv4() && body.first() == Some(&8) => Some(Purpose::Echo),
        ICMP6 if from.is_ipv6() && body.first() == Some(&128) => Some(Purpose::Echo),
        _ => None,
    }
}

/// `22/tcp`, as in a tenant's file.
pub(in crate::supervisor) fn service_word(service: Service) -> String {
    format!("{}/{}", service.port, if service.is_tcp() { "tcp" } else { "udp" })
}

/// Whether something listens for a call.
pub(in crate::supervisor) fn is_awaited(open: &BTreeSet<Service>, service: Service) -> bool {
    // A socket of IPv6 takes calls of both unless it was told not to.
    open.contains(&service) || !service.is_six && open.contains(&Service { is_six: true, ..service })
}

/// Packets that are kept until what they are for is there, in the order in which they came.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Held {
    packets: VecDeque<(IpAddr, Service, Vec<u8>)>,
    bytes: usize,
}

impl Held {
    pub(in crate::supervisor) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Keeps a packet, unless there are too many.
    pub(in crate::supervisor) fn keep(&mut self, to: IpAddr, service: Service, packet: &[u8]) {
        if self.packets.len() < MOST && self.bytes + packet.len() <= MOST_BYTES {
            self.bytes += packet.len();
            self.packets.push_back((to, service, packet.to_vec()));
        }
    }

    /// Takes those out for which that is true.
    pub(in crate::supervisor) fn take(&mut self, may: impl Fn(Service) -> bool) -> Vec<(IpAddr, Vec<u8>)> {
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for (to, service, packet) in std::mem::take(&mut self.packets) {
            if may(service) {
                self.bytes -= packet.len();
                taken.push((to, packet));
            } else {
                kept.push_back((to, service, packet));
            }
        }
        self.packets = kept;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Internet checksum of bytes, see RFC 1071.
    fn checksum(bytes: &[u8]) -> u16 {
        let words =
            bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0)));
        let mut total: u32 = words.sum();
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    fn four(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, (20 + body.len()) as u8, 0, 7, 0x40, 0, 64, protocol, 0, 0];
        packet.extend([192, 0, 2, 9, 10, 115, 0, 1]);
        packet.extend(body);
        packet
    }

    fn six(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, body.len() as u8, protocol, 64];
        packet.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(body);
        packet
    }

    fn tcp(flags: u8) -> Vec<u8> {
        let mut body = vec![0xc0, 0, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags];
        body.resize(20, 0);
        body
    }

    fn purpose_of(packet: &[u8]) -> Option<Purpose> {
        Packet::read(packet).map(|packet| packet.purpose)
    }

    #[test]
    fn what_begins_something_is_told_from_what_goes_on() {
        let service = |protocol, port, is_six| Service { protocol, port, is_six };
        let call = |from: &str, service| Some(Purpose::Call(Call { from: from.parse().unwrap(), service }));
        assert_eq!(purpose_of(&four(TCP, &tcp(0x02))), call("192.0.2.9:49152", service(TCP, 22, false)));
        assert_eq!(
            purpose_of(&six(TCP, &tcp(0xc2))),
            call("[2001:db8::9]:49152", service(TCP, 22, true)),
            "ECN"
        );
        for flags in [0x10, 0x12, 0x04, 0x14, 0x11] {
            assert_eq!(purpose_of(&four(TCP, &tcp(flags))), Some(Purpose::Other), "{flags:#x}");
        }
        let datagram = [0xc0, 0, 0, 53, 0, 8, 0, 0];
        assert_eq!(purpose_of(&four(UDP, &datagram)), call("192.0.2.9:49152", service(UDP, 53, false)));
        assert_eq!(purpose_of(&four(UDP, &datagram[..3])), Some(Purpose::Other));
        assert_eq!(purpose_of(&four(2, &[])), Some(Purpose::Other));
        assert_eq!(purpose_of(&[]), None);
        assert_eq!(purpose_of(&[0x45]), None);
        let mut part = four(UDP, &datagram);
        part[7] = 3;
        assert_eq!(purpose_of(&part), Some(Purpose::Other), "a fragment");
    }

    #[test]
    fn an_echo_request_is_answered_with_right_checksums() {
        let mut body = vec![8, 0, 0, 0, 1, 2, 0, 1, b'x', b'y', b'z'];
        let sum = checksum(&body).to_be_bytes();
        body[2..4].copy_from_slice(&sum);
        let request = four(ICMP, &body);
        let packet = Packet::read(&request).unwrap();
        assert_eq!(packet.purpose, Purpose::Echo);
        let reply = packet.echo(&request).unwrap();
        assert_eq!((&reply[12..16], &reply[16..20]), (&[10, 115, 0, 1][..], &[192, 0, 2, 9][..]));
        assert_eq!((reply[20], checksum(&reply[20..]), &reply[24..]), (0, 0, &body[4..]));
        let pseudo = |packet: &[u8]| {
            let mut bytes = packet[8..40].to_vec();
            bytes.extend([0, 0, 0, packet[5], 0, 0, 0, ICMP6]);
            bytes.extend(&packet[40..]);
            bytes
        };
        let mut request = six(ICMP6, &[128, 0, 0, 0, 1, 2, 0, 1]);
        let sum = checksum(&pseudo(&request)).to_be_bytes();
        request[42..44].copy_from_slice(&sum);
        let reply = Packet::read(&request).unwrap().echo(&request).unwrap();
        assert_eq!((reply[40], checksum(&pseudo(&reply))), (129, 0));
    }

    #[test]
    fn packets_are_kept_in_order_until_something_listens() {
        let to = IpAddr::from([10, 0, 0, 1]);
        let service = |port| Service { protocol: TCP, port, is_six: false };
        let mut held = Held::default();
        for (port, packet) in [(22, b"a"), (80, b"b"), (22, b"c")] {
            held.keep(to, service(port), packet);
        }
        let open = BTreeSet::from([Service { is_six: true, ..service(22) }]);
        assert!(is_awaited(&open, service(22)) && !is_awaited(&open, service(80)));
        let six = Service { is_six: true, ..service(80) };
        assert!(!is_awaited(&BTreeSet::from([service(80)]), six), "IPv6 needs a socket of its own");
        let taken = held.take(|service| is_awaited(&open, service));
        assert_eq!(taken.into_iter().map(|(_, packet)| packet).collect::<Vec<_>>(), [b"a", b"c"]);
        assert!(!held.is_empty());
        assert_eq!(held.take(|_| true).len(), 1);
        assert!(held.is_empty() && held.bytes == 0);
        for _ in 0..2 * MOST {
            held.keep(to, service(1), &[0; 2048]);
        }
        assert_eq!((held.packets.len(), held.bytes), (MOST, MOST_BYTES));
    }
}
