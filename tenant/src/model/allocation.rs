//! What the host assigned to a tenant: `allocation.toml`.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::model::{
    host::PoolName,
    ids::{Digest, Index, UidRange},
    image::{Format, ImageName, ImageRef, VersionRef},
    name::TenantName,
    net::LinkName,
};

/// Where a record is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// The record is committed, the directories are being made.
    Creating,
    /// The tenant can be started.
    Ready,
    /// It gets another name; its directory may have the one or the other.
    Renaming,
    /// The directories are being removed.
    Destroying,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEvent {
    /// The directories are complete.
    Created,
    /// A client asked for the tenant to be destroyed, or its creation failed.
    Destroy,
    /// It is to have another name.
    Rename,
    /// It has that name, or again its old one.
    Renamed,
}

impl fmt::Display for RecordState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "being created",
            Self::Ready => "ready",
            Self::Renaming => "being renamed",
            Self::Destroying => "being destroyed",
        })
    }
}

impl fmt::Display for RecordEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "completed",
            Self::Destroy => "destroyed",
            Self::Rename => "renamed",
            Self::Renamed => "completed under its new name",
        })
    }
}

/// An event that a state does not admit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the record is {state}, so it cannot be {event}")]
pub struct Illegal {
    state: RecordState,
    event: RecordEvent,
}

impl RecordState {
    /// The only way a record changes its state.
    ///
    /// # Errors
    /// [`Illegal`] for every pair the life of a record does not have.
    pub fn next(self, event: RecordEvent) -> Result<Self, Illegal> {
        match (self, event) {
            (Self::Creating, RecordEvent::Created) | (Self::Renaming, RecordEvent::Renamed) => {
                Ok(Self::Ready)
            }
            (Self::Ready | Self::Renaming, RecordEvent::Rename) => Ok(Self::Renaming),
            (Self::Creating | Self::Ready | Self::Destroying, RecordEvent::Destroy) => Ok(Self::Destroying),
            (Self::Ready | Self::Destroying | Self::Renaming, RecordEvent::Created)
            | (Self::Renaming, RecordEvent::Destroy)
            | (Self::Creating | Self::Destroying, RecordEvent::Rename)
            | (Self::Creating | Self::Ready | Self::Destroying, RecordEvent::Renamed) => {
                Err(Illegal { state: self, event })
            }
        }
    }
}

/// The image version a tenant boots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub digest: Digest,
}

impl Pinned {
    /// What means this version and no other.
    pub fn reference(&self) -> ImageRef {
        ImageRef { image: self.image.clone(), version: VersionRef::Prefix(self.digest.hex()) }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.image, self.digest.short())
    }
}

/// A version that a tenant had, or has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub digest: Digest,
    /// Since when it is pinned to that, RFC 3339 in UTC.
    pub since: String,
}

impl Generation {
    /// The version alone.
    pub fn pinned(&self) -> Pinned {
        Pinned { image: self.image.clone(), digest: self.digest }
    }
}

/// Addresses that one interface has from a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The interface's name inside.
    pub nic: LinkName,
    /// The pool; none is the host's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

/// The allocation of one tenant, written by hostd alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// Counts the writes of this record.
    pub generation: u64,
    /// The tenant.
    pub name: TenantName,
    /// Where the record is in its life.
    pub state: RecordState,
    /// The name that it gets, in the state `renaming`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renaming: Option<TenantName>,
    /// 128 bits as 32 lower-case hex digits: the tenant's machine-id(5), MAC addresses and
    /// `container_uuid` follow from it.
    pub uuid: String,
    /// The tenant's number on this host.
    pub index: Index,
    /// First of the 65,536 host uids.
    pub uid_base: UidRange,
    /// Address of the first routed interface.
    pub ipv4: Ipv4Addr,
    /// Address of the first routed interface.
    pub ipv6: Ipv6Addr,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// The version it boots.
    pub pinned: Pinned,
    /// Addresses from pools, besides the two above: those of the first routed interface that names no pool.
    #[serde(default, rename = "lease", skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<Lease>,
    /// The versions that it had, the oldest first, and at the end the one it is pinned to; none of a tenant that an
    /// earlier release made and that has had no other version since. Read it by [`Self::history`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Generation>,
}

/// Why an allocation cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// Not an allocation.
    #[error("the allocation is malformed")]
    Malformed(#[from] toml::de::Error),
    /// Written by a newer release.
    #[error("the allocation has format_version {0}, but this release supports only 1")]
    Version(u32),
    /// Written by a newer release. It is not skipped: what is written back would lack it.
    #[error("the allocation has the key {0:?}, which this release does not know: a newer one has written it")]
    Key(String),
}

impl AllocationError {
    fn of(error: toml::de::Error) -> Self {
        let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        unknown.map(|key| Self::Key(key.to_owned())).unwrap_or(Self::Malformed(error))
    }

    /// Whether the record is for a newer release to read.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Key(_))
    }
}

impl Allocation {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;
    /// The most versions that are remembered; the oldest are forgotten.
    pub const MAX_GENERATIONS: usize = 32;

    /// The versions that it had, the oldest first; the last one is the present one.
    pub fn history(&self) -> Vec<Generation> {
        if self.generations.is_empty() {
            let Pinned { image, digest } = self.pinned.clone();
            return vec![Generation { image, digest, since: self.created.clone() }];
        }
        self.generations.clone()
    }

    /// The version that it had before the present one.
    pub fn previous(&self) -> Option<Pinned> {
        self.history().iter().rev().nth(1).map(Generation::pinned)
    }

    /// The last `count` versions that it had besides the present one, the newest first.
    pub fn earlier(&self, count: usize) -> Vec<Pinned> {
        let mut earlier = Vec::new();
        for version in self.history().iter().rev().map(Generation::pinned) {
            if earlier.len() < count && version != self.pinned && !earlier.contains(&version) {
                earlier.push(version);
            }
        }
        earlier
    }

    /// Pins it to a version, from a moment (RFC 3339 in UTC) on; whether that is another one.
    pub fn pin(&mut self, pinned: Pinned, since: String) -> bool {
        if pinned == self.pinned {
            return false;
        }
        self.generations = self.history();
        let Pinned { image, digest } = pinned.clone();
        self.generations.push(Generation { image, digest, since });
        let surplus = self.generations.len().saturating_sub(Self::MAX_GENERATIONS);
        self.generations.drain(..surplus);
        self.pinned = pinned;
        true
    }

    /// Parses `allocation.toml`.
    ///
    /// # Errors
    /// Text that is not TOML, has unknown keys or another `format_version`.
    pub fn parse(text: &str) -> Result<Self, AllocationError> {
        match toml::from_str::<Format>(text)?.format_version {
            Self::FORMAT_VERSION => toml::from_str(text).map_err(AllocationError::of),
            other => Err(AllocationError::Version(other)),
        }
    }

    /// The text of `allocation.toml`.
    pub fn render(&self) -> String {
        toml::to_string(self).expect("an allocation has only types that TOML can hold")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What release 0.1 wrote must be readable for ever.
    const GOLDEN_V1: &str = r#"format_version = 1
generation = 2
name = "alice"
state = "ready"
uuid = "0123456789abcdef0123456789abcdef"
index = 1
uid_base = 524288
ipv4 = "10.115.0.1"
ipv6 = "fd74:656e:616e:7400::1"
created = "2026-01-02T03:04:05Z"

[pinned]
image = "debian"
digest = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
"#;

    #[test]
    fn the_first_format_is_read_and_written_back_unchanged() {
        assert_eq!(Allocation::parse(GOLDEN_V1).unwrap().render(), GOLDEN_V1);
    }

    #[test]
    fn leases_stand_behind_what_every_record_has() {
        let with_leases = format!(
            "{GOLDEN_V1}\n[[lease]]\nnic = \"lan0\"\npool = \"lan\"\nipv4 = \"192.168.7.2\"\n\
             \n[[lease]]\nnic = \"eth1\"\nipv4 = \"10.115.32.1\"\nipv6 = \"fd74:656e:616e:7400::2001\"\n"
        );
        let allocation = Allocation::parse(&with_leases).unwrap();
        assert_eq!(allocation.leases.len(), 2);
        assert_eq!(allocation.render(), with_leases);
    }

    #[test]
    fn the_versions_it_had_are_remembered_in_order() {
        let mut allocation = Allocation::parse(GOLDEN_V1).unwrap();
        let first = allocation.pinned.clone();
        assert_eq!((allocation.history().len(), allocation.previous()), (1, None));
        let version = |byte| Pinned { digest: Digest::from_bytes([byte; 32]), ..first.clone() };
        assert!(allocation.pin(version(1), "2026-02-03T04:05:06Z".to_owned()));
        assert!(!allocation.pin(version(1), "2026-02-03T04:05:07Z".to_owned()));
        assert_eq!(allocation.previous(), Some(first.clone()));
        assert_eq!(allocation.history()[0].since, allocation.created);
        assert_eq!(Allocation::parse(&allocation.render()).unwrap(), allocation);
        for byte in 2..50 {
            allocation.pin(version(byte), "2026-02-03T04:05:06Z".to_owned());
        }
        assert_eq!(allocation.history().len(), Allocation::MAX_GENERATIONS);
        assert_eq!(allocation.history().last().unwrap().pinned(), version(49));
        assert_eq!(allocation.previous(), Some(version(48)));
        allocation.pin(version(48), "2026-02-03T04:05:06Z".to_owned());
        assert_eq!(allocation.previous(), Some(version(49)));
        assert_eq!(allocation.earlier(2), [version(49), version(47)]);
        assert!(allocation.earlier(0).is_empty());
    }

    #[test]
    fn a_newer_format_is_refused() {
        let newer = GOLDEN_V1.replace("format_version = 1", "format_version = 2");
        assert!(matches!(Allocation::parse(&newer), Err(AllocationError::Version(2))));
        let newer = GOLDEN_V1.replace("[pinned]", "weather = \"fair\"\n[pinned]");
        let error = Allocation::parse(&newer).unwrap_err();
        assert!(error.is_newer() && error.to_string().contains("the key \"weather\""), "{error}");
        let malformed = GOLDEN_V1.replace("index = 1", "index = \"one\"");
        assert!(!Allocation::parse(&malformed).unwrap_err().is_newer());
    }

    #[test]
    fn a_ready_record_is_never_created_again() {
        assert_eq!(RecordState::Creating.next(RecordEvent::Created), Ok(RecordState::Ready));
        assert!(RecordState::Ready.next(RecordEvent::Created).is_err());
        assert_eq!(RecordState::Destroying.next(RecordEvent::Destroy), Ok(RecordState::Destroying));
        assert_eq!(RecordState::Ready.next(RecordEvent::Rename), Ok(RecordState::Renaming));
        assert_eq!(RecordState::Renaming.next(RecordEvent::Renamed), Ok(RecordState::Ready));
        assert!(RecordState::Renaming.next(RecordEvent::Destroy).is_err(), "which name is to go?");
    }
}
