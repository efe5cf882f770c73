//! What N tenants like those of this host take.

use std::collections::BTreeMap;

use tenant::{
    Tenant,
    config::{Attachment, Nic},
    model::{
        host::{Filter, HostConfig},
        ids::Index,
    },
};

use crate::{assign::holding, host::Host};

/// A pool and how many of it are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is wanted, e.g. `IPv4 addresses of pool "lan"`.
    pub what: String,
    /// How many.
    pub need: u64,
    /// How many there are.
    pub have: u64,
    /// What gives more of them.
    pub remedy: String,
}

/// What N tenants take that depends on their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many tenants in all.
    pub tenants: u64,
    /// How many exist.
    pub existing: u64,
    /// How many run.
    pub running: u64,
    /// Consoles and ttys of all of them.
    pub terminals: u64,
    /// Consoles and ttys of those that run.
    pub terminals_now: u64,
    /// Interfaces that are one end of a veth.
    pub veths: u64,
    /// Interfaces that are not routed and have neighbours: at a bridge or a NIC of the host.
    pub lan: u64,
    /// Ports of each bridge.
    pub bridges: BTreeMap<String, u64>,
    /// Whether the host tracks connections for them: our filter, and routed interfaces.
    pub tracked: bool,
    /// Uid ranges and addresses.
    pub pools: Vec<Wanted>,
}

/// What the files of the tenants that exist say, or the default profile where there are none.
#[derive(Clone, Copy, Debug)]
struct Sample<'a> {
    tenants: &'a [Tenant],
    wanted: u64,
}

impl Sample<'_> {
    /// What `wanted` tenants have of something, if they are like those of the sample: rounded up.
    fn scaled(&self, of: impl Fn(&Tenant) -> u64) -> u64 {
        scale(self.tenants.iter().map(of).sum(), self.tenants.len() as u64, self.wanted)
    }

    fn nics(&self, which: impl Fn(&Nic) -> bool) -> u64 {
        self.scaled(|tenant| tenant.nics.iter().filter(|nic| which(nic)).count() as u64)
    }
}

/// `sum` of `of` tenants, for `wanted` of them; rounded up.
fn scale(sum: u64, of: u64, wanted: u64) -> u64 {
    (sum * wanted).div_ceil(of.max(1))
}

fn is_routed(nic: &Nic) -> bool {
    matches!(nic.attachment, Attachment::Routed { .. })
}

impl Demand {
    /// What `wanted` tenants of this host take; none means those that exist, and one at least.
    pub fn of(host: &Host, wanted: Option<u32>) -> Self {
        let store = host.store();
        let records = store.records();
        let mut tenants: Vec<Tenant> = records.keys().filter_map(|name| store.tenant(name).ok()).collect();
        let terminals_now = tenants
            .iter()
            .filter(|tenant| host.units().is_running(&tenant.name))
            .map(|tenant| 1 + u64::from(tenant.ttys))
            .sum();
        if tenants.is_empty() {
            let name = "a".parse().expect("it is a name");
            tenants.extend(store.resolve_text(&name, ""));
        }
        let existing = records.len() as u64;
        let wanted = wanted.map_or(existing.max(1), u64::from);
        let config = store.host_config().unwrap_or_default();
        // What a pool holds for each tenant besides the addresses that go with its number.
        let mut leases: BTreeMap<(String, bool), u64> = BTreeMap::new();
        let pools = config.pools();
        for address in records.values().flat_map(|record| record.leases.iter().flat_map(holding::addresses)) {
            if let Some(pool) = pools.iter().find(|pool| pool.contains(address)) {
                *leases.entry((pool.name.to_string(), address.is_ipv4())).or_default() += 1;
            }
        }
        let running = records.keys().filter(|name| host.units().is_running(name)).count() as u64;
        let leased = leases.into_iter().map(|(pool, sum)| (pool, scale(sum, existing, wanted))).collect();
        Self {
            existing,
            running,
            terminals_now,
            pools: pools_of(&config, wanted, &leased),
            ..Self::like(&tenants, &config, wanted)
        }
    }

    /// What `wanted` tenants like these take; without any, like those of the shipped default profile.
    pub fn like(tenants: &[Tenant], config: &HostConfig, wanted: u64) -> Self {
        let sample = Sample { tenants, wanted };
        let mut bridges: BTreeMap<String, u64> = BTreeMap::new();
        for nic in tenants.iter().flat_map(|tenant| &tenant.nics) {
            if let Attachment::Bridge { bridge, .. } = &nic.attachment {
                *bridges.entry(bridge.to_string()).or_default() += 1;
            }
        }
        for ports in bridges.values_mut() {
            *ports = scale(*ports, tenants.len() as u64, wanted);
        }
        let routed = sample.nics(is_routed);
        let bridged = sample.nics(|nic| matches!(nic.attachment, Attachment::Bridge { .. }));
        Self {
            tenants: wanted,
            terminals: if tenants.is_empty() { 7 * wanted } else { sample.scaled(|t| 1 + u64::from(t.ttys)) },
            veths: routed + bridged,
            lan: sample.nics(|nic| !is_routed(nic)),
            bridges,
            tracked: config.filter == Filter::Nftables && routed > 0,
            pools: pools_of(config, wanted, &BTreeMap::new()),
            ..Self::default()
        }
    }
}

/// Uid ranges, the numbers of tenants, and the addresses of every pool.
fn pools_of(config: &HostConfig, tenants: u64, leases: &BTreeMap<(String, bool), u64>) -> Vec<Wanted> {
    // A range that would end behind the last uid is none.
    let fits = (1..=config.uid_ranges.min(Index::MAX))
        .rev()
        .find(|number| Index::try_from(*number).ok().and_then(|index| config.uid_range(index)).is_some());
    let mut list = vec![Wanted {
        what: "uid ranges".to_owned(),
        need: tenants,
        have: fits.unwrap_or(0).into(),
        remedy: "increase uid_ranges, or decrease uid_base, in hostd.toml".to_owned(),
    }];
    for pool in config.pools() {
        let families = [
            ("IPv4", true, "v4", pool.v4.map(|v4| v4.size())),
            ("IPv6", false, "v6", pool.v6.map(|v6| v6.size())),
        ];
        for (family, four, key, size) in families {
            let Some(size) = size else { continue };
            let name = pool.name.to_string();
            let leased = leases.get(&(name.clone(), four)).copied().unwrap_or(0);
            // Of the default pool every tenant has an address by its number, whether it uses it or not.
            let (need, key) = match pool.is_default() {
                true => (tenants + leased, format!("pool{}", &key[1..])),
                false => (leased, format!("{key} of the [[pool]] {name:?}")),
            };
            let gateways = pool.gateways.iter().filter(|gateway| gateway.is_ipv4() == four).count() as u64;
            if need > 0 {
                list.push(Wanted {
                    what: format!("{family} addresses of pool {name:?}"),
                    need,
                    have: u64::from(size).saturating_sub(gateways),
                    remedy: format!("set {key} to a larger network in hostd.toml"),
                });
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(text: &str) -> Tenant {
        let own = tenant::config::parse_toml(text).unwrap();
        let layout = tenant::Layout::new("/nonexistent");
        tenant::config::profile::resolve(&layout, &"alice".parse().unwrap(), own).unwrap()
    }

    #[test]
    fn more_tenants_are_like_those_that_exist() {
        let bridged = "[[nic]]\nmode = \"bridge\"\nlink = \"br0\"\n";
        let tenants =
            [tenant("ttys = 0\n"), tenant(&format!("ttys = 3\n{bridged}{bridged}")), tenant("ttys = 0\n")];
        let demand = Demand::like(&tenants, &HostConfig::default(), 10);
        assert_eq!(demand.terminals, 20, "6 of 3 tenants");
        assert_eq!(demand.bridges, BTreeMap::from([("br0".to_owned(), 7)]), "2 of 3 tenants, rounded up");
        assert_eq!((demand.veths, demand.lan, demand.tracked), (14, 7, true));
        let unfiltered = HostConfig { filter: Filter::None, ..HostConfig::default() };
        assert!(!Demand::like(&tenants, &unfiltered, 10).tracked);
    }

    #[test]
    fn pools_count_leases_and_the_addresses_that_go_with_a_number() {
        let config = HostConfig::parse(
            "uid_ranges = 100\npool4 = \"10.0.0.0/24\"\n[[pool]]\nname = \"lan\"\nv4 = \"192.168.7.0/29\"\n\
             gateways = [\"192.168.7.1\"]\n",
        )
        .unwrap();
        let leases = BTreeMap::from([(("lan".to_owned(), true), 9), (("default".to_owned(), true), 50)]);
        let pools = pools_of(&config, 300, &leases);
        let of = |what: &str| pools.iter().find(|w| w.what == what).map(|w| (w.need, w.have)).unwrap();
        assert_eq!(of("uid ranges"), (300, 100));
        assert_eq!(of("IPv4 addresses of pool \"default\""), (350, 254));
        assert_eq!(of("IPv4 addresses of pool \"lan\""), (9, 5), "6 without the gateway");
    }
}
