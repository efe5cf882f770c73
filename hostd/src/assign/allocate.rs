//! Which index, uid range and addresses a new tenant gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use tenant::{
    Allocation, TenantName,
    model::{
        host::HostConfig,
        ids::{Index, UidRange},
    },
};

use super::holding::{Holding, Taken};
use crate::records::StoreError;

/// What the host assigns by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The tenant's number.
    pub index: Index,
    /// Its uid range.
    pub uid_base: UidRange,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// The numbers that are in use.
#[derive(Clone, Debug, Default)]
pub struct Used {
    indices: BTreeSet<Index>,
    uids: BTreeSet<UidRange>,
}

impl Used {
    /// The numbers of these records, in whatever state, and of what is held besides.
    pub fn of<'a>(
        records: &BTreeMap<TenantName, Allocation>,
        held: impl IntoIterator<Item = &'a Holding>,
    ) -> Self {
        let mut used = Self {
            indices: records.values().map(|record| record.index).collect(),
            uids: records.values().map(|record| record.uid_base).collect(),
        };
        for holding in held {
            used.indices.extend(holding.index);
            used.uids.extend(holding.uid_base);
        }
        used
    }

    /// Whether a number and a uid range are free.
    pub fn leaves(&self, index: Index, uid_base: UidRange) -> bool {
        !self.indices.contains(&index) && !self.uids.contains(&uid_base)
    }

    /// The highest number.
    fn highest(&self) -> u32 {
        self.indices.last().map_or(0, |index| index.get())
    }
}

/// Hands out the lowest free number above the one handed out last, and starts over at the top: a number
/// that was just freed is the last to be used again.
#[derive(Clone, Debug, Default)]
pub struct Cursor(u32);

impl Cursor {
    /// A cursor that goes on behind the highest number in use.
    pub fn behind(used: &Used) -> Self {
        Self(used.highest())
    }

    /// The next free assignment; `taken` are all addresses in use.
    ///
    /// # Errors
    /// [`StoreError::PoolFull`] that names the smallest pool.
    pub fn next(
        &mut self,
        config: &HostConfig,
        used: &Used,
        taken: &Taken,
    ) -> Result<Assignment, StoreError> {
        let upwards = self.0.saturating_add(1)..=Index::MAX;
        let from_start = 1..=self.0.min(Index::MAX);
        // The first number that a pool does not have is just behind the end of the smallest.
        let mut smallest = None;
        for number in upwards.chain(from_start) {
            let Ok(index) = Index::try_from(number) else { continue };
            let uid_base = config.uid_range(index);
            let ipv4 = config.pool4.address(index);
            let ipv6 = config.pool6.address(index);
            let (Some(uid_base), Some(ipv4), Some(ipv6)) = (uid_base, ipv4, ipv6) else {
                smallest.get_or_insert_with(|| match (uid_base, ipv4) {
                    (None, _) => format!("all {} uid ranges (`uid_ranges`)", config.uid_ranges),
                    (_, None) => format!("all IPv4 addresses of {} (`pool4`)", config.pool4),
                    _ => format!("all IPv6 addresses of {} (`pool6`)", config.pool6),
                });
                continue;
            };
            // The pools may have been moved since a record was written: each is checked by itself.
            let free = used.leaves(index, uid_base)
                && !taken.contains_key(&ipv4.into())
                && !taken.contains_key(&ipv6.into());
            if free {
                self.0 = number;
                return Ok(Assignment { index, uid_base, ipv4, ipv6 });
            }
        }
        let what = smallest.unwrap_or_else(|| format!("all {} tenant numbers", Index::MAX));
        Err(StoreError::PoolFull { what })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tenant::model::allocation::{Pinned, RecordState};

    pub(crate) fn record(name: &str, at: Assignment) -> (TenantName, Allocation) {
        let name: TenantName = name.parse().unwrap();
        let allocation = Allocation {
            format_version: 1,
            generation: 1,
            name: name.clone(),
            state: RecordState::Ready,
            renaming: None,
            uuid: "0".repeat(32),
            index: at.index,
            uid_base: at.uid_base,
            ipv4: at.ipv4,
            ipv6: at.ipv6,
            created: "2026-01-02T03:04:05Z".to_owned(),
            pinned: Pinned {
                image: "debian".parse().unwrap(),
                digest: tenant::model::ids::Digest::from_bytes([0; 32]),
            },
            leases: Vec::new(),
            generations: Vec::new(),
        };
        (name, allocation)
    }

    fn used(records: &BTreeMap<TenantName, Allocation>) -> Used {
        Used::of(records, [])
    }

    fn taken(records: &BTreeMap<TenantName, Allocation>) -> Taken {
        let of = |(name, record): (&TenantName, &Allocation)| {
            [(record.ipv4.into(), name.clone()), (record.ipv6.into(), name.clone())]
        };
        records.iter().flat_map(of).collect()
    }

    #[test]
    fn a_freed_number_is_the_last_to_be_used_again() {
        let config = HostConfig { uid_ranges: 4, ..HostConfig::default() };
        let mut cursor = Cursor::default();
        let mut records = BTreeMap::new();
        for name in ["a", "b", "c"] {
            let at = cursor.next(&config, &used(&records), &taken(&records)).unwrap();
            records.extend([record(name, at)]);
        }
        records.remove(&"a".parse::<TenantName>().unwrap());
        let next = cursor.next(&config, &used(&records), &taken(&records)).unwrap();
        assert_eq!(next.index.get(), 4);
        records.extend([record("d", next)]);
        assert_eq!(cursor.next(&config, &used(&records), &taken(&records)).unwrap().index.get(), 1);
    }

    #[test]
    fn a_full_pool_is_named() {
        let cases = [
            (HostConfig { uid_ranges: 1, ..HostConfig::default() }, "uid_ranges"),
            (HostConfig { pool4: "10.0.0.0/30".parse().unwrap(), ..HostConfig::default() }, "pool4"),
            (HostConfig { pool6: "fd00::/120".parse().unwrap(), ..HostConfig::default() }, "pool6"),
        ];
        for (config, pool) in cases {
            let mut cursor = Cursor::default();
            let mut records = BTreeMap::new();
            let error = loop {
                match cursor.next(&config, &used(&records), &taken(&records)) {
                    Ok(at) => records.extend([record(&format!("t{}", at.index), at)]),
                    Err(error) => break error,
                }
            };
            assert!(error.to_string().contains(pool), "{error}");
            assert!(!records.is_empty());
        }
    }

    #[test]
    fn records_of_an_older_pool_keep_their_addresses() {
        let old = HostConfig::default();
        let mut cursor = Cursor::default();
        let mut records = BTreeMap::new();
        let at = cursor.next(&old, &used(&records), &taken(&records)).unwrap();
        records.extend([record("a", at)]);
        // The uid pool now begins one range later, so number 2 would get the range of number 1 … of it.
        let moved = HostConfig { uid_base: at.uid_base, pool4: "10.115.0.0/24".parse().unwrap(), ..old };
        let next = Cursor::default().next(&moved, &used(&records), &taken(&records)).unwrap();
        assert_ne!(next.ipv4, at.ipv4);
        assert_ne!(next.uid_base, at.uid_base);
    }

    #[test]
    fn what_is_held_besides_the_records_is_not_given_again() {
        let config = HostConfig { uid_ranges: 3, ..HostConfig::default() };
        let at = |number| Cursor(number).next(&config, &Used::default(), &Taken::new()).unwrap();
        let held = [
            Holding { index: Some(at(0).index), ..Holding::default() },
            Holding { uid_base: Some(at(1).uid_base), ..Holding::default() },
        ];
        let used = Used::of(&BTreeMap::new(), &held);
        let mut cursor = Cursor::behind(&used);
        assert_eq!(cursor.next(&config, &used, &Taken::new()).unwrap(), at(2));
        cursor
            .next(&config, &Used::of(&BTreeMap::from([record("c", at(2))]), &held), &Taken::new())
            .unwrap_err();
    }
}
