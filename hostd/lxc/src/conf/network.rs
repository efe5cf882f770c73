//! Network interfaces: all keys of one number make one `[[nic]]`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tenant::{
    config::{MacvlanMode, NicFragment, NicMode},
    model::net::{Cidr, LinkName, Mac, Route},
};

use super::{
    draft::{Draft, Pair},
    keys,
    report::Verdict,
};

/// Verdicts of some lines, by their position.
type Verdicts = Vec<(usize, Verdict)>;

pub(super) fn interfaces(draft: &mut Draft<'_>, all: &BTreeMap<u32, Vec<Pair<'_>>>) -> Verdicts {
    if all.is_empty() {
        return Vec::new();
    }
    let mut nics = Vec::new();
    let mut verdicts = Vec::new();
    for pairs in all.values() {
        let interface = Interface { pairs, key: format!("nic[{}]", nics.len()) };
        let (nic, found) = interface.translate();
        nics.extend(nic);
        verdicts.extend(found);
    }
    if nics.is_empty() {
        nics.push(NicFragment::new(NicMode::None));
    }
    draft.fragment.nic = Some(nics);
    verdicts
}

struct Interface<'a> {
    pairs: &'a [Pair<'a>],
    key: String,
}

/// What the type of an interface makes of it.
enum Kind {
    Nic(NicMode),
    Loopback,
    Refused(&'static str),
}

impl Interface<'_> {
    fn part<'b>(pair: &'b Pair<'_>) -> &'b str {
        keys::network_part(pair.name).map_or("", |(_, part)| part)
    }

    fn value(&self, part: &str) -> Option<&str> {
        self.pairs.iter().find(|pair| Self::part(pair) == part).map(|pair| pair.value)
    }

    fn done(&self, text: impl Into<String>) -> Verdict {
        Verdict::done(&self.key, text)
    }

    fn kind(&self) -> Kind {
        let routed = self.value("veth.mode") == Some("router") || self.value("link").is_none();
        match self.value("type") {
            Some("veth") if routed => Kind::Nic(NicMode::Routed),
            Some("veth" | "nic") => Kind::Nic(NicMode::Bridge),
            Some("macvlan") => Kind::Nic(NicMode::Macvlan),
            Some("vlan") => Kind::Nic(NicMode::Vlan),
            Some("phys") => Kind::Nic(NicMode::Phys),
            Some("empty") => Kind::Loopback,
            Some("none") => Kind::Refused(
                "tenants cannot share the host's network: it has loopback only; add a [[nic]], e.g. mode = \"routed\"",
            ),
            Some("ipvlan") => Kind::Refused(
                "ipvlan is not supported: use mode = \"macvlan\", or mode = \"routed\" if the parent allows only one MAC",
            ),
            Some(_) => Kind::Refused("LXC has no such type"),
            None => Kind::Refused("the interface has no lxc.net.N.type: LXC ignores it"),
        }
    }

    fn translate(&self) -> (Option<NicFragment>, Verdicts) {
        match self.kind() {
            Kind::Nic(mode) => self.nic(mode),
            Kind::Loopback => (
                None,
                self.every(|pair| match Self::part(pair) {
                    "type" => Verdict::note("loopback only, which every tenant has"),
                    "flags" => Verdict::note("loopback is up"),
                    _ => Verdict::warning("an interface of type empty has only loopback"),
                }),
            ),
            Kind::Refused(reason) => (
                None,
                self.every(|pair| match Self::part(pair) {
                    "type" => Verdict::warning(reason),
                    "flags" => Verdict::note("the interface is not translated"),
                    _ if self.value("type").is_none() => Verdict::warning(reason),
                    _ => Verdict::warning("its interface is not translated"),
                }),
            ),
        }
    }

    fn every(&self, verdict: impl Fn(&Pair<'_>) -> Verdict) -> Verdicts {
        self.pairs.iter().map(|pair| (pair.at, verdict(pair))).collect()
    }

    fn nic(&self, mode: NicMode) -> (Option<NicFragment>, Verdicts) {
        // Without the interface or tag it is of, the rest says nothing.
        let missing = match mode {
            NicMode::Macvlan | NicMode::Vlan | NicMode::Phys if self.value("link").is_none() => {
                Some("the interface has no lxc.net.N.link")
            }
            NicMode::Vlan if self.value("vlan.id").is_none() => {
                Some("the interface has no lxc.net.N.vlan.id")
            }
            _ => None,
        };
        if let Some(reason) = missing {
            return (None, self.every(|_| Verdict::warning(reason)));
        }
        let mut nic = NicFragment::new(mode);
        if mode == NicMode::Macvlan {
            // LXC's own default; a tenant's would be `bridge`.
            nic.macvlan = Some(MacvlanMode::Private);
        }
        let verdicts = self.pairs.iter().map(|pair| (pair.at, self.set(&mut nic, pair))).collect();
        (Some(nic), verdicts)
    }

    /// Translates one key of an interface.
    fn set(&self, nic: &mut NicFragment, pair: &Pair<'_>) -> Verdict {
        let value = pair.value;
        match Self::part(pair) {
            "type" => self.mode(nic.mode),
            "link" => match value.parse::<LinkName>() {
                _ if nic.mode == NicMode::Routed => {
                    Verdict::note("a routed interface has no link: the host routes")
                }
                Ok(link) => {
                    nic.link = Some(link);
                    self.done(format!("link = {value:?}"))
                }
                Err(error) => Verdict::warning(error.to_string()),
            },
            "name" => self.name(nic, value),
            "flags" => Verdict::note("every interface is up"),
            "hwaddr" => self.mac(nic, value),
            "mtu" => match value.parse::<u32>() {
                Ok(mtu) if (1280..=65_535).contains(&mtu) => {
                    nic.mtu = Some(mtu);
                    self.done(format!("mtu = {mtu}"))
                }
                _ => Verdict::warning("the MTU must be 1280 to 65535: IPv6 needs 1280"),
            },
            "ipv4.address" | "ipv6.address" => self.address(nic, value, Self::part(pair).starts_with("ipv4")),
            "ipv4.gateway" | "ipv6.gateway" => self.gateway(nic, value, Self::part(pair).starts_with("ipv4")),
            "macvlan.mode" => self.macvlan(nic, value),
            "vlan.id" if nic.mode == NicMode::Vlan => match value.parse::<u16>() {
                Ok(id) if (1..=4094).contains(&id) => {
                    nic.vlan = Some(id);
                    self.done(format!("vlan = {id}"))
                }
                _ => Verdict::warning("the VLAN must be 1 to 4094"),
            },
            "veth.mode" => match value {
                "router" | "bridge" => self.mode(nic.mode),
                _ => Verdict::warning("LXC knows only bridge and router"),
            },
            "veth.pair" => {
                Verdict::note("the host chooses the name of its end; its altname contains the tenant's name")
            }
            "veth.n_rxqueues" | "veth.n_txqueues" => Verdict::note("the kernel chooses the number of queues"),
            "veth.ipv4.route" | "veth.ipv6.route" => Verdict::warning(format!(
                "the host routes only a tenant's own addresses: ip route add {value} via ADDRESS"
            )),
            "veth.vlan.id" | "veth.vlan.tagged.id" => Verdict::warning(
                "VLANs of bridge ports are not supported: use mode = \"vlan\", or a bridge for each VLAN",
            ),
            "l2proxy" if value == "0" => Verdict::note("it is not supported"),
            "l2proxy" => {
                Verdict::warning("the host is a proxy for routed interfaces only: use mode = \"routed\"")
            }
            "script.up" | "script.down" => Verdict::warning(
                "scripts on the host are not supported; use addresses, routes, ports, net_rate",
            ),
            "vlan.id" => Verdict::note(format!("it has no effect for {}", word(nic.mode))),
            part if part.starts_with("ipvlan.") => Verdict::note("it has no effect for this type"),
            _ => Verdict::warning("LXC has no such key"),
        }
    }

    fn mode(&self, mode: NicMode) -> Verdict {
        let why = match mode {
            NicMode::Routed => ": the host routes to it, no bridge is needed",
            NicMode::Bridge => "; tenants of one `group` reach each other",
            _ => "",
        };
        self.done(format!("mode = \"{}\"{why}", word(mode)))
    }

    fn name(&self, nic: &mut NicFragment, value: &str) -> Verdict {
        if value.contains('%') {
            return Verdict::note("interfaces are named eth0, eth1, … in order");
        }
        match value.parse::<LinkName>() {
            Ok(_) => {
                nic.name = Some(value.to_owned());
                self.done(format!("name = {value:?}"))
            }
            Err(error) => Verdict::warning(error.to_string()),
        }
    }

    fn mac(&self, nic: &mut NicFragment, value: &str) -> Verdict {
        if value.contains(['x', 'X']) {
            return Verdict::note("the host generates a stable MAC for each interface");
        }
        match value.parse::<Mac>() {
            Ok(mac) => {
                nic.mac = Some(mac);
                self.done(format!("mac = \"{mac}\""))
            }
            Err(error) => Verdict::warning(error.to_string()),
        }
    }

    fn macvlan(&self, nic: &mut NicFragment, value: &str) -> Verdict {
        if nic.mode != NicMode::Macvlan {
            return Verdict::note("it has no effect for this type");
        }
        let mode = match value {
            "private" => MacvlanMode::Private,
            "vepa" => MacvlanMode::Vepa,
            "bridge" => MacvlanMode::Bridge,
            "passthru" => {
                return Verdict::warning(
                    "passthru is not supported: it is macvlan = \"private\"; mode = \"phys\" assigns the whole NIC",
                );
            }
            _ => return Verdict::warning("LXC knows private, vepa, bridge, passthru"),
        };
        nic.macvlan = Some(mode);
        self.done(format!("macvlan = {value:?}"))
    }

    fn address(&self, nic: &mut NicFragment, value: &str, v4: bool) -> Verdict {
        let mut words = value.split_ascii_whitespace();
        let (text, broadcast) = (words.next().unwrap_or_default(), words.next());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return Verdict::warning("it is not an address") };
        if address.is_ipv4() != v4 {
            return Verdict::warning("it belongs to the other address family");
        }
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Verdict::warning("it cannot be used as the address of an interface");
        }
        let longest = if v4 { 32 } else { 128 };
        let default = match address {
            IpAddr::V4(address) => class_prefix(address),
            IpAddr::V6(_) => 64,
        };
        let prefix = match prefix.map(str::parse::<u8>) {
            None => default,
            Some(Ok(prefix)) if prefix <= longest => prefix,
            Some(_) => return Verdict::warning("its prefix is not a number, or too long"),
        };
        let cidr = Cidr { address, prefix };
        let addresses = nic.addresses.get_or_insert_default();
        if addresses.iter().any(|other| other.address == address) {
            return Verdict::note("it is already listed");
        }
        addresses.push(cidr);
        let from = match (text.contains('/'), v4) {
            (true, _) => "",
            (false, true) => " (without a prefix LXC uses that of the address's class)",
            (false, false) => " (without a prefix LXC uses /64)",
        };
        let broadcast = match broadcast {
            Some(given) if !is_broadcast(given, cidr) => "; the broadcast address is computed",
            _ => "",
        };
        self.done(format!("addresses: \"{cidr}\"{from}{broadcast}"))
    }

    fn gateway(&self, nic: &mut NicFragment, value: &str, v4: bool) -> Verdict {
        if nic.mode == NicMode::Routed {
            return Verdict::note("the gateway of a routed interface is the host itself");
        }
        match value {
            "auto" => {
                Verdict::warning("the bridge's address is not looked up: set it with gateways = [\"…\"]")
            }
            "dev" => {
                let any =
                    if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
                let route = Route { to: Cidr { address: any, prefix: 0 }, via: None };
                nic.routes.get_or_insert_default().push(route);
                self.done(format!("routes: \"{route}\""))
            }
            _ => match value.parse::<IpAddr>() {
                Ok(gateway) if gateway.is_ipv4() == v4 => {
                    nic.gateways.get_or_insert_default().push(gateway);
                    self.done(format!("gateways: \"{gateway}\""))
                }
                _ => Verdict::warning("it is neither an address of this family, nor auto, nor dev"),
            },
        }
    }
}

fn word(mode: NicMode) -> &'static str {
    match mode {
        NicMode::Routed => "routed",
        NicMode::Bridge => "bridge",
        NicMode::Macvlan => "macvlan",
        NicMode::Phys => "phys",
        NicMode::Vlan => "vlan",
        NicMode::None => "none",
    }
}

/// The prefix of a network of class A, B or C, see inet(3); all others have none.
fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        192..=223 => 24,
        _ => 0,
    }
}

fn is_broadcast(text: &str, network: Cidr) -> bool {
    let (Ok(given), IpAddr::V4(address)) = (text.parse::<Ipv4Addr>(), network.address) else { return false };
    let hosts = u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
    given.to_bits() == address.to_bits() | hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_those_of_lxc() {
        for (address, prefix) in [("10.0.0.2", 8), ("172.16.0.1", 16), ("192.168.1.1", 24), ("224.0.0.1", 0)]
        {
            assert_eq!(class_prefix(address.parse().unwrap()), prefix);
        }
        assert!(is_broadcast("10.2.3.255", "10.2.3.5/24".parse().unwrap()));
        assert!(!is_broadcast("255.255.255.255", "10.2.3.5/24".parse().unwrap()));
    }
}
