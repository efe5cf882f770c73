//! What the host's packet filter holds for a tenant: from whom its ports may speak, whom they reach, how
//! fast, and which ports of the host lead to it.
//!
//! Only veths have an end on the host that can be filtered; a macvlan, a VLAN or a NIC that is moved in is
//! the tenant's alone, see `docs/reference/filter.md`.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Inputs, LinkPlan, NicPlan, PlanError, port_group};
use crate::{
    files::layout::Layout,
    model::{
        host::{Filter, GroupName, HostConfig},
        name::TenantName,
        net::{BitRate, Cidr, Forward, LinkName, Mac, Service},
    },
};

/// What is the same for all tenants of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFilter {
    /// Name of the tables, `inet` and `bridge`.
    pub table: String,
    /// The interface group of every port.
    pub port_group: u32,
    /// Whether tenants that share no group are kept from each other.
    pub isolation: bool,
    /// Services of the host itself that tenants may reach.
    pub services: BTreeSet<Service>,
    /// Networks whose packets leave the host under its own address; none lies in another.
    pub nat: Vec<Cidr>,
    /// Directory with one directory for each tenant that runs.
    pub runtimes: PathBuf,
    /// Held shared by whoever changes the elements of one tenant, alone by whoever loads the rules.
    pub lock: PathBuf,
}

/// What is known of one tenant. It lies beside its `state.json` while it is in the filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantFilter {
    /// The tenant.
    pub tenant: TenantName,
    /// The host's ends of its veths.
    pub ports: Vec<FilterPort>,
    /// Its group of tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Most bit/s in each direction, over all ports of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<BitRate>,
    /// Ports of the host that lead to the first addresses of its routed ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterPort {
    /// The host's name for it.
    pub name: LinkName,
    /// Whether it is a port of a bridge; otherwise the host routes.
    pub bridged: bool,
    /// The tenant's hardware address.
    pub mac: Mac,
    /// The tenant's addresses; none on a bridge whose DHCP server or router assigns them.
    pub addresses: Vec<IpAddr>,
}

/// The filter's part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterPlan {
    /// The host's part.
    pub host: HostFilter,
    /// The tenant's.
    pub tenant: TenantFilter,
}

impl HostFilter {
    /// The filter of a host; none where the admin has another one.
    pub fn of(layout: &Layout, config: &HostConfig) -> Option<Self> {
        if config.filter == Filter::None {
            return None;
        }
        let pools = config.pools();
        let networks = pools.iter().filter(|pool| pool.nat).flat_map(|pool| {
            let v4 = pool.v4.map(|v4| v4.to_string());
            v4.into_iter().chain(pool.v6.map(|v6| v6.to_string()))
        });
        let mut networks: Vec<Cidr> = networks.filter_map(|text| text.parse().ok()).collect();
        networks.sort_by_key(|net| (net.prefix, net.address));
        let mut nat: Vec<Cidr> = Vec::new();
        for net in networks {
            if !nat.iter().any(|wider| wider.contains(net.address)) {
                nat.push(net);
            }
        }
        let services = config.host_services.iter().copied().collect();
        Some(Self { isolation: config.isolation, services, nat, ..Self::bare(layout) })
    }

    /// Enough of it to find tenants in the tables and to take them out, whatever hostd.toml says.
    pub fn bare(layout: &Layout) -> Self {
        Self {
            table: layout.instance(),
            port_group: port_group(layout),
            isolation: true,
            services: BTreeSet::new(),
            nat: Vec::new(),
            runtimes: layout.runtimes(),
            lock: layout.run().join("filter.lock"),
        }
    }

    /// Where what is known of a tenant lies.
    pub fn record(&self, tenant: &TenantName) -> PathBuf {
        self.runtimes.join(tenant.as_str()).join("filter.json")
    }
}

impl FilterPort {
    /// The addresses it may speak from: its own, and the link-local one that a kernel makes from its
    /// hardware address, see RFC 4291, appendix A.
    pub fn sources(&self) -> Vec<IpAddr> {
        let [a, b, c, d, e, f] = self.mac.bytes();
        let tail = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f].map(u16::from);
        let group = |at: usize| tail[at] << 8 | tail[at + 1];
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, group(0), group(2), group(4), group(6));
        let mut sources = self.addresses.clone();
        if !sources.contains(&link_local.into()) {
            sources.push(link_local.into());
        }
        sources
    }

    /// Whether it may use any address, because somebody else assigns them.
    pub fn is_free(&self) -> bool {
        self.bridged && self.addresses.is_empty()
    }
}

impl TenantFilter {
    /// The addresses that its forwarded ports lead to.
    pub fn targets(&self) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let routed = self.ports.iter().filter(|port| !port.bridged);
        let all: Vec<IpAddr> = routed.flat_map(|port| port.addresses.iter().copied()).collect();
        let four = all.iter().find_map(|address| match address {
            IpAddr::V4(four) => Some(*four),
            IpAddr::V6(_) => None,
        });
        let six = all.iter().find_map(|address| match address {
            IpAddr::V6(six) => Some(*six),
            IpAddr::V4(_) => None,
        });
        (four, six)
    }
}

/// One line for each port, one for the host itself, then the forwards.
impl fmt::Display for FilterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, tenant } = self;
        for port in &tenant.ports {
            let family = if port.bridged { "bridge" } else { "inet" };
            write!(f, "filter      {} in table {family} {}: from {}", port.name, host.table, port.mac)?;
            for source in port.sources() {
                write!(f, " {source}")?;
            }
            if port.is_free() {
                write!(f, " or any other")?;
            }
            if let Some(group) = &tenant.group {
                write!(f, " group {group}")?;
            }
            if let Some(rate) = tenant.rate {
                write!(f, " at most {rate}bit/s")?;
            }
            writeln!(f)?;
        }
        let services: String = host.services.iter().map(|service| format!(", {service}")).collect();
        writeln!(f, "filter      of the host itself: ping{services}")?;
        for forward in &tenant.forwards {
            writeln!(
                f,
                "forward     port {}/{} to {}",
                forward.host_port, forward.protocol, forward.tenant_port
            )?;
        }
        Ok(())
    }
}

/// The number that stands for a group in the filter; never 0, which stands for none.
pub fn group_number(group: &GroupName) -> u32 {
    let hash: [u8; 32] = Sha256::digest(group.as_str()).into();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1)
}

/// Decides what the filter holds for a tenant with these interfaces; nothing if no port of it can be
/// filtered.
pub(super) fn plan(inputs: &Inputs<'_>, nics: &[NicPlan]) -> Result<Option<FilterPlan>, PlanError> {
    let Inputs { layout, tenant, host, .. } = inputs;
    let refuse = |key: &'static str, reason: &'static str| Err(PlanError::Filter { key, reason });
    let ports: Vec<FilterPort> = nics.iter().filter_map(port).collect();
    let Some(host) = HostFilter::of(layout, host) else {
        let reason = "hostd.toml says filter = \"none\", so nothing could see to it";
        return match (tenant.net_rate, &tenant.forwards[..]) {
            (Some(_), _) => refuse("net_rate", reason),
            (None, [_, ..]) => refuse("ports", reason),
            (None, []) => Ok(None),
        };
    };
    if tenant.net_rate.is_some() && ports.is_empty() {
        return refuse("net_rate", "only a routed or bridged interface can be limited, and it has none");
    }
    let tenant = TenantFilter {
        tenant: tenant.name.clone(),
        ports,
        group: tenant.group.clone(),
        rate: tenant.net_rate,
        forwards: tenant.forwards.clone(),
    };
    if !tenant.forwards.is_empty() && tenant.targets() == (None, None) {
        return refuse("ports", "they lead to the address of a routed interface, and it has none");
    }
    Ok((!tenant.ports.is_empty()).then_some(FilterPlan { host, tenant }))
}

fn port(nic: &NicPlan) -> Option<FilterPort> {
    let port = nic.port()?;
    Some(FilterPort {
        name: port.host_name.parse().ok()?,
        bridged: matches!(nic.link, LinkPlan::Bridge { .. }),
        mac: nic.mac?,
        addresses: nic.addresses.iter().map(|own| own.address).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_lie_in_others_are_left_out() {
        let text = "nat = true\n[[pool]]\nname = \"inner\"\nv4 = \"10.200.7.0/24\"\nnat = true\n";
        let config = HostConfig::parse(text).unwrap();
        let filter = HostFilter::of(&Layout::default(), &config).unwrap();
        let nat: Vec<String> = filter.nat.iter().map(ToString::to_string).collect();
        assert_eq!(nat, ["10.115.0.0/16", "10.200.7.0/24", "fd74:656e:616e:7400::/64"]);
        let none = HostConfig { filter: Filter::None, ..config };
        assert_eq!(HostFilter::of(&Layout::default(), &none), None);
    }

    #[test]
    fn a_port_may_speak_from_the_link_local_address_of_its_mac() {
        let port = FilterPort {
            name: "t1-0".parse().unwrap(),
            bridged: false,
            mac: "02:00:5e:10:00:01".parse().unwrap(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
        };
        let sources: Vec<String> = port.sources().iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["10.0.0.1", "fe80::5eff:fe10:1"]);
        assert!(!port.is_free());
    }

    #[test]
    fn groups_have_numbers_that_are_not_zero_and_differ() {
        let number = |name: &str| group_number(&name.parse().unwrap());
        assert_eq!(number("shop"), number("shop"));
        assert_ne!(number("shop"), number("shop2"));
        assert_ne!(number("shop"), 0);
    }
}
