//! Quantities as people write them: sizes, shares, weights, counts and times; each in one form that is shown.

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

/// Whether a text stands for no limit at all.
fn is_unlimited(text: &str) -> bool {
    text.eq_ignore_ascii_case("max") || text.eq_ignore_ascii_case("infinity")
}

/// A number without a sign.
fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// A number of bytes; shown as `4096`, `64K`, `512M`, `2G`, `1T` or `1P` (powers of 1024), or `max` for no limit.
/// `1g`, `1GiB` and `infinity` are understood as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// No limit.
    pub const MAX: Self = Self(u64::MAX);
    const UNITS: [(u32, char); 5] = [(50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
}

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || invalid("a size", text, "write bytes, with a suffix K, M, G or T, e.g. 512M");
        let text = text.trim();
        if is_unlimited(text) {
            return Ok(Self::MAX);
        }
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number = digits(&text[..end]).ok_or_else(refuse)?;
        // A unit of powers of 1000 (kB, MB) would be taken for one of 1024.
        let unit = text[end..].to_ascii_uppercase();
        let unit = unit.strip_suffix("IB").unwrap_or(&unit);
        let shift = match (unit, end == text.len()) {
            ("" | "B", _) => 0,
            (unit, _) => {
                let known = Self::UNITS.iter().find(|(_, letter)| unit.chars().eq([*letter]));
                known.ok_or_else(refuse)?.0
            }
        };
        number.checked_mul(1 << shift).filter(|bytes| *bytes != u64::MAX).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            return f.write_str("max");
        }
        for (shift, unit) in Self::UNITS {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A share of CPU time in percent of one CPU, `1%` to `100000%`; `200%` is two whole CPUs, `max` all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuQuota(u32);

impl CpuQuota {
    /// No limit.
    pub const MAX: Self = Self(u32::MAX);

    /// Percent of one CPU.
    pub fn percent(self) -> u32 {
        self.0
    }
}

impl FromStr for CpuQuota {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        if is_unlimited(text) {
            return Ok(Self::MAX);
        }
        text.trim()
            .strip_suffix('%')
            .and_then(|number| digits(number.trim_end()))
            .filter(|percent| (1..=100_000).contains(percent))
            .and_then(|percent| percent.try_into().ok())
            .map(Self)
            .ok_or_else(|| invalid("a CPU quota", text, "write a percentage of one CPU, 1% to 100000%"))
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX { f.write_str("max") } else { write!(f, "{}%", self.0) }
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
        digits(text.trim())
            .filter(|weight| (1..=10_000).contains(weight))
            .and_then(|weight| weight.try_into().ok())
            .map(Self)
            .ok_or_else(|| invalid("a weight", text, "write a number from 1 to 10000"))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many of something there may be, or `max` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

impl Count {
    /// No limit.
    pub const MAX: Self = Self(u64::MAX);
}

impl FromStr for Count {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        if is_unlimited(text) {
            return Ok(Self::MAX);
        }
        // TOML has no greater numbers.
        let number = digits(text.trim()).filter(|number| i64::try_from(*number).is_ok());
        number.map(Self).ok_or_else(|| invalid("a number", text, "write digits, or max"))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX { f.write_str("max") } else { self.0.fmt(f) }
    }
}

/// A time in whole seconds; `90s`, `2min`, `1h` and `1min 30s` are understood as well, see systemd.time(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u32);

impl FromStr for Seconds {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || invalid("a time", text, "write seconds, or e.g. 90s, 2min or 1h");
        let mut rest = text.trim();
        let mut sum = 0_u32;
        while {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u32 =
                digits(&rest[..end]).and_then(|number| number.try_into().ok()).ok_or_else(refuse)?;
            let unit = rest[end..].trim_start();
            let end = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
            let seconds = match &unit[..end] {
                "" | "s" | "sec" | "second" | "seconds" => 1,
                "m" | "min" | "minute" | "minutes" => 60,
                "h" | "hr" | "hour" | "hours" => 3600,
                _ => return Err(refuse()),
            };
            sum = number.checked_mul(seconds).and_then(|part| sum.checked_add(part)).ok_or_else(refuse)?;
            rest = unit[end..].trim_start();
            !rest.is_empty()
        } {}
        Ok(Self(sum))
    }
}

impl fmt::Display for Seconds {
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

macro_rules! read_as_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextOrInteger(std::marker::PhantomData))
            }
        }
    )*};
}

macro_rules! written_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::MAX { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
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
        if is_unlimited(text) {
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
        match is_unlimited(text) {
            true => Ok(Self(None)),
            false => {
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

read_as_text!(ByteSize, CpuQuota, Weight, Count, Seconds, DefaultMemory, DefaultTasks);
written_as_text!(ByteSize, CpuQuota, Weight, DefaultMemory, DefaultTasks);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_bounded() {
        for (text, bytes) in [
            ("64K", 65_536),
            ("1g", 1 << 30),
            ("1GiB", 1 << 30),
            ("1G", 1 << 30),
            ("7B", 7),
            ("max", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!("Infinity".parse(), Ok(ByteSize::MAX));
        assert_eq!(ByteSize(3 << 30).to_string(), "3G");
        assert_eq!(ByteSize(1000).to_string(), "1000");
        assert_eq!(ByteSize::MAX.to_string(), "max");
        for bad in ["", "K", "-1", "1.5G", "1GB", "99999999T", "1 G", "18446744073709551615", "1iB G"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn quota_and_weight_keep_to_their_ranges() {
        assert_eq!("150%".parse::<CpuQuota>().unwrap().percent(), 150);
        assert_eq!("max".parse(), Ok(CpuQuota::MAX));
        for bad in ["0%", "100", "100001%", "-5%", "+5%"] {
            assert!(bad.parse::<CpuQuota>().is_err(), "{bad:?} was accepted");
        }
        assert!("0".parse::<Weight>().is_err());
        assert!("10001".parse::<Weight>().is_err());
    }

    #[test]
    fn times_are_written_as_people_write_them() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("2min", 120), ("1min 30s", 90), ("1 h", 3600), ("1h2m3s", 3723)]
        {
            assert_eq!(text.parse(), Ok(Seconds(seconds)), "{text}");
        }
        for bad in ["", "s", "-1", "1.5min", "2 weeks", "1h x", "4294967296", "9999999h"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!("max".parse(), Ok(Count::MAX));
        assert!("+5".parse::<Count>().is_err() && "18446744073709551615".parse::<Count>().is_err());
    }
}
