//! `/run/tenantry/nics/NIC.json`: which tenant has which NIC of the host, and what the NIC was before.
//!
//! A claim is there before its NIC moves and goes when the NIC is home, so a process that finds one knows what
//! is left to do. Two tenants that ask for one NIC at the same moment both try to make its file; one of
//! them makes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    files::record,
    model::{
        name::TenantName,
        net::{LinkName, Mac},
    },
};

/// A NIC that a tenant has, and what it was on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicClaim {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// Who has it.
    pub tenant: TenantName,
    /// Its name on the host.
    pub nic: LinkName,
    /// Its interface index in the tenant, which the tenant cannot change.
    pub index_inside: u32,
    /// Its interface index on the host.
    pub index: u32,
    /// What the kernel says it is: `veth`, `macvlan`, …; none for hardware.
    pub kind: Option<String>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The one that is burned in.
    pub permanent: Option<Mac>,
    /// What it sits on, e.g. `pci 0000:03:00.0`.
    pub device: Option<String>,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// `IFF_*`, see netdevice(7).
    pub flags: u32,
    /// Its interface group.
    pub group: u32,
    /// Length of its queue, packets.
    pub queue: u32,
    /// Its description.
    pub alias: Option<String>,
    /// Its other names.
    pub altnames: Vec<String>,
}

impl NicClaim {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// The file that claims a NIC.
    pub fn path(dir: &Path, nic: &str) -> PathBuf {
        dir.join(format!("{nic}.json"))
    }

    /// The claim to a NIC; none if no tenant has it.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
    pub fn read(dir: &Path, nic: &str) -> io::Result<Option<Self>> {
        match record::read(&Self::path(dir, nic)) {
            Ok(text) => {
                let path = Self::path(dir, nic);
                let malformed = |error| io::Error::other(format!("{} is malformed: {error}", path.display()));
                serde_json::from_str(&text).map(Some).map_err(malformed)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Every claim, by NIC. A file that is no claim is none: it must not keep other tenants from starting.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn read_all(dir: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut claims = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let nic = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(nic) = nic.filter(|nic| !nic.starts_with('.')) {
                claims.extend(Self::read(dir, nic).ok().flatten());
            }
        }
        claims.sort_by(|one, other| one.nic.cmp(&other.nic));
        Ok(claims)
    }

    /// Makes the claim, whole or not at all: link(2) of a file that is written already, so that no process
    /// reads a part.
    ///
    /// # Errors
    /// `AlreadyExists` when another process has it; else the failing call's error.
    pub fn make(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let temporary = dir.join(format!(".{}.{}", self.nic, self.tenant));
        let text = serde_json::to_vec(self).expect("a claim has only types that JSON can hold");
        let made = fs::write(&temporary, text)
            .and_then(|()| fs::hard_link(&temporary, Self::path(dir, self.nic.as_str())));
        let removed = fs::remove_file(&temporary);
        made.and(removed)
    }

    /// Gives it up.
    ///
    /// # Errors
    /// The failing call's error; one that is gone already is fine.
    pub fn drop_from(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_file(Self::path(dir, self.nic.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn claim(nic: &str, tenant: &str) -> NicClaim {
        NicClaim {
            format_version: 1,
            tenant: tenant.parse().unwrap(),
            nic: nic.parse().unwrap(),
            index_inside: 1000,
            index: 7,
            kind: None,
            mac: Some("52:54:00:00:00:01".parse().unwrap()),
            permanent: Some("52:54:00:00:00:01".parse().unwrap()),
            device: Some("pci 0000:03:00.0".to_owned()),
            mtu: 1500,
            flags: 1,
            group: 0,
            queue: 1000,
            alias: None,
            altnames: vec!["enp3s0".to_owned()],
        }
    }

    #[test]
    fn of_many_claims_at_once_one_is_made() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let nic = format!("eth{round}");
            let makes = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|number| {
                        let (nic, dir) = (&nic, dir.path());
                        scope.spawn(move || claim(nic, &format!("tenant{number}")).make(dir).is_ok())
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(makes.iter().filter(|made| **made).count(), 1, "{nic}: {makes:?}");
            let winner = makes.iter().position(|made| *made).unwrap();
            let read = NicClaim::read(dir.path(), &nic).unwrap().unwrap();
            assert_eq!(read.tenant.as_str(), format!("tenant{winner}"));
        }
    }

    #[test]
    fn of_two_claims_one_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob) = (claim("eth2", "alice"), claim("eth2", "bob"));
        alice.make(dir.path()).unwrap();
        assert_eq!(bob.make(dir.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(NicClaim::read(dir.path(), "eth2").unwrap(), Some(alice.clone()));
        assert_eq!(NicClaim::read_all(dir.path()).unwrap(), std::slice::from_ref(&alice), "no file is left");
        fs::write(NicClaim::path(dir.path(), "eth3"), "?").unwrap();
        assert_eq!(NicClaim::read_all(dir.path()).unwrap().len(), 1, "what is no claim hides none");
        assert!(NicClaim::read(dir.path(), "eth3").unwrap_err().to_string().contains("eth3.json"));
        alice.drop_from(dir.path()).unwrap();
        alice.drop_from(dir.path()).unwrap();
        bob.make(dir.path()).unwrap();
        assert_eq!(NicClaim::read_all(&dir.path().join("none")).unwrap(), []);
    }
}
