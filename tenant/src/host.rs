//! `/etc/tenantry/hostd.toml`: the host's own settings.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::ids::{Index, UidRange};

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
        return Err(refuse("its prefix length leaves no room or is shorter than 8"));
    }
    Ok((address, prefix))
}

impl FromStr for Pool4 {
    type Err = InvalidPool;

    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        let (network, prefix): (Ipv4Addr, u8) = split_prefix(text, 30)?;
        if network.to_bits() & (u32::MAX >> prefix) != 0 {
            return Err(InvalidPool { text: text.to_owned(), reason: "it has host bits set" });
        }
        Ok(Self { network, prefix })
    }
}

impl FromStr for Pool6 {
    type Err = InvalidPool;

    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        let (network, prefix): (Ipv6Addr, u8) = split_prefix(text, 120)?;
        if network.to_bits() & (u128::MAX >> prefix) != 0 {
            return Err(InvalidPool { text: text.to_owned(), reason: "it has host bits set" });
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

crate::image::label!(
    /// Name of an address pool.
    PoolName,
    "a pool name"
);
crate::image::label!(
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

/// Who keeps tenants from forging addresses and from reaching each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Our own nft(8) tables.
    #[default]
    Nftables,
    /// Nobody: the admin's own firewall does.
    None,
}

/// The settings of one host. Every key has a default, so an empty file is a whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// First host uid of the tenants' ranges; a multiple of 65,536, at least 524,288.
    pub uid_base: UidRange,
    /// How many ranges of 65,536 uids follow it, so the most tenants this host can hold.
    pub uid_ranges: u32,
    /// Pool of the routed IPv4 addresses.
    pub pool4: Pool4,
    /// Pool of the routed IPv6 addresses.
    pub pool6: Pool6,
    /// Whether packets of tenants in these two pools leave the host under the host's own address.
    pub nat: bool,
    /// More pools, by name.
    pub pool: Vec<Pool>,
    /// Whether tenants that share no group are kept from each other.
    pub isolation: bool,
    /// Who filters tenants' packets.
    pub filter: Filter,
    /// Profile of tenants that name none.
    pub default_profile: String,
    /// Image of tenants that name none.
    pub default_image: String,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            uid_base: UidRange::try_from(524_288).expect("the first base is in range"),
            uid_ranges: 8_192,
            pool4: "10.115.0.0/16".parse().expect("the default pool is valid"),
            pool6: "fd74:656e:616e:7400::/64".parse().expect("the default pool is valid"),
            nat: false,
            pool: Vec::new(),
            isolation: true,
            filter: Filter::Nftables,
            default_profile: "shared-os".to_owned(),
            default_image: "debian".to_owned(),
        }
    }
}

impl HostConfig {
    /// Parses `hostd.toml`; unknown keys are errors.
    ///
    /// # Errors
    /// What [`crate::config::parse_toml`] says of the text.
    pub fn parse(text: &str) -> Result<Self, crate::config::ParseError> {
        crate::config::parse_toml(text)
    }

    /// The uid range of a tenant, or none when the pool is smaller.
    pub fn uid_range(&self, index: Index) -> Option<UidRange> {
        let slot = index.get() - 1;
        if slot >= self.uid_ranges {
            return None;
        }
        let base = u64::from(self.uid_base.base()) + u64::from(slot) * u64::from(UidRange::LEN);
        u32::try_from(base).ok()?.try_into().ok()
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
        assert!("10.0.0.1/24".parse::<Pool4>().is_err());
        assert!("10.0.0.0".parse::<Pool4>().is_err());
        assert!("fd00::/7".parse::<Pool6>().is_err());
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        assert_eq!(HostConfig::parse("").unwrap(), HostConfig::default());
        let error = HostConfig::parse("pool_4 = \"10.0.0.0/8\"").unwrap_err();
        assert!(error.to_string().contains("pool4"), "{error}");
    }
}
