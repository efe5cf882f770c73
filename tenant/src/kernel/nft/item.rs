//! Elements of our sets and maps, and the limits they refer to: what a tenant is in the filter, as data and
//! as the text that nft(8) reads.
//!
//! Every word of that text is printed from a type that was parsed: names of interfaces and tenants,
//! addresses, numbers. None can hold a quote, a brace or a line break.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
};

use crate::model::{
    filter::{FilterPort, HostFilter, TenantFilter, group_number},
    net::{BitRate, Protocol},
    port::{GATEWAY4, GATEWAY6},
};

/// Family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// What the host routes.
    Inet,
    /// What passes bridges.
    Bridge,
    /// Who is asked for and answers on routed ports.
    Arp,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inet, Self::Bridge, Self::Arp];

    /// Its name in nft(8).
    pub fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Arp => "arp",
        }
    }

    /// The family whose table has a port.
    fn of(port: &FilterPort) -> Self {
        if port.bridged { Self::Bridge } else { Self::Inet }
    }
}

/// One thing in a table that is not a rule. In this order they can be added, in the reverse one deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A named limit.
    Limit {
        /// Of which table.
        family: Family,
        /// Its name.
        name: String,
        /// Bytes per second.
        rate: u64,
        /// Bytes at once, besides those of a second.
        burst: u64,
    },
    /// An element.
    Element {
        /// Of which table.
        family: Family,
        /// Of which set or map.
        set: String,
        /// Its key, part by part.
        key: Vec<String>,
        /// What a map leads to, part by part; empty in a set.
        value: Vec<String>,
    },
}

/// Sets whose keys do not begin with the name of a port.
const WITHOUT_PORT: [&str; 10] =
    ["forwards4", "forwards6", "loops4", "loops6", "nat4", "nat6", "open", "services", "taken4", "taken6"];

/// Sets whose elements packets add and the kernel removes: they belong to no record.
pub const OF_PACKETS: [&str; 1] = ["flows"];

/// The family, the set or map, and the words of a key.
pub type Key<'a> = (Family, &'a str, &'a [String]);

impl Item {
    fn element(family: Family, set: &str, key: &[&dyn ToString], value: &[&dyn ToString]) -> Self {
        let words = |parts: &[&dyn ToString]| parts.iter().map(|part| part.to_string()).collect();
        Self::Element { family, set: set.to_owned(), key: words(key), value: words(value) }
    }

    /// The name of the limit of a tenant; a limit cannot be changed, so the rate is a part of it.
    fn limit_name(direction: &str, tenant: &str, rate: BitRate) -> String {
        format!("{direction}-{tenant}-{}", rate.bits())
    }

    /// The table it is in.
    pub fn family(&self) -> Family {
        match self {
            Self::Limit { family, .. } | Self::Element { family, .. } => *family,
        }
    }

    /// Whether it can only be there for this tenant.
    pub fn belongs_to(&self, tenant: &TenantFilter) -> bool {
        match self {
            Self::Limit { name, .. } => {
                let owner = name.strip_prefix("in-").or_else(|| name.strip_prefix("out-"));
                owner
                    .and_then(|rest| rest.rsplit_once('-'))
                    .is_some_and(|(owner, _)| owner == tenant.tenant.as_str())
            }
            Self::Element { set, key, value, .. } => {
                let (four, six) = tenant.targets();
                let leads_here = |word: Option<&String>| {
                    let address = word.and_then(|word| word.parse::<IpAddr>().ok());
                    address.is_some() && (address == four.map(Into::into) || address == six.map(Into::into))
                };
                match set.as_str() {
                    "forwards4" | "forwards6" => leads_here(value.first()),
                    "loops4" | "loops6" => leads_here(key.first()),
                    "nat4" | "nat6" | "open" | "services" => false,
                    "taken4" | "taken6" => {
                        let routed = tenant.ports.iter().filter(|port| !port.bridged);
                        let mut own = routed.flat_map(|port| &port.addresses).map(taken);
                        own.any(|word| Some(&word) == key.first())
                    }
                    _ => key
                        .first()
                        .is_some_and(|name| tenant.ports.iter().any(|port| port.name.as_str() == name)),
                }
            }
        }
    }

    /// Where an element is: no two in a table have the same.
    pub fn key(&self) -> Option<Key<'_>> {
        match self {
            Self::Element { family, set, key, .. } => Some((*family, set, key)),
            Self::Limit { .. } => None,
        }
    }

    /// Whether both cannot be in one table: the same key of a map, and another value.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Element { family, set, key, value },
                Self::Element { family: family2, set: set2, key: key2, value: value2 },
            ) => (family, set, key) == (family2, set2, key2) && value != value2,
            _ => false,
        }
    }

    /// The element between its braces.
    fn text(&self) -> String {
        let Self::Element { set, key, value, .. } = self else { return String::new() };
        let mut words = key.clone();
        if let Some(name) = words.first_mut().filter(|_| !WITHOUT_PORT.contains(&set.as_str())) {
            *name = format!("\"{name}\"");
        }
        let mut text = words.join(" . ");
        match &value[..] {
            [] => {}
            [name] if set.starts_with("rate_") => {
                let _ = write!(text, " : \"{name}\"");
            }
            parts => {
                let _ = write!(text, " : {}", parts.join(" . "));
            }
        }
        text
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limit { family, name, .. } => write!(f, "{} limit {name}", family.word()),
            Self::Element { family, set, .. } => write!(f, "{} {set} {{ {} }}", family.word(), self.text()),
        }
    }
}

/// The commands that add items to their tables, one for each set.
pub fn add_text(table: &str, items: &BTreeSet<Item>) -> String {
    let mut text = String::new();
    for item in items {
        if let Item::Limit { family, name, rate, burst } = item {
            let family = family.word();
            let _ = writeln!(
                text,
                "add limit {family} {table} {name} {{ rate over {rate} bytes/second burst {burst} bytes; }}"
            );
        }
    }
    text.push_str(&elements("add", table, items));
    text
}

/// The commands that delete items; each must be there.
pub fn delete_text(table: &str, items: &BTreeSet<Item>) -> String {
    let mut text = elements("delete", table, items);
    for item in items {
        if let Item::Limit { family, name, .. } = item {
            let _ = writeln!(text, "delete limit {} {table} {name}", family.word());
        }
    }
    text
}

fn elements(verb: &str, table: &str, items: &BTreeSet<Item>) -> String {
    let mut text = String::new();
    let mut last = None;
    for item in items {
        let Item::Element { family, set, .. } = item else { continue };
        if last == Some((family, set)) {
            let _ = write!(text, ", {}", item.text());
        } else {
            let end = if last.is_some() { " }\n" } else { "" };
            let _ = write!(text, "{end}{verb} element {} {table} {set} {{ {}", family.word(), item.text());
            last = Some((family, set));
        }
    }
    if last.is_some() {
        text.push_str(" }\n");
    }
    text
}

/// What the tables hold for a host without tenants.
pub fn of_host(host: &HostFilter) -> BTreeSet<Item> {
    let mut items = BTreeSet::new();
    for net in &host.nat {
        let set = if net.address.is_ipv4() { "nat4" } else { "nat6" };
        items.insert(Item::element(Family::Inet, set, &[net], &[]));
    }
    for service in &host.services {
        items.insert(Item::element(Family::Inet, "services", &[&service.protocol, &service.port], &[]));
    }
    if !host.isolation {
        let families = [Family::Inet, Family::Bridge];
        items.extend(families.map(|family| Item::element(family, "open", &[&host.port_group], &[])));
    }
    items.extend([GATEWAY4.into(), GATEWAY6.into()].map(|own| taken_item(&own)));
    items
}

/// Bytes that are let through at once besides those of a second, which a limit of nft always grants: two of
/// the largest packets that a veth hands over, for rates that are below one in a second.
const BURST: u64 = 128 << 10;

/// What the tables hold for a tenant.
pub fn of_tenant(tenant: &TenantFilter) -> BTreeSet<Item> {
    let mut items = BTreeSet::new();
    for port in &tenant.ports {
        items.extend(of_port(port, tenant.rate.is_some()));
        let family = Family::of(port);
        if let Some(group) = &tenant.group {
            let number = group_number(group);
            items.insert(Item::element(family, "groups", &[&port.name], &[&number]));
            items.insert(Item::element(family, "members", &[&port.name, &number], &[]));
        }
        if let Some(bits) = tenant.rate {
            let rate = bits.bits() / 8;
            for direction in ["in", "out"] {
                let name = Item::limit_name(direction, tenant.tenant.as_str(), bits);
                items.insert(Item::element(family, &format!("rate_{direction}"), &[&port.name], &[&name]));
                items.insert(Item::Limit { family, name, rate, burst: BURST });
            }
        }
    }
    items.extend(of_forwards(tenant));
    items
}

/// An address as a key of `taken4` or `taken6`.
fn taken(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => target(*six),
    }
}

fn taken_item(address: &IpAddr) -> Item {
    let (family, set) = if address.is_ipv4() { (Family::Arp, "taken4") } else { (Family::Inet, "taken6") };
    Item::element(family, set, &[&taken(address)], &[])
}

/// An address as it lies in a neighbour advertisement.
fn target(address: Ipv6Addr) -> String {
    format!("0x{:x}", address.to_bits())
}

fn of_port(port: &FilterPort, is_rated: bool) -> Vec<Item> {
    let family = Family::of(port);
    let FilterPort { name, mac, .. } = port;
    let goes_on = if is_rated { "goto ration" } else { "goto spend" };
    let mut items = vec![Item::element(family, "macs", &[name, mac], &[])];
    for set in ["sent", "received", "refused", "limited"] {
        items.push(Item::element(family, set, &[name], &[]));
    }
    if !port.bridged {
        items.push(Item::element(Family::Arp, "macs", &[name, mac], &[]));
        items.push(Item::element(Family::Arp, "refused", &[name], &[]));
        items.extend(port.addresses.iter().map(taken_item));
    }
    if port.is_free() {
        items.push(Item::element(family, "free", &[name], &[]));
    }
    for source in port.sources() {
        match source {
            IpAddr::V4(four) => {
                items.push(Item::element(family, "pins4", &[name, mac, &four], &[&goes_on]));
                if !port.bridged {
                    items.push(Item::element(Family::Arp, "pins4", &[name, mac, &four], &[]));
                }
            }
            IpAddr::V6(six) => {
                items.push(Item::element(family, "pins6", &[name, mac, &six], &[&goes_on]));
                items.push(Item::element(family, "targets", &[name, &target(six)], &[]));
            }
        }
    }
    items
}

fn of_forwards(tenant: &TenantFilter) -> Vec<Item> {
    let (four, six) = tenant.targets();
    let targets = [("4", four.map(IpAddr::from)), ("6", six.map(IpAddr::from))];
    let mut items = Vec::new();
    for (number, target) in targets {
        let Some(target) = target.filter(|_| !tenant.forwards.is_empty()) else { continue };
        items.push(Item::element(Family::Inet, &format!("loops{number}"), &[&target, &target], &[]));
        for forward in &tenant.forwards {
            let key: [&dyn ToString; 2] = [&forward.protocol, &forward.host_port];
            let value: [&dyn ToString; 2] = [&target, &forward.tenant_port];
            items.push(Item::element(Family::Inet, &format!("forwards{number}"), &key, &value));
        }
    }
    items
}

/// The port of the host that an element of a map of forwards stands for.
pub fn forwarded_port(item: &Item) -> Option<(Protocol, u16)> {
    let Item::Element { set, key, .. } = item else { return None };
    let [protocol, port] = &key[..] else { return None };
    let protocol = match protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    set.starts_with("forwards").then_some((protocol, port.parse().ok()?))
}
