//! Resource limits under systemd's own names, see systemd.resource-control(5).
//!
//! Which there are is said in the table of keys ([`crate::config::KEYS`]): a limit is a number under the name of its
//! key, in the unit that the key has (bytes, percent of one CPU, a count, a weight).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap as _};

pub use super::quantity::{
    ByteSize, Count, CpuQuota, DefaultMemory, DefaultTasks, InvalidQuantity, Seconds, Weight,
};

/// The limits of one tenant. What is absent is unlimited, or limited by the tenant's unit; [`Limits::MAX`] is
/// unlimited whatever its unit says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    set: BTreeMap<String, u64>,
    /// The keys whose values are this host's defaults and were not set for this tenant: where one cannot be
    /// enforced, the tenant runs without it.
    pub by_default: Vec<&'static str>,
}

impl Limits {
    /// The value that stands for no limit.
    pub const MAX: u64 = u64::MAX;

    /// The limit of a key; [`Limits::MAX`] where the tenant is to have none.
    pub fn get(&self, key: &str) -> Option<u64> {
        self.set.get(key).copied()
    }

    /// The limit of a key, where there is one.
    pub fn most(&self, key: &str) -> Option<u64> {
        self.get(key).filter(|limit| *limit != Self::MAX)
    }

    /// Sets the limit of a key.
    pub fn set(&mut self, key: &str, limit: u64) {
        self.set.insert(key.to_owned(), limit);
    }

    /// All that are set, by their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.set.iter().map(|(key, limit)| (key.as_str(), *limit))
    }

    /// These limits without those of some keys.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let mut left = self.clone();
        left.set.retain(|key, _| !keys.contains(&key.as_str()));
        left
    }

    /// Sets the host's defaults where the tenant has no limit of its own.
    pub fn fill(&mut self, defaults: &DefaultLimits) {
        let (high, has_max) = (self.get("memory_high"), self.get("memory_max").is_some());
        let memory = defaults.memory_max.map(|max| max.0).filter(|max| high.is_none_or(|high| high <= *max));
        if let (false, Some(max)) = (has_max, memory) {
            self.set("memory_max", max);
            self.by_default.push("memory_max");
        }
        if let (None, Some(most)) = (self.get("tasks_max"), defaults.tasks_max) {
            self.set("tasks_max", most.into());
            self.by_default.push("tasks_max");
        }
    }
}

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.set.len()))?;
        for (key, limit) in &self.set {
            map.serialize_entry(key, &Count(*limit))?;
        }
        map.end()
    }
}

/// A limit as a number, or as a tenant's file writes it.
struct Amount(u64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a limit")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                u64::try_from(number).map(Amount).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                let size = text.strip_suffix('%').unwrap_or(text).parse::<ByteSize>();
                size.map(|size| Amount(size.0)).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let set = BTreeMap::<String, Amount>::deserialize(deserializer)?;
        let set = set.into_iter().map(|(key, Amount(limit))| (key, limit)).collect();
        Ok(Self { set, by_default: Vec::new() })
    }
}

/// The limits that protect a host from a tenant without settings. What is absent is unlimited, or limited
/// by the tenant's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultLimits {
    /// Of memory, bytes.
    pub memory_max: Option<ByteSize>,
    /// Of processes and threads.
    pub tasks_max: Option<u32>,
}

/// What a tenant may store in its directories below the state directory, see quota(5). What is absent is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLimits {
    /// Bytes, in whole KiB.
    pub max: Option<ByteSize>,
    /// Files, directories and whatever else has an inode.
    pub inodes: Option<u64>,
}

impl DiskLimits {
    /// Whether anything is limited.
    pub fn is_any(&self) -> bool {
        self.max.is_some() || self.inodes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_does_not_say_the_host_does() {
        let fill = |limits: &Limits, memory: &str, tasks: &str| {
            let mut limits = limits.clone();
            let memory_max = memory.parse::<DefaultMemory>().unwrap().bytes(1000 << 20);
            limits.fill(&DefaultLimits { memory_max, tasks_max: tasks.parse::<DefaultTasks>().unwrap().0 });
            limits
        };
        let none = Limits::default();
        let filled = fill(&none, "50%", "4096");
        assert_eq!((filled.get("memory_max"), filled.get("tasks_max")), (Some(500 << 20), Some(4096)));
        assert_eq!(filled.by_default, ["memory_max", "tasks_max"]);
        assert_eq!(fill(&none, "max", "max"), none);
        let own: Limits = toml::from_str("tasks_max = 9\nmemory_high = '600M'").unwrap();
        assert_eq!(
            fill(&own, "50%", "4096"),
            own,
            "what is said counts, and no limit lies below memory_high"
        );
        for text in ["0%", "101%", "1M", "", "half", "-1"] {
            assert!(text.parse::<DefaultMemory>().is_err(), "{text}");
        }
        for text in ["0", "7", "4194305", "", "many"] {
            assert!(text.parse::<DefaultTasks>().is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_read_as_numbers_and_as_a_file_writes_them() {
        let text = "cpu_quota = '150%'\ncpu_weight = '200'\nmemory_max = '1G'\nmemory_swap_max = 'max'\ntasks_max = 7\n";
        let limits: Limits = toml::from_str(text).unwrap();
        assert_eq!(
            limits.iter().map(|(_, limit)| limit).collect::<Vec<_>>(),
            [150, 200, 1 << 30, Limits::MAX, 7]
        );
        assert_eq!(limits.most("memory_swap_max"), None);
        assert_eq!(toml::from_str::<Limits>(&toml::to_string(&limits).unwrap()).unwrap(), limits);
        assert_eq!(limits.without(&["tasks_max", "cpu_quota"]).iter().count(), 3);
    }
}
