//! Resource limits under systemd's own names, see systemd.resource-control(5).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A quantity that was given in a form this type does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what}: {expected}")]
pub struct InvalidQuantity {
    what: &'static str,
    text: String,
    expected: &'static str,
}

fn invalid(what: &'static str, text: &str, expected: &'static str) -> InvalidQuantity {
    InvalidQuantity { what, text: text.chars().take(64).collect(), expected }
}

/// A number of bytes; written as `4096`, `64K`, `512M`, `2G` or `1T` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || invalid("a size", text, "write bytes, with a suffix K, M, G or T, e.g. 512M");
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K') => (&text[..text.len() - 1], 10),
            Some(b'M') => (&text[..text.len() - 1], 20),
            Some(b'G') => (&text[..text.len() - 1], 30),
            Some(b'T') => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        }
        let number: u64 = digits.parse().map_err(|_| refuse())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A share of CPU time in percent of one CPU, `1%` to `100000%`; `200%` is two whole CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuQuota(u32);

impl CpuQuota {
    /// Percent of one CPU.
    pub fn percent(self) -> u32 {
        self.0
    }
}

impl FromStr for CpuQuota {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        text.strip_suffix('%')
            .and_then(|digits| digits.parse().ok())
            .filter(|percent| (1..=100_000).contains(percent))
            .map(Self)
            .ok_or_else(|| invalid("a CPU quota", text, "write a percentage of one CPU, 1% to 100000%"))
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A scheduling weight, 1 to 10,000; 100 is the kernel's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// The weight as a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for Weight {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        text.parse()
            .ok()
            .filter(|weight| (1..=10_000).contains(weight))
            .map(Self)
            .ok_or_else(|| invalid("a weight", text, "write a number from 1 to 10000"))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a value that TOML may hold as a string or as an integer, through its `FromStr`.
struct TextOrInteger<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = InvalidQuantity>> de::Visitor<'_> for TextOrInteger<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a non-negative integer")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextOrInteger(std::marker::PhantomData))
            }
        }
    )*};
}

/// A limit of memory for tenants that have none of their own: a share of the host's, `1%` to `100%`, a size, or `max`
/// for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultMemory {
    /// Percent of the host's memory.
    Share(u8),
    /// Bytes.
    Size(ByteSize),
    /// No limit.
    Max,
}

impl DefaultMemory {
    /// Bytes on a host with `total` bytes of memory; none is no limit.
    pub fn bytes(self, total: u64) -> Option<ByteSize> {
        match self {
            Self::Share(percent) => Some(ByteSize(total / 100 * u64::from(percent))),
            Self::Size(size) => Some(size),
            Self::Max => None,
        }
    }
}

impl FromStr for DefaultMemory {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || {
            invalid(
                "a default memory limit",
                text,
                "write a percentage of the host's memory (1% to 100%), a size of at least 4M, or max",
            )
        };
        if text == "max" {
            return Ok(Self::Max);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
            return percent.map(Self::Share).ok_or_else(refuse);
        }
        text.parse().ok().filter(|size: &ByteSize| size.0 >= 4 << 20).map(Self::Size).ok_or_else(refuse)
    }
}

impl fmt::Display for DefaultMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{percent}%"),
            Self::Size(size) => size.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

/// A limit of processes and threads for tenants that have none of their own: a number from 8 on, or `max` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultTasks(pub Option<u32>);

impl FromStr for DefaultTasks {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || invalid("a default task limit", text, "write a number from 8 to 4194304, or max");
        match text {
            "max" => Ok(Self(None)),
            _ => {
                let number = text.parse().ok().filter(|number| (8..=4_194_304).contains(number));
                number.map(|number| Self(Some(number))).ok_or_else(refuse)
            }
        }
    }
}

impl fmt::Display for DefaultTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("max"),
        }
    }
}

serde_as_text!(ByteSize, CpuQuota, Weight, DefaultMemory, DefaultTasks);

/// The limits of one tenant. What is absent is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// `CPUWeight=`: share against other tenants when the CPUs are busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<Weight>,
    /// `CPUQuota=`: most CPU time per wall-clock time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<CpuQuota>,
    /// `MemoryMax=`: bytes beyond which the out-of-memory killer runs inside the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<ByteSize>,
    /// `MemoryHigh=`: bytes beyond which the tenant is throttled and reclaimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<ByteSize>,
    /// `MemorySwapMax=`: bytes of swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_max: Option<ByteSize>,
    /// `TasksMax=`: processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u32>,
    /// `IOWeight=`: share of block I/O against other tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<Weight>,
    /// The keys whose values are this host's defaults and not in use wish for this tenant: where one cannot be
    /// enforced, the tenant runs without it.
    #[serde(skip)]
    pub by_default: Vec<&'static str>,
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

impl Limits {
    /// Sets the host's defaults where the tenant has no limit of its own.
    pub fn fill(&mut self, defaults: &DefaultLimits) {
        let memory = defaults.memory_max.filter(|max| self.memory_high.is_none_or(|high| high <= *max));
        if let (None, Some(max)) = (self.memory_max, memory) {
            self.memory_max = Some(max);
            self.by_default.push("memory_max");
        }
        if let (None, Some(most)) = (self.tasks_max, defaults.tasks_max) {
            self.tasks_max = Some(most);
            self.by_default.push("tasks_max");
        }
    }
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
        assert_eq!((filled.memory_max, filled.tasks_max), (Some(ByteSize(500 << 20)), Some(4096)));
        assert_eq!(filled.by_default, ["memory_max", "tasks_max"]);
        assert_eq!(fill(&none, "max", "max"), none);
        let own = Limits { tasks_max: Some(9), memory_high: Some(ByteSize(600 << 20)), ..none };
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
    fn sizes_are_exact_and_bounded() {
        assert_eq!("64K".parse(), Ok(ByteSize(65_536)));
        assert_eq!(ByteSize(3 << 30).to_string(), "3G");
        assert_eq!(ByteSize(1000).to_string(), "1000");
        for bad in ["", "K", "-1", "1.5G", "1g", "99999999T", "1 G"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn quota_and_weight_keep_to_their_ranges() {
        assert_eq!("150%".parse::<CpuQuota>().unwrap().percent(), 150);
        for bad in ["0%", "100", "100001%", "-5%"] {
            assert!(bad.parse::<CpuQuota>().is_err(), "{bad:?} was accepted");
        }
        assert!("0".parse::<Weight>().is_err());
        assert!("10001".parse::<Weight>().is_err());
    }
}
