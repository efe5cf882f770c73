//! Pools of addresses: what lies in them, and what they may hand out.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::model::{ids::Index, net::Cidr};

/// An IPv4 network with its prefix length; host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool4 {
    network: Ipv4Addr,
    prefix: u8,
}

/// An IPv6 network with its prefix length; host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool6 {
    network: Ipv6Addr,
    prefix: u8,
}

/// A string that is not an address pool.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not an address pool: {reason}")]
pub struct InvalidPool {
    text: String,
    reason: &'static str,
}

fn split_prefix<A: FromStr>(text: &str, longest: u8) -> Result<(A, u8), InvalidPool> {
    let refuse = |reason| InvalidPool { text: text.chars().take(64).collect(), reason };
    let (address, prefix) = text.split_once('/').ok_or_else(|| refuse("it has no /prefix length"))?;
    let address = address.parse().map_err(|_| refuse("its address is malformed"))?;
    let prefix = prefix.parse().map_err(|_| refuse("its prefix length is not a number"))?;
    if !(8..=longest).contains(&prefix) {
        return Err(refuse("its prefix length is shorter than 8 or leaves no addresses"));
    }
    Ok((address, prefix))
}

impl FromStr for Pool4 {
    type Err = InvalidPool;

    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        let (network, prefix): (Ipv4Addr, u8) = split_prefix(text, 30)?;
        if network.to_bits() & (u32::MAX >> prefix) != 0 {
            return Err(InvalidPool { text: text.to_owned(), reason: "its host bits are not zero" });
        }
        Ok(Self { network, prefix })
    }
}

impl FromStr for Pool6 {
    type Err = InvalidPool;

    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        let (network, prefix): (Ipv6Addr, u8) = split_prefix(text, 120)?;
        if network.to_bits() & (u128::MAX >> prefix) != 0 {
            return Err(InvalidPool { text: text.to_owned(), reason: "its host bits are not zero" });
        }
        Ok(Self { network, prefix })
    }
}

impl Pool4 {
    /// The address number `index` of the pool, or none when the pool is smaller. Number 0 and the last
    /// one are never handed out.
    pub fn address(&self, index: Index) -> Option<Ipv4Addr> {
        let last = u32::MAX >> self.prefix;
        (index.get() < last).then(|| Ipv4Addr::from_bits(self.network.to_bits() + index.get()))
    }

    /// How many addresses it may hand out: all but the first and the last.
    pub fn size(&self) -> u32 {
        (u32::MAX >> self.prefix) - 1
    }

    /// The address that is `number` behind the first one; numbers are 1 to [`Self::size`].
    pub fn nth(&self, number: u32) -> Option<Ipv4Addr> {
        (1..=self.size()).contains(&number).then(|| Ipv4Addr::from_bits(self.network.to_bits() + number))
    }

    /// The number of an address that it may hand out.
    pub fn number(&self, address: Ipv4Addr) -> Option<u32> {
        let number = address.to_bits().checked_sub(self.network.to_bits())?;
        (1..=self.size()).contains(&number).then_some(number)
    }

    /// The last address, which is never handed out.
    pub fn last(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | (u32::MAX >> self.prefix))
    }

    /// Length of its prefix, 8 to 30.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn meets(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Whether the pool holds this address.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) & !(u32::MAX >> self.prefix) == 0
    }
}

impl Pool6 {
    /// The address number `index` of the pool, or none when the pool is smaller.
    pub fn address(&self, index: Index) -> Option<Ipv6Addr> {
        let last = u128::MAX >> self.prefix;
        let index = u128::from(index.get());
        (index < last).then(|| Ipv6Addr::from_bits(self.network.to_bits() + index))
    }

    /// How many addresses it may hand out, of those near its beginning: all but the first and the last,
    /// and never more than 2³² - 2.
    pub fn size(&self) -> u32 {
        u32::try_from((u128::MAX >> self.prefix) - 1).unwrap_or(u32::MAX - 1)
    }

    /// The address that is `number` behind the first one; numbers are 1 to [`Self::size`].
    pub fn nth(&self, number: u32) -> Option<Ipv6Addr> {
        let address = || Ipv6Addr::from_bits(self.network.to_bits() + u128::from(number));
        (1..=self.size()).contains(&number).then(address)
    }

    /// The number of an address that it may hand out.
    pub fn number(&self, address: Ipv6Addr) -> Option<u32> {
        let number = address.to_bits().checked_sub(self.network.to_bits())?;
        u32::try_from(number).ok().filter(|number| (1..=self.size()).contains(number))
    }

    /// The last address, which is never handed out.
    pub fn last(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network.to_bits() | (u128::MAX >> self.prefix))
    }

    /// Length of its prefix, 8 to 120.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn meets(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Whether the pool holds this address.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) & !(u128::MAX >> self.prefix) == 0
    }
}

macro_rules! pool_text {
    ($($pool:ty),*) => {$(
        impl fmt::Display for $pool {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.network, self.prefix)
            }
        }

        impl TryFrom<String> for $pool {
            type Error = InvalidPool;

            fn try_from(text: String) -> Result<Self, InvalidPool> {
                text.parse()
            }
        }

        impl From<$pool> for String {
            fn from(pool: $pool) -> Self {
                pool.to_string()
            }
        }
    )*};
}

pool_text!(Pool4, Pool6);

crate::model::reference::label!(
    /// Name of an address pool.
    PoolName,
    "a pool name"
);
crate::model::reference::label!(
    /// Name of a group of tenants.
    GroupName,
    "a group name"
);

/// A named pool of addresses, one `[[pool]]` of `hostd.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name; `default` is the pair `pool4` and `pool6`.
    pub name: PoolName,
    /// Its IPv4 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Pool4>,
    /// Its IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Pool6>,
    /// Routers of its network that tenants on a bridge or a macvlan use; they are never handed out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Whether packets of its routed tenants leave the host under the host's own address.
    #[serde(default)]
    pub nat: bool,
}

/// What makes a pool, or two of them, unusable.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PoolFault {
    /// Two pools have the name.
    #[error("there are two pools {0:?}")]
    Twice(String),
    /// The name belongs to `pool4` and `pool6`.
    #[error("the name \"default\" is reserved for `pool4` and `pool6`")]
    Reserved,
    /// It has neither `v4` nor `v6`.
    #[error("pool {0:?} has no addresses")]
    Empty(String),
    /// Two pools hold the same addresses.
    #[error("pool {pool:?} ({network}) overlaps pool {other:?} ({with})")]
    Overlap {
        /// The later one.
        pool: String,
        /// Its network.
        network: String,
        /// The earlier one.
        other: String,
        /// Its network.
        with: String,
    },
    /// A gateway that no tenant of the pool could reach.
    #[error("gateway {gateway} of pool {pool:?} {reason}")]
    Gateway {
        /// The pool.
        pool: String,
        /// The gateway.
        gateway: IpAddr,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl PoolFault {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Twice(_) | Self::Reserved => "rename the [[pool]] in hostd.toml",
            Self::Empty(_) => "set v4 = \"ADDRESS/PREFIX\", v6, or both in hostd.toml",
            Self::Overlap { .. } => "change one of them in hostd.toml; the default pools are pool4 and pool6",
            Self::Gateway { .. } => "use one gateway per address family, inside the pool or link-local",
        }
    }
}

impl Pool {
    /// The name of the pair `pool4` and `pool6`.
    pub const DEFAULT: &'static str = "default";

    /// Whether this is the pair `pool4` and `pool6`.
    pub fn is_default(&self) -> bool {
        self.name.as_str() == Self::DEFAULT
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.is_some_and(|v4| v4.contains(address)),
            IpAddr::V6(address) => self.v6.is_some_and(|v6| v6.contains(address)),
        }
    }

    /// An address of it with the length of its network's prefix.
    pub fn cidr(&self, address: IpAddr) -> Option<Cidr> {
        let prefix = match address {
            IpAddr::V4(_) => self.v4.map(|v4| v4.prefix()),
            IpAddr::V6(_) => self.v6.map(|v6| v6.prefix()),
        };
        prefix.filter(|_| self.contains(address)).map(|prefix| Cidr { address, prefix })
    }

    /// Why an address of it can be no tenant's.
    pub fn reserves(&self, address: IpAddr) -> Option<&'static str> {
        if self.gateways.contains(&address) {
            return Some("is the gateway");
        }
        self.is_edge(address).then_some("is the first or last address")
    }

    /// Whether it is the first address of its network, or the last one where that means everybody.
    fn is_edge(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.is_some_and(|v4| {
                let offset = address.to_bits() ^ v4.network.to_bits();
                v4.contains(address) && (offset == 0 || offset == u32::MAX >> v4.prefix)
            }),
            IpAddr::V6(address) => self.v6.is_some_and(|v6| address == v6.network),
        }
    }

    /// Its networks, as text.
    pub fn networks(&self) -> String {
        let networks = [self.v4.map(|v4| v4.to_string()), self.v6.map(|v6| v6.to_string())];
        networks.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Looks for what makes it unusable by itself.
    fn check(&self) -> Result<(), PoolFault> {
        let name = || self.name.to_string();
        if self.is_default() {
            return Err(PoolFault::Reserved);
        }
        if self.v4.is_none() && self.v6.is_none() {
            return Err(PoolFault::Empty(name()));
        }
        for (number, &gateway) in self.gateways.iter().enumerate() {
            let refuse = |reason| Err(PoolFault::Gateway { pool: name(), gateway, reason });
            let (link_local, in_family) = match gateway {
                IpAddr::V4(v4) => (v4.is_link_local(), self.v4.is_some()),
                IpAddr::V6(v6) => (v6.is_unicast_link_local(), self.v6.is_some()),
            };
            if self.gateways[..number].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
                return refuse("is a second one of the same address family");
            }
            if !in_family {
                return refuse("has an address family that the pool does not have");
            }
            if !self.contains(gateway) && !link_local {
                return refuse("is outside the pool");
            }
            if self.is_edge(gateway) {
                return refuse("is the first or last address of its network");
            }
        }
        Ok(())
    }

    fn overlap(&self, other: &Self) -> Option<PoolFault> {
        let fault = |network: String, with: String| PoolFault::Overlap {
            pool: self.name.to_string(),
            network,
            other: other.name.to_string(),
            with,
        };
        match (self.v4, other.v4) {
            (Some(own), Some(theirs)) if own.meets(&theirs) => {
                return Some(fault(own.to_string(), theirs.to_string()));
            }
            _ => {}
        }
        match (self.v6, other.v6) {
            (Some(own), Some(theirs)) if own.meets(&theirs) => {
                Some(fault(own.to_string(), theirs.to_string()))
            }
            _ => None,
        }
    }

    /// Looks for what makes a host's pools unusable; the default one comes first.
    ///
    /// # Errors
    /// The first fault.
    pub fn check_all(pools: &[Self]) -> Result<(), PoolFault> {
        for (number, pool) in pools.iter().enumerate().skip(1) {
            pool.check()?;
            for other in &pools[..number] {
                if other.name == pool.name {
                    return Err(PoolFault::Twice(pool.name.to_string()));
                }
                if let Some(fault) = pool.overlap(other) {
                    return Err(fault);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_hand_out_only_what_they_hold() {
        let pool: Pool4 = "10.0.0.0/30".parse().unwrap();
        let index = |i| Index::try_from(i).unwrap();
        assert_eq!(pool.address(index(2)), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(pool.address(index(3)), None);
        assert_eq!((pool.size(), pool.nth(0), pool.nth(3)), (2, None, None));
        assert_eq!(pool.nth(2).and_then(|address| pool.number(address)), Some(2));
        let wide: Pool6 = "fd00::/64".parse().unwrap();
        assert_eq!((wide.size(), wide.nth(wide.size()).is_some()), (u32::MAX - 1, true));
        assert!("10.0.0.1/24".parse::<Pool4>().is_err());
        assert!("10.0.0.0".parse::<Pool4>().is_err());
        assert!("fd00::/7".parse::<Pool6>().is_err());
    }
}
