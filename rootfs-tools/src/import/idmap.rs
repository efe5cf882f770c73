//! Which owner inside belongs to which owner on disk.

use std::str::FromStr;

/// Number of ids of a tenant.
const IDS: u64 = 1 << 16;

/// A range of ids: those of an unprivileged container are shifted on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// Whether it maps users.
    users: bool,
    /// Whether it maps groups.
    groups: bool,
    /// The first id inside.
    inside: u64,
    /// The first id on disk.
    outside: u64,
    /// How many.
    count: u64,
}

/// Why a text is not a range of ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a range of ids: {reason}")]
pub struct InvalidRange {
    text: String,
    reason: &'static str,
}

impl FromStr for IdRange {
    type Err = InvalidRange;

    /// `b:0:100000:65536` as lxc-usernsexec(1) takes it, or `u 0 100000 65536` as lxc.idmap has it: users (`u`), groups
    /// (`g`) or both (`b`); the first id inside, the first on disk, how many.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let refuse = |reason| InvalidRange { text: text.chars().take(64).collect(), reason };
        let fields: Vec<&str> = text.split([':', ' ', '\t']).filter(|field| !field.is_empty()).collect();
        let [kind, inside, outside, count] = fields[..] else {
            return Err(refuse("write KIND:INSIDE:ON-DISK:COUNT, e.g. b:0:100000:65536"));
        };
        let (users, groups) = match kind {
            "b" => (true, true),
            "u" => (true, false),
            "g" => (false, true),
            _ => return Err(refuse("it begins with neither u (users), g (groups) nor b (both)")),
        };
        let number = |field: &str| field.parse::<u32>().map(u64::from);
        let (Ok(inside), Ok(outside), Ok(count)) = (number(inside), number(outside), number(count)) else {
            return Err(refuse("a field is not a number from 0 to 4294967295"));
        };
        if count == 0 || inside + count > IDS {
            return Err(refuse("a tenant has the ids 0 to 65535"));
        }
        Ok(Self { users, groups, inside, outside, count })
    }
}

impl IdRange {
    fn map(&self, id: u64) -> Option<u32> {
        let at = id.checked_sub(self.outside).filter(|at| *at < self.count)?;
        u32::try_from(self.inside + at).ok()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meets = |a: u64, b: u64| a < b + other.count && b < a + self.count;
        (self.users && other.users || self.groups && other.groups)
            && (meets(self.inside, other.inside) || meets(self.outside, other.outside))
    }
}

/// All ranges; without any an id on disk is the id inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(Vec<IdRange>);

impl IdMap {
    /// A map of these ranges.
    ///
    /// # Errors
    /// Two of them overlap.
    pub fn new(ranges: Vec<IdRange>) -> Result<Self, OverlappingRanges> {
        for (at, range) in ranges.iter().enumerate() {
            if ranges[..at].iter().any(|other| range.overlaps(other)) {
                return Err(OverlappingRanges);
            }
        }
        Ok(Self(ranges))
    }

    /// Whether it maps anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user inside for the owner `id` on disk.
    pub fn user(&self, id: u64) -> Option<u32> {
        self.id(id, |range| range.users)
    }

    /// The same for a group.
    pub fn group(&self, id: u64) -> Option<u32> {
        self.id(id, |range| range.groups)
    }

    fn id(&self, id: u64, counts: impl Fn(&IdRange) -> bool) -> Option<u32> {
        if self.is_empty() {
            return u16::try_from(id).ok().map(u32::from);
        }
        self.0.iter().filter(|range| counts(range)).find_map(|range| range.map(id))
    }
}

/// Ranges that overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two ranges of ids overlap")]
pub struct OverlappingRanges;

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[&str]) -> Result<IdMap, OverlappingRanges> {
        IdMap::new(ranges.iter().map(|range| range.parse().unwrap()).collect())
    }

    #[test]
    fn ids_are_mapped_as_lxc_maps_them() {
        let none = IdMap::default();
        assert_eq!((none.user(65_535), none.user(65_536)), (Some(65_535), None));
        let map =
            map(&["u 0 100000 1000", "u 1000 1000 1", "u 1001 101001 64535", "g:0:200000:65536"]).unwrap();
        for (on_disk, inside) in [
            (100_000, Some(0)),
            (100_999, Some(999)),
            (101_000, None),
            (1000, Some(1000)),
            (0, None),
            (101_001, Some(1001)),
            (165_535, Some(65_535)),
            (165_536, None),
        ] {
            assert_eq!(map.user(on_disk), inside, "{on_disk}");
        }
        assert_eq!((map.group(200_004), map.group(100_004)), (Some(4), None));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for text in [
            "",
            "100000",
            "b:0:100000",
            "x:0:1:1",
            "b:0:x:1",
            "b:0:100000:0",
            "b:0:100000:65537",
            "b:1:0:65536",
        ] {
            assert!(text.parse::<IdRange>().is_err(), "{text}");
        }
        assert!(map(&["b:0:100000:1000", "u:999:200000:1"]).is_err());
        assert!(map(&["u:0:100000:1000", "u:2000:100999:1"]).is_err());
        assert!(map(&["u:0:100000:1000", "g:0:100000:1000"]).is_ok());
    }
}
