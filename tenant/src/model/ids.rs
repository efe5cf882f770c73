//! Numbers and digests the host assigns.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};

/// The small number of a tenant on this host, 1 to 65,533. It names interfaces (`t<index>-<n>`) and
/// selects the uid range and the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Index(u32);

/// A number outside the range of its type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} {value} is outside {min}..={max}")]
pub struct OutOfRange {
    what: &'static str,
    value: u64,
    min: u64,
    max: u64,
}

impl Index {
    /// Largest index: a /16 without its network, gateway and broadcast addresses.
    pub const MAX: u32 = 65_533;

    /// The index as a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Index {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        if (1..=Self::MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(OutOfRange { what: "tenant index", value: value.into(), min: 1, max: Self::MAX.into() })
        }
    }
}

impl From<Index> for u32 {
    fn from(index: Index) -> Self {
        index.0
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 65,536 host uids (and the gids of the same numbers) that belong to one tenant: uid 0 of the tenant
/// is `base` on the host. See user_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct UidRange(u32);

impl UidRange {
    /// Number of ids in every range.
    pub const LEN: u32 = 65_536;
    /// Where ranges may start: the container range of systemd's UIDS-GIDS document.
    pub const BASES: RangeInclusive<u32> = 524_288..=1_878_982_656;

    /// The host uid of the tenant's root.
    pub fn base(self) -> u32 {
        self.0
    }

    /// The host id of the tenant's id.
    pub fn host_id(self, id: u16) -> u32 {
        self.0 + u32::from(id)
    }
}

impl TryFrom<u32> for UidRange {
    type Error = OutOfRange;

    fn try_from(base: u32) -> Result<Self, OutOfRange> {
        if Self::BASES.contains(&base) && base.is_multiple_of(Self::LEN) {
            return Ok(Self(base));
        }
        Err(OutOfRange {
            what: "uid range base (a multiple of 65536)",
            value: base.into(),
            min: (*Self::BASES.start()).into(),
            max: (*Self::BASES.end()).into(),
        })
    }
}

impl From<UidRange> for u32 {
    fn from(range: UidRange) -> Self {
        range.0
    }
}

impl fmt::Display for UidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.0 + (Self::LEN - 1))
    }
}

/// The SHA-256 content digest of an image version, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A string that is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a digest of the form sha256:<64 hex digits>")]
pub struct InvalidDigest(String);

impl Digest {
    /// A digest from the output of SHA-256.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }

    /// The version's directory name: `sha256-<64 hex digits>`.
    pub fn dir_name(&self) -> String {
        format!("sha256-{}", self.hex())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    /// Accepts `sha256:HEX` and the directory form `sha256-HEX`.
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let refuse = || InvalidDigest(text.chars().take(80).collect());
        let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-")).ok_or_else(refuse)?;
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_both_of_its_spellings() {
        let digest = Digest::from_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.dir_name().parse(), Ok(digest));
        assert!("sha256:00".parse::<Digest>().is_err());
        assert!(format!("sha256:{}", "G".repeat(64)).parse::<Digest>().is_err());
    }

    #[test]
    fn uid_ranges_are_aligned_and_inside_the_container_range() {
        assert_eq!(UidRange::try_from(524_288).unwrap().host_id(33), 524_321);
        assert!(UidRange::try_from(0).is_err());
        assert!(UidRange::try_from(524_289).is_err());
        assert!(UidRange::try_from(1_879_048_192).is_err());
    }
}
