//! `/etc/tenantry/hostd.toml`: the host's own settings.

use serde::{Deserialize, Serialize};

pub use crate::model::pool::{GroupName, InvalidPool, Pool, Pool4, Pool6, PoolFault, PoolName};
use crate::{
    config::{ParseError, parse_toml},
    model::{
        facts::HostFacts,
        ids::{Index, UidRange},
        limits::{DefaultLimits, DefaultMemory, DefaultTasks},
        net::Service,
    },
};

/// Who keeps tenants from forging addresses and from reaching each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Our own nft(8) tables.
    #[default]
    Nftables,
    /// None: the admin's own firewall does.
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
    /// Services of the host itself that tenants may reach, besides ping.
    pub host_services: Vec<Service>,
    /// Who filters tenants' packets.
    pub filter: Filter,
    /// Profile of tenants that name none.
    pub default_profile: String,
    /// Image of tenants that name none.
    pub default_image: String,
    /// Whether tenants boot only images that are signed by a key of `/etc/tenantry/keys`.
    pub require_signature: bool,
    /// Limit of memory of tenants that have none.
    pub default_memory_max: DefaultMemory,
    /// Limit of processes and threads of tenants that have none.
    pub default_tasks_max: DefaultTasks,
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
            host_services: Vec::new(),
            filter: Filter::Nftables,
            default_profile: "shared-os".to_owned(),
            default_image: "debian".to_owned(),
            require_signature: false,
            default_memory_max: DefaultMemory::Share(50),
            default_tasks_max: DefaultTasks(Some(4096)),
        }
    }
}

impl HostConfig {
    /// The limits of tenants that have none on a host with so many bytes of memory; with systemd they are those of
    /// `tenant@.service`.
    pub fn default_limits(&self, facts: &HostFacts, memory: u64) -> DefaultLimits {
        if facts.systemd {
            return DefaultLimits::default();
        }
        DefaultLimits {
            memory_max: self.default_memory_max.bytes(memory),
            tasks_max: self.default_tasks_max.0,
        }
    }
}

/// A `hostd.toml` that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HostConfigError {
    /// Not such a file.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Its pools make no sense.
    #[error(transparent)]
    Pool(#[from] PoolFault),
}

impl HostConfigError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Parse(_) => "correct the file, see hostd.toml(5)",
            Self::Pool(fault) => fault.help(),
        }
    }
}

impl HostConfig {
    /// Parses `hostd.toml`; unknown keys are errors.
    ///
    /// # Errors
    /// See [`HostConfigError`].
    pub fn parse(text: &str) -> Result<Self, HostConfigError> {
        let config: Self = parse_toml(text)?;
        Pool::check_all(&config.pools())?;
        Ok(config)
    }

    /// All pools, the default one first.
    pub fn pools(&self) -> Vec<Pool> {
        let default = Pool {
            name: Pool::DEFAULT.parse().expect("the name of the default pool is one"),
            v4: Some(self.pool4),
            v6: Some(self.pool6),
            gateways: Vec::new(),
            nat: self.nat,
        };
        std::iter::once(default).chain(self.pool.iter().cloned()).collect()
    }

    /// The pool that is named; none is the default one.
    pub fn find_pool(&self, name: Option<&PoolName>) -> Option<Pool> {
        let wanted = name.map_or(Pool::DEFAULT, PoolName::as_str);
        self.pools().into_iter().find(|pool| pool.name.as_str() == wanted)
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
    fn an_empty_file_is_a_whole_configuration() {
        assert_eq!(HostConfig::parse("").unwrap(), HostConfig::default());
        let services = HostConfig::parse("host_services = [\"53/udp\", \"22\"]").unwrap().host_services;
        assert_eq!(services.iter().map(ToString::to_string).collect::<Vec<_>>(), ["53/udp", "22/tcp"]);
        let error = HostConfig::parse("host_services = [\"dns\"]").unwrap_err();
        assert!(error.to_string().contains("\"dns\" is not a service"), "{error}");
        let error = HostConfig::parse("pool_4 = \"10.0.0.0/8\"").unwrap_err();
        assert!(error.to_string().contains("pool4"), "{error}");
    }

    #[test]
    fn what_the_package_ships_says_the_defaults() {
        let shipped = include_str!("../../../tests/xtask/src/deb/hostd.toml");
        assert_eq!(HostConfig::parse(shipped).unwrap(), HostConfig::default());
        let lines = shipped.lines().filter(|line| !line.starts_with("# "));
        let uncommented: Vec<&str> = lines.map(|line| line.trim_start_matches('#')).collect();
        let (keys, pool) = uncommented.split_at(uncommented.iter().position(|l| *l == "[[pool]]").unwrap());
        let table: toml::Table = keys.join("\n").parse().unwrap();
        let all: toml::Table = toml::Table::try_from(HostConfig::default()).unwrap();
        let expected = all.into_iter().filter(|(key, _)| key != "pool").collect();
        assert_eq!(table, expected, "every key, with its default");
        let whole = HostConfig::parse(&[keys, pool].concat().join("\n")).unwrap();
        assert_eq!(whole.pool.len(), 1);
    }

    fn fault(text: &str) -> String {
        let error = HostConfig::parse(text).unwrap_err();
        assert!(!error.help().is_empty());
        error.to_string()
    }

    #[test]
    fn named_pools_are_found_beside_the_default_one() {
        let config = HostConfig::parse(
            "[[pool]]\nname = \"lan\"\nv4 = \"192.168.7.0/24\"\ngateways = [\"192.168.7.1\"]\n\
             [[pool]]\nname = \"public\"\nv6 = \"2001:db8::/64\"\ngateways = [\"fe80::1\"]\nnat = true\n",
        )
        .unwrap();
        let lan = config.find_pool(Some(&"lan".parse().unwrap())).unwrap();
        assert_eq!(lan.cidr("192.168.7.9".parse().unwrap()).unwrap().to_string(), "192.168.7.9/24");
        assert_eq!(lan.cidr("192.168.8.9".parse().unwrap()), None);
        for address in ["192.168.7.0", "192.168.7.1", "192.168.7.255"] {
            assert!(lan.reserves(address.parse().unwrap()).is_some(), "{address}");
        }
        assert_eq!(lan.reserves("192.168.7.2".parse().unwrap()), None);
        assert!(config.find_pool(None).unwrap().is_default());
        assert_eq!(config.find_pool(Some(&"wan".parse().unwrap())), None);
    }

    #[test]
    fn pools_that_make_no_sense_are_refused_by_name() {
        let lan = "[[pool]]\nname = \"lan\"\n";
        for (text, says) in [
            ("[[pool]]\nname = \"default\"\nv4 = \"10.0.0.0/24\"\n".to_owned(), "\"default\" is reserved"),
            (lan.to_owned(), "pool \"lan\" has no addresses"),
            (format!("{lan}v4 = \"10.1.0.0/24\"\n{lan}v4 = \"10.2.0.0/24\"\n"), "two pools \"lan\""),
            (format!("{lan}v4 = \"10.115.7.0/24\"\n"), "overlaps pool \"default\" (10.115.0.0/16)"),
            (format!("{lan}v6 = \"fd74:656e:616e:7400::/60\"\n"), "overlaps pool \"default\""),
            (
                format!("{lan}v4 = \"10.1.0.0/24\"\n[[pool]]\nname = \"b\"\nv4 = \"10.1.0.128/25\"\n"),
                "pool \"b\" (10.1.0.128/25) overlaps pool \"lan\"",
            ),
            (format!("{lan}v4 = \"10.1.0.0/24\"\ngateways = [\"10.2.0.1\"]\n"), "10.2.0.1 of pool \"lan\""),
            (format!("{lan}v4 = \"10.1.0.0/24\"\ngateways = [\"10.1.0.0\"]\n"), "first or last"),
            (
                format!("{lan}v4 = \"10.1.0.0/24\"\ngateways = [\"fe80::1\"]\n"),
                "has an address family that the pool does not have",
            ),
            (
                format!("{lan}v4 = \"10.1.0.0/24\"\ngateways = [\"10.1.0.1\", \"10.1.0.2\"]\n"),
                "second one of the same address family",
            ),
        ] {
            let fault = fault(&text);
            assert!(fault.contains(says), "{text}: {fault}");
        }
    }
}
