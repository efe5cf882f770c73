//! The catalogue of lies: what a hostile tenant can put on its wire, and ears for it.

mod ears;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ears::{Ears, beliefs, end, inject, link_mac, mac_of};

use crate::frame::{ALL_NODES, BROADCAST, Frame, Mac, multicast};

/// Frames of each kind.
pub const COUNT: u64 = 10_000;

/// The UDP port of every frame that a service might take.
pub const PORT: u16 = 9999;

/// One who has addresses on the link.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Hardware address.
    pub mac: Mac,
    /// IPv4 address.
    pub v4: Ipv4Addr,
    /// IPv6 address.
    pub v6: Ipv6Addr,
}

impl End {
    fn all(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// Who is there.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// The one who forges.
    pub own: End,
    /// The one who is to be deceived.
    pub peer: End,
    /// A third, in whose name it is done.
    pub third: End,
    /// The host.
    pub host: End,
    /// The hardware address under which the peer is reached.
    pub next: Mac,
}

/// Where a frame comes to when nobody stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// To the neighbour.
    Peer,
    /// To the host.
    Host,
    /// To neither.
    Unused,
}

/// Frames, and where they would come to.
pub type Frames = Vec<(Frame, Free)>;

const ROGUE: Mac = [2, 0xbd, 0, 0, 0, 9];
const NOBODY4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const NOBODY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
const ROGUE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad);

impl Cast {
    fn at_peer(&self, what: &str, from: Mac, source: impl Into<IpAddr>) -> (Frame, Free) {
        let source = source.into();
        let target = if source.is_ipv4() { self.peer.v4.into() } else { self.peer.v6.into() };
        let what = format!("{what}, to the neighbour, from {source}");
        (Frame::udp(&what, (self.next, from), (target, source), (PORT, PORT)), Free::Peer)
    }

    fn at_host(&self, what: &str, from: Mac, source: impl Into<IpAddr>) -> (Frame, Free) {
        let source = source.into();
        let target = if source.is_ipv4() { self.host.v4.into() } else { self.host.v6.into() };
        let what = format!("{what}, to the host, from {source}");
        (Frame::udp(&what, (self.host.mac, from), (target, source), (PORT, PORT)), Free::Host)
    }

    /// Source addresses that are not its own.
    fn addresses(&self) -> Frames {
        let mut frames = Frames::new();
        let odd: [IpAddr; 4] = [
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::LOCALHOST.into(),
        ];
        for source in [self.peer.all(), self.third.all(), [NOBODY4.into(), NOBODY6.into()]].concat() {
            frames.push(self.at_peer("source address", self.own.mac, source));
            frames.push(self.at_host("source address", self.own.mac, source));
        }
        for source in self.host.all().into_iter().chain(odd).chain([ROGUE6.into()]) {
            // Even a stack that nobody guards takes none of these for itself.
            let (to_host, _) = self.at_host("source address", self.own.mac, source);
            frames.push((to_host, Free::Unused));
            let (to_peer, _) = self.at_peer("source address", self.own.mac, source);
            frames.push((to_peer, Free::Unused));
        }
        frames
    }

    /// Packets from nobody: what a machine sends that has no address yet.
    fn sourceless(&self) -> Frames {
        let (own, none4, none6) = (self.own.mac, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let all_systems = Ipv4Addr::new(224, 0, 0, 1);
        let mut frames = Frames::new();
        for (whom, to, target, free) in [
            ("all systems", [1, 0, 0x5e, 0, 0, 1], all_systems, Free::Host),
            ("all", BROADCAST, Ipv4Addr::BROADCAST, Free::Host),
            // No stack takes this in over a wire.
            ("127.0.0.1", self.host.mac, Ipv4Addr::LOCALHOST, Free::Unused),
        ] {
            let (ends, addresses) = ((to, own), (target.into(), none4.into()));
            let what = |kind: &str| format!("{kind} from no address to {whom}");
            let port = if whom == "all" { 67 } else { PORT };
            frames.push((Frame::udp(&what("UDP"), ends, addresses, (port, 68)), free));
            for (kind, protocol) in [("GRE", 47), ("IPIP", 4), ("ICMP", 1)] {
                let packet = Frame::packet(&what(kind), ends, addresses, protocol);
                // It waits for its other parts, which never come.
                let fragment = packet.last_fragment(&what(&format!("a fragment of {kind}")));
                frames.extend([(packet, free), (fragment, Free::Unused)]);
            }
        }
        let ping = |what: &str, to: Mac, target: Ipv6Addr| {
            Frame::discovery(what, (to, own), (target, none6), 128, &[0, 1, 0, 1])
        };
        frames.push((ping("a ping from no address to the host", self.host.mac, self.host.v6), Free::Host));
        frames.push((ping("a ping from no address to all", multicast(ALL_NODES), ALL_NODES), Free::Host));
        frames
    }

    /// Hardware addresses that are not its own, with IP addresses that are.
    fn hardware(&self) -> Frames {
        let mut frames = Frames::new();
        for (whose, from) in
            [("nobody", ROGUE), ("the neighbour", self.peer.mac), ("the host", self.host.mac)]
        {
            for source in self.own.all() {
                let what = format!("hardware address of {whose}");
                let free = if from == self.host.mac { Free::Unused } else { Free::Host };
                frames.push((self.at_host(&what, from, source).0, free));
                let free = if from == ROGUE { Free::Peer } else { Free::Unused };
                frames.push((self.at_peer(&what, from, source).0, free));
            }
        }
        frames
    }

    fn arp(&self) -> Frames {
        let mut frames = Frames::new();
        let lies = [
            ("the neighbour's address", (self.own.mac, self.peer.v4)),
            ("the host's address", (self.own.mac, self.host.v4)),
            ("a third's address", (self.own.mac, self.third.v4)),
            ("nobody's address", (self.own.mac, NOBODY4)),
            ("its address at another's hardware", (self.peer.mac, self.own.v4)),
            ("its address at nobody's hardware", (ROGUE, self.own.v4)),
        ];
        for (lie, sender) in lies {
            for (what, to, operation, target) in [
                ("announcement", BROADCAST, 1, sender.1),
                ("question to the host", self.host.mac, 1, self.host.v4),
                ("answer to the host", self.host.mac, 2, self.host.v4),
                ("answer to the neighbour", self.next, 2, self.peer.v4),
            ] {
                let what = format!("ARP {what}: {lie}");
                let frame = Frame::arp(&what, to, self.own.mac, operation, sender, target);
                // To a switched neighbour it comes too, see `switched`.
                let free = if to == self.peer.mac { Free::Peer } else { Free::Host };
                frames.push((frame, free));
            }
        }
        let from = self.peer.mac;
        let whole = Frame::arp("ARP of another", BROADCAST, from, 2, (from, self.peer.v4), self.peer.v4);
        frames.push((whole, Free::Unused));
        frames
    }

    /// Neighbour and router discovery.
    fn discovery(&self) -> Frames {
        let mut frames = Frames::new();
        let (own, all) = (self.own.mac, (multicast(ALL_NODES), ALL_NODES));
        // A router for half an hour, one prefix and one hardware address left out: the head is enough.
        let router = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let claim = |target: Ipv6Addr| [&[0x60, 0, 0, 0][..], &target.octets()].concat();
        let lead = [&[0; 4][..], &ROGUE6.octets(), &NOBODY6.octets()].concat();
        for (whom, (to, target)) in [
            ("all", all),
            ("the host", (self.host.mac, self.host.v6)),
            ("the neighbour", (self.next, self.peer.v6)),
        ] {
            for source in [ROGUE6, self.own.v6] {
                // No router passes on what comes from a link-local address.
                let free = match (whom, source) {
                    ("the neighbour", ROGUE6) => Free::Unused,
                    ("the neighbour", _) => Free::Peer,
                    _ => Free::Host,
                };
                let what = format!("router advertisement to {whom} from {source}");
                let frame = Frame::discovery(&what, (to, own), (target, source), 134, &router);
                for (how, header) in
                    [("hop-by-hop options", 0), ("a fragment header", 44), ("destination options", 60)]
                {
                    // Whether a stack takes it in from behind there is its own affair.
                    frames.push((frame.behind(&format!("{what} behind {how}"), header), Free::Unused));
                }
                frames.push((frame, free));
                let what = format!("redirect to {whom} from {source}");
                frames.push((Frame::discovery(&what, (to, own), (target, source), 137, &lead), free));
                for (whose, claimed) in
                    [("neighbour", self.peer.v6), ("host", self.host.v6), ("third", self.third.v6)]
                {
                    let what =
                        format!("neighbour advertisement to {whom} from {source}: the {whose}'s address");
                    let frame = Frame::discovery(&what, (to, own), (target, source), 136, &claim(claimed));
                    frames.push((frame, free));
                }
            }
        }
        frames
    }

    /// A server of addresses that nobody asked for.
    fn dhcp(&self) -> Frames {
        let all: IpAddr = Ipv4Addr::BROADCAST.into();
        let mut frames = Frames::new();
        for source in [self.host.v4, self.own.v4, NOBODY4] {
            let what = format!("DHCP offer from {source}");
            let frame = Frame::udp(&what, (BROADCAST, self.own.mac), (all, source.into()), (68, 67));
            let free = if source == self.host.v4 { Free::Unused } else { Free::Host };
            frames.push((frame, free));
        }
        for source in [self.host.v6, self.own.v6, ROGUE6] {
            let what = format!("DHCPv6 advertisement from {source}");
            let target = (multicast(ALL_NODES), self.own.mac);
            let frame = Frame::udp(&what, target, (ALL_NODES.into(), source.into()), (546, 547));
            let free = if source == self.host.v6 { Free::Unused } else { Free::Host };
            frames.push((frame, free));
        }
        frames
    }

    /// Tags, and protocols that a tenant has no business with. A router leads none of them on.
    fn protocols(&self) -> Frames {
        let free = Free::Unused;
        let mut frames = Frames::new();
        for source in self.own.all().into_iter().chain(self.third.all()) {
            let (plain, _) = self.at_peer("plain", self.own.mac, source);
            for (what, protocol, vlan) in
                [("VLAN 100", 0x8100, 100), ("priority tag", 0x8100, 0), ("provider's VLAN 100", 0x88a8, 100)]
            {
                frames.push((plain.tagged(&format!("{what}, source {source}"), protocol, vlan), free));
            }
            let inner = plain.tagged("inner", 0x8100, 100);
            frames.push((inner.tagged(&format!("two tags, source {source}"), 0x88a8, 200), free));
        }
        let payload = [0x42, 0x42, 3, 0, 0, 0, 0, 0];
        for (what, to, ethertype) in [
            ("LLDP", BROADCAST, 0x88cc),
            ("an experiment", BROADCAST, 0x88b5),
            ("MPLS", self.next, 0x8847),
            ("PPPoE discovery", BROADCAST, 0x8863),
            ("EAPOL", BROADCAST, 0x888e),
            ("reverse ARP", BROADCAST, 0x8035),
            ("spanning tree", [1, 0x80, 0xc2, 0, 0, 0], 38),
            ("IPX over 802.2", BROADCAST, 40),
        ] {
            let frame = Frame::raw(what, to, self.own.mac, ethertype, &payload);
            frames.push((frame, free));
        }
        frames
    }

    /// Every lie.
    pub fn forged(&self) -> Frames {
        let parts = [self.addresses(), self.sourceless(), self.hardware(), self.arp(), self.discovery()];
        [parts.concat(), self.dhcp(), self.protocols()].concat()
    }

    /// Whether a frame claims an address by ARP that nobody has.
    pub fn is_claim(frame: &Frame) -> bool {
        frame.ethertype() == 0x0806 && frame.what.ends_with("nobody's address")
    }

    /// The same frames as a bridge would switch them that nobody guards, sent from a port of their own.
    pub fn switched(&self, frames: &Frames) -> Frames {
        let switched = frames.iter().map(|(frame, _)| {
            let is_for_all = frame.to()[0] & 1 == 1;
            // A bridge that looks for members of groups takes no options to a group that it does not know.
            let is_odd = is_for_all && frame.what.ends_with("hop-by-hop options")
                // br_netfilter, where there is one, waits for the other parts.
                || frame.what.starts_with("a fragment of");
            let reaches = (frame.to() == self.peer.mac || is_for_all) && !is_odd;
            // Where the neighbour itself seems to be at that port, nothing for it leaves by another.
            let free = if reaches && frame.from() != self.peer.mac { Free::Peer } else { Free::Unused };
            (frame.clone(), free)
        });
        let (wanted, unwanted): (Frames, Frames) = switched.partition(|(_, free)| *free == Free::Peer);
        [wanted, unwanted].concat()
    }

    /// What a port without addresses sends to get one, and what it may not send before it has one, nor with one that
    /// nobody can have.
    pub fn before_an_address(&self) -> (Frames, Frames) {
        let (mac, none4, none6) = (self.own.mac, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        let addresses = (Ipv4Addr::BROADCAST.into(), none4.into());
        let ask = Frame::udp("a question for an address", (BROADCAST, mac), addresses, (67, 68));
        let asked = [&[0; 4][..], &NOBODY6.octets()].concat();
        let group = multicast(ALL_NODES);
        let tried =
            Frame::discovery("whether an address is free", (group, mac), (ALL_NODES, none6), 135, &asked);
        let honest = [ask, tried].map(|frame| (frame, Free::Peer)).into();
        // To the neighbour as well: a bridge cares for none of it.
        let mut forged = self.sourceless();
        forged.retain(|(frame, _)| frame.what != "UDP from no address to all");
        for source in [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 9)] {
            forged.push(self.at_peer("impossible source", mac, source));
        }
        for source in [none6, Ipv6Addr::LOCALHOST, ALL_NODES] {
            forged.push(self.at_peer("impossible source", mac, source));
        }
        (honest, forged)
    }

    /// The same shapes with nothing but the truth in them.
    pub fn honest(&self) -> Frames {
        let End { mac, v4, v6 } = self.own;
        let mut frames = Frames::new();
        for source in self.own.all() {
            frames.push(self.at_peer("honest", mac, source));
            frames.push(self.at_host("honest", mac, source));
        }
        let question = Frame::arp("honest ARP question", BROADCAST, mac, 1, (mac, v4), self.host.v4);
        let answer = Frame::arp("honest ARP answer", self.host.mac, mac, 2, (mac, v4), self.host.v4);
        let claim = [&[0x60, 0, 0, 0][..], &v6.octets()].concat();
        let ends = ((self.host.mac, mac), (self.host.v6, v6));
        let advertisement = Frame::discovery("honest neighbour advertisement", ends.0, ends.1, 136, &claim);
        let asked = [&[0; 4][..], &self.host.v6.octets()].concat();
        let solicitation = Frame::discovery("honest neighbour solicitation", ends.0, ends.1, 135, &asked);
        frames.extend([question, answer, advertisement, solicitation].map(|frame| (frame, Free::Host)));
        frames
    }
}
