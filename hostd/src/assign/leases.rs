//! IPAM: which addresses of which pool an interface has.
//!
//! A lease stays with its interface as long as the tenant's file wants it; one that is given back is the
//! last of its pool to be handed out again.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use tenant::{
    Allocation, TenantName,
    config::{Attachment, Nic},
    model::{
        allocation::Lease,
        host::{HostConfig, Pool, PoolName},
    },
};

use super::holding::{Taken, addresses};
use crate::records::StoreError;

/// The number handed out last, for each pool and family.
#[derive(Clone, Debug, Default)]
pub struct Cursors(BTreeMap<(PoolName, bool), u32>);

/// Leases that fit the interfaces of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// Those that its interfaces want, in their order.
    pub wanted: Vec<Lease>,
    /// Those that it has and nothing wants any more.
    pub unwanted: Vec<Lease>,
}

impl Fitted {
    /// All of them: what a record says until the new file is written, and until the tenant starts again.
    pub fn all(&self) -> Vec<Lease> {
        self.wanted.iter().chain(&self.unwanted).cloned().collect()
    }
}

/// Whether an interface takes addresses of the default pool because nothing else is said.
fn takes_default(nic: &Nic) -> bool {
    matches!(nic.attachment, Attachment::Routed { pool: None }) && nic.addresses.is_empty()
}

/// The number of the interface that has the addresses of the tenant's record.
pub fn home(nics: &[Nic]) -> Option<usize> {
    nics.iter().position(takes_default)
}

/// The interfaces that need a lease.
fn leased(nics: &[Nic]) -> impl Iterator<Item = &Nic> {
    let home = home(nics);
    let needs = move |(number, nic): &(usize, &Nic)| {
        nic.attachment.pool().is_some() || (takes_default(nic) && home != Some(*number))
    };
    nics.iter().enumerate().filter(needs).map(|(_, nic)| nic)
}

/// The pool of an interface.
fn pool_of(config: &HostConfig, nic: &Nic) -> Result<Pool, StoreError> {
    let name = nic.attachment.pool();
    let refuse = |reason: String| StoreError::NoPool { nic: nic.name.to_string(), reason };
    let Some(pool) = config.find_pool(name) else {
        let known: Vec<_> = config.pools().iter().map(|pool| format!("{:?}", pool.name.as_str())).collect();
        let name = name.map_or(Pool::DEFAULT, PoolName::as_str);
        return Err(refuse(format!(
            "there is no pool {name:?} on this host; its pools are {}",
            known.join(", ")
        )));
    };
    if pool.is_default() && !matches!(nic.attachment, Attachment::Routed { .. }) {
        return Err(refuse("only routed interfaces can use the default pool".to_owned()));
    }
    Ok(pool)
}

/// The number of an address in its pool.
fn number(pool: &Pool, address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => pool.v4?.number(address),
        IpAddr::V6(address) => pool.v6?.number(address),
    }
}

impl Cursors {
    /// Cursors that go on behind the highest leases there are.
    pub fn behind(config: &HostConfig, records: &BTreeMap<TenantName, Allocation>) -> Self {
        let mut cursors = Self::default();
        let pools = config.pools();
        for address in records.values().flat_map(|record| record.leases.iter().flat_map(addresses)) {
            let Some(pool) = pools.iter().find(|pool| pool.contains(address)) else { continue };
            let Some(number) = number(pool, address) else { continue };
            let last = cursors.0.entry((pool.name.clone(), address.is_ipv4())).or_default();
            *last = number.max(*last);
        }
        cursors
    }

    /// The next free address of one family of a pool.
    fn next(
        &mut self,
        config: &HostConfig,
        pool: &Pool,
        four: bool,
        taken: (&Taken, &HashSet<IpAddr>),
    ) -> Result<Option<IpAddr>, StoreError> {
        let (theirs, mine) = taken;
        let nth = |number| -> Option<IpAddr> {
            if four { pool.v4?.nth(number).map(IpAddr::V4) } else { pool.v6?.nth(number).map(IpAddr::V6) }
        };
        let size = if four { pool.v4.map(|v4| v4.size()) } else { pool.v6.map(|v6| v6.size()) };
        let Some(size) = size else { return Ok(None) };
        let number_of = |address: &IpAddr| {
            if address.is_ipv4() == four { number(pool, *address) } else { None }
        };
        let last = self.0.entry((pool.name.clone(), four)).or_insert_with(|| {
            // The first numbers of the default pool are those that tenants get by their index.
            let first = if pool.is_default() { config.uid_ranges.min(size) } else { 0 };
            theirs.keys().chain(mine).filter_map(number_of).max().unwrap_or(0).max(first)
        });
        let start = (*last).min(size);
        for number in (start + 1..=size).chain(1..=start) {
            let Some(address) = nth(number) else { continue };
            let free = !theirs.contains_key(&address) && !mine.contains(&address);
            if free && pool.reserves(address).is_none() {
                *last = number;
                return Ok(Some(address));
            }
        }
        let family = if four { "IPv4" } else { "IPv6" };
        Err(StoreError::PoolFull {
            what: format!("all {family} addresses of pool {:?} ({})", pool.name.as_str(), pool.networks()),
        })
    }

    /// Makes the leases fit the interfaces: those that are still wanted stay as they are. `taken` are the
    /// addresses of all other tenants, and those of this one that are no leases.
    ///
    /// # Errors
    /// [`StoreError::NoPool`], [`StoreError::PoolFull`].
    pub fn fit(
        &mut self,
        config: &HostConfig,
        nics: &[Nic],
        current: &[Lease],
        taken: &Taken,
    ) -> Result<Fitted, StoreError> {
        let mut left = current.to_vec();
        let mut take = |nic: &Nic, by_name: bool| {
            let pool = nic.attachment.pool();
            let fits = |lease: &Lease| {
                lease.pool.as_ref() == pool
                    && if by_name {
                        lease.nic == nic.name
                    } else {
                        // An interface that was renamed keeps its addresses.
                        !nics.iter().any(|other| other.name == lease.nic)
                    }
            };
            let at = left.iter().position(fits)?;
            Some(Lease { nic: nic.name.clone(), ..left.remove(at) })
        };
        let mut wanted: Vec<(&Nic, Option<Lease>)> = leased(nics).map(|nic| (nic, take(nic, true))).collect();
        for (nic, lease) in wanted.iter_mut().filter(|(_, lease)| lease.is_none()) {
            *lease = take(nic, false);
        }
        let own = wanted.iter().filter_map(|(_, lease)| lease.as_ref()).chain(&left);
        let mut mine: HashSet<IpAddr> = own.flat_map(addresses).collect();
        let mut fitted = Vec::new();
        for (nic, old) in wanted {
            let pool = pool_of(config, nic)?;
            // The default pool may be moved under its tenants, who keep what they have; an interface in
            // a network has addresses of that network.
            let stays = |address: &IpAddr| {
                !taken.contains_key(address)
                    && (pool.is_default() || (pool.contains(*address) && pool.reserves(*address).is_none()))
            };
            let mut lease =
                Lease { nic: nic.name.clone(), pool: nic.attachment.pool().cloned(), ipv4: None, ipv6: None };
            for four in [true, false] {
                let kept = old.iter().flat_map(addresses).find(|address| address.is_ipv4() == four);
                let address = match kept.filter(stays) {
                    Some(address) => Some(address),
                    None => self.next(config, &pool, four, (taken, &mine))?,
                };
                match address {
                    Some(IpAddr::V4(address)) => lease.ipv4 = Some(address),
                    Some(IpAddr::V6(address)) => lease.ipv6 = Some(address),
                    None => {}
                }
                mine.extend(address);
            }
            left.extend(old.filter(|old| *old != lease));
            fitted.push(lease);
        }
        Ok(Fitted { wanted: fitted, unwanted: left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nics(text: &str) -> Vec<Nic> {
        let own = tenant::config::parse_toml(text).unwrap();
        let layout = tenant::Layout::new("/nonexistent");
        tenant::config::profile::resolve(&layout, &"alice".parse().unwrap(), own).unwrap().nics
    }

    fn config() -> HostConfig {
        HostConfig::parse(
            "[[pool]]\nname = \"lan\"\nv4 = \"192.168.7.0/29\"\nv6 = \"fd07::/64\"\ngateways = [\"192.168.7.1\"]\n",
        )
        .unwrap()
    }

    const LAN: &str = "[[nic]]\nmode = \"bridge\"\nlink = \"br0\"\npool = \"lan\"\n";

    fn fours(leases: &[Lease]) -> Vec<String> {
        leases.iter().map(|lease| lease.ipv4.map(|v4| v4.to_string()).unwrap_or_default()).collect()
    }

    #[test]
    fn an_interface_gets_what_it_asks_for_and_keeps_it() {
        let (config, none) = (config(), Taken::new());
        let mut cursors = Cursors::default();
        let two = nics(&format!("{LAN}name = \"a\"\n{LAN}name = \"b\"\n"));
        let first = cursors.fit(&config, &two, &[], &none).unwrap();
        // Number 1 is the gateway.
        assert_eq!(fours(&first.wanted), ["192.168.7.2", "192.168.7.3"]);
        assert_eq!(first.wanted[0].ipv6.unwrap().to_string(), "fd07::1");
        let again = cursors.fit(&config, &two, &first.wanted, &none).unwrap();
        assert_eq!(again, first);
        let swapped = nics(&format!("{LAN}name = \"b\"\n{LAN}name = \"c\"\n"));
        let renamed = cursors.fit(&config, &swapped, &first.wanted, &none).unwrap();
        assert_eq!(fours(&renamed.wanted), ["192.168.7.3", "192.168.7.2"], "c is the a of before");
        assert!(renamed.unwanted.is_empty());
        let one = cursors.fit(&config, &nics(&format!("{LAN}name = \"b\"\n")), &first.wanted, &none).unwrap();
        assert_eq!(
            (fours(&one.wanted), fours(&one.unwanted)),
            (vec!["192.168.7.3".into()], vec!["192.168.7.2".into()])
        );
    }

    #[test]
    fn a_freed_address_is_the_last_to_be_used_again() {
        let (config, mut taken) = (config(), Taken::new());
        let mut cursors = Cursors::default();
        let lan = nics(LAN);
        for number in 0..5 {
            let fitted = cursors.fit(&config, &lan, &[], &taken).unwrap();
            let address = addresses(&fitted.wanted[0]).next().unwrap();
            assert_eq!(address.to_string(), format!("192.168.7.{}", number + 2));
            taken.insert(address, "bob".parse().unwrap());
        }
        let error = cursors.fit(&config, &lan, &[], &taken).unwrap_err();
        assert!(error.to_string().contains("all IPv4 addresses of pool \"lan\""), "{error}");
        taken.remove(&"192.168.7.4".parse::<IpAddr>().unwrap());
        taken.remove(&"192.168.7.6".parse::<IpAddr>().unwrap());
        let fitted = cursors.fit(&config, &lan, &[], &taken).unwrap();
        assert_eq!(fours(&fitted.wanted), ["192.168.7.4"], "the search goes round from number 6");
    }

    #[test]
    fn a_second_routed_interface_takes_an_address_that_no_index_stands_for() {
        let config = HostConfig::default();
        let routed = "[[nic]]\nmode = \"routed\"\n";
        let two = nics(&format!("{routed}{routed}"));
        assert_eq!(home(&two), Some(0));
        let fitted = Cursors::default().fit(&config, &two, &[], &Taken::new()).unwrap();
        assert_eq!(fitted.wanted.len(), 1);
        assert_eq!(
            (fitted.wanted[0].nic.as_str(), fours(&fitted.wanted)),
            ("eth1", vec!["10.115.32.1".to_owned()])
        );
        let own = nics(&format!("{routed}addresses = [\"10.115.9.9\"]\n"));
        assert!(Cursors::default().fit(&config, &own, &[], &Taken::new()).unwrap().wanted.is_empty());
    }

    #[test]
    fn a_moved_pool_gives_new_addresses_and_an_unknown_one_is_told() {
        let (config, none) = (config(), Taken::new());
        let lan = nics(LAN);
        let old = Cursors::default().fit(&config, &lan, &[], &none).unwrap().wanted;
        let moved = HostConfig::parse("[[pool]]\nname = \"lan\"\nv4 = \"10.8.0.0/24\"\n").unwrap();
        let fitted = Cursors::default().fit(&moved, &lan, &old, &none).unwrap();
        assert_eq!((fours(&fitted.wanted), fitted.wanted[0].ipv6), (vec!["10.8.0.1".to_owned()], None));
        assert_eq!(fitted.unwanted, old, "what runs still has it");
        let error = Cursors::default().fit(&HostConfig::default(), &lan, &[], &none).unwrap_err();
        assert!(
            error.to_string().contains("no pool \"lan\" on this host; its pools are \"default\""),
            "{error}"
        );
    }
}
