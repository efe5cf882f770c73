//! What the host's packet filter knows of a tenant.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    host::GroupName,
    name::TenantName,
    net::{BitRate, Cidr, Forward, LinkName, Mac, Service},
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
    /// Held shared by a process that changes the elements of one tenant, alone by a process that loads the rules.
    pub lock: PathBuf,
}

/// What is known of one tenant. It lies next to its `state.json` while it is in the filter.
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

impl HostFilter {
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

    /// Whether it may use any address, because another process assigns them.
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

/// The number that stands for a group in the filter; never 0, which stands for none.
pub fn group_number(group: &GroupName) -> u32 {
    let hash: [u8; 32] = Sha256::digest(group.as_str()).into();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
