//! What can still be known of a tenant whose record is damaged: from the copy of the record, from what can be read of
//! the record itself, and from what its supervisor wrote down in `/run`.

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use tenant::{
    Allocation, Layout, TenantName,
    files::{
        record,
        state::{ProcessRef, RunState},
    },
    kernel::nft,
    model::{
        allocation::{Generation, Lease, Pinned},
        filter::HostFilter,
        ids::{Digest, Index, UidRange},
        image::ImageName,
    },
};

use super::{StoreError, broken::Broken};
use crate::assign::holding::Holding;

/// What is known of a tenant without its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// 32 hex digits.
    pub uuid: Option<String>,
    /// Its number.
    pub index: Option<Index>,
    /// Its uid range.
    pub uid_base: Option<UidRange>,
    /// Address of its first routed interface.
    pub ipv4: Option<Ipv4Addr>,
    /// The same, IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// When it was created.
    pub created: Option<String>,
    /// The version it boots.
    pub pinned: Option<Pinned>,
    /// Its leases; those of the copy alone.
    pub leases: Vec<Lease>,
    /// The versions that it had; those of the copy alone.
    pub generations: Vec<Generation>,
    /// More addresses that are its own, whatever for.
    addresses: Vec<IpAddr>,
    /// How often the record was written at least.
    pub generation: u64,
}

impl Traces {
    /// Everything that can be read of the tenant in `dir`, which is `name`'s own or is to go.
    pub fn of(layout: &Layout, dir: &Path, name: &TenantName) -> Self {
        let mut traces = Self::default();
        if let Ok(copy) = super::file::parse(&dir.join("allocation.copy.toml")) {
            traces.learn(copy.into());
        }
        traces.learn(Self::salvage(&text(&dir.join("allocation.toml"))));
        traces.learn(Self::salvage(&text(&dir.join("allocation.copy.toml"))));
        if *dir == layout.tenant(name) {
            traces.learn(Self::running(layout, name));
        }
        traces
    }

    /// What is held by the tenant, as far as it is known.
    pub fn holding(&self) -> Holding {
        let own = self.ipv4.map(IpAddr::from).into_iter().chain(self.ipv6.map(IpAddr::from));
        let leased = self.leases.iter().flat_map(crate::assign::holding::addresses);
        let mut addresses: Vec<_> = own.chain(leased).chain(self.addresses.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Holding { index: self.index, uid_base: self.uid_base, addresses }
    }

    /// Takes from another source what is not known yet.
    fn learn(&mut self, other: Self) {
        fn first<T>(known: &mut Option<T>, other: Option<T>) {
            if known.is_none() {
                *known = other;
            }
        }
        first(&mut self.uuid, other.uuid);
        first(&mut self.index, other.index);
        first(&mut self.uid_base, other.uid_base);
        first(&mut self.ipv4, other.ipv4);
        first(&mut self.ipv6, other.ipv6);
        first(&mut self.created, other.created);
        first(&mut self.pinned, other.pinned);
        if self.leases.is_empty() {
            self.leases = other.leases;
        }
        if self.generations.is_empty() {
            self.generations = other.generations;
        }
        self.addresses.extend(other.addresses);
        self.generation = self.generation.max(other.generation);
    }

    /// What single lines of a damaged record still say.
    fn salvage(text: &str) -> Self {
        let mut traces = Self::default();
        let (mut image, mut digest) = (None::<ImageName>, None::<Digest>);
        let mut is_top = true;
        // A last line that does not end may be half of one, and another number.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            is_top &= !line.trim_start().starts_with('[');
            let Ok(pair) = line.parse::<toml::Table>() else { continue };
            for (key, value) in pair {
                let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
                let word = value.as_str().unwrap_or_default();
                match key.as_str() {
                    "uuid" => traces.uuid = Some(word.to_owned()).filter(|uuid| is_uuid(uuid)),
                    "index" => traces.index = number.and_then(|number| number.try_into().ok()),
                    "uid_base" => traces.uid_base = number.and_then(|number| number.try_into().ok()),
                    "ipv4" if is_top => traces.ipv4 = word.parse().ok(),
                    "ipv6" if is_top => traces.ipv6 = word.parse().ok(),
                    "ipv4" | "ipv6" => traces.addresses.extend(word.parse::<IpAddr>()),
                    "created" => traces.created = Some(word.to_owned()).filter(|word| is_time(word)),
                    // The present version stands before those that it had.
                    "image" if image.is_none() => image = word.parse().ok(),
                    "digest" if digest.is_none() => digest = word.parse().ok(),
                    "generation" => traces.generation = number.unwrap_or_default().into(),
                    _ => {}
                }
            }
        }
        traces.pinned = image.zip(digest).map(|(image, digest)| Pinned { image, digest });
        traces
    }

    /// What a supervisor wrote down, and its tenant's init shows.
    fn running(layout: &Layout, name: &TenantName) -> Self {
        let mut traces = Self::default();
        if let Ok(Some(known)) = nft::known(&HostFilter::bare(layout), name) {
            traces.index = known.ports.iter().find_map(|port| number_of_link(port.name.as_str()));
            traces.addresses = known.ports.into_iter().flat_map(|port| port.addresses).collect();
        }
        let state = RunState::read(&layout.run_state(name)).ok().flatten();
        if let Some(init) = state.filter(RunState::is_supervised).and_then(|state| state.init) {
            traces.uid_base = uid_of(init).and_then(|uid| uid.try_into().ok());
        }
        traces
    }
}

impl From<Allocation> for Traces {
    fn from(copy: Allocation) -> Self {
        Self {
            uuid: Some(copy.uuid).filter(|uuid| is_uuid(uuid)),
            index: Some(copy.index),
            uid_base: Some(copy.uid_base),
            ipv4: Some(copy.ipv4),
            ipv6: Some(copy.ipv6),
            created: Some(copy.created),
            pinned: Some(copy.pinned),
            leases: copy.leases,
            generations: copy.generations,
            addresses: Vec::new(),
            generation: copy.generation,
        }
    }
}

/// Whether a text is 128 bits as a record writes them.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_time(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
}

/// The number of the tenant whose port this is: `t<number>-<interface>`.
pub fn number_of_link(link: &str) -> Option<Index> {
    let (number, _) = link.strip_prefix('t')?.split_once('-')?;
    number.parse::<u32>().ok()?.try_into().ok()
}

/// The host's uid of a tenant's root, from the process that is its init.
fn uid_of(init: ProcessRef) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", init.pid)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uid = line.split_ascii_whitespace().next()?.parse().ok()?;
    init.is_alive().then_some(uid)
}

/// What can be read of a file as text; nothing where it is no file.
fn text(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        record::open(path)?.take(record::MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The tenant whose record cannot be used for this reason.
pub(crate) fn broken_because(layout: &Layout, name: &TenantName, problem: &StoreError) -> Broken {
    let is_newer = matches!(problem, StoreError::Allocation { source, .. } if source.is_newer());
    let holding = Traces::of(layout, &layout.tenant(name), name).holding();
    let is_absent =
        matches!(problem, StoreError::File(error) if error.kind() == std::io::ErrorKind::NotFound);
    let reason = match is_absent {
        true => format!("its record {:?} is missing", layout.allocation(name).as_os_str()),
        // The parser draws the place of a fault over several lines.
        false => wire::one_line(&wire::chain(problem)),
    };
    Broken { reason, holding, is_newer }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "format_version = 1\ngeneration = 7\nname = \"alice\"\nstate = \"ready\"\n\
        uuid = \"0123456789abcdef0123456789abcdef\"\nindex = 37\nuid_base = 655360\nipv4 = \"10.115.0.37\"\n\
        ipv6 = \"fd74:656e:616e:7400::3\"\ncreated = \"2026-01-02T03:04:05Z\"\n\n[pinned]\nimage = \"debian\"\n\
        digest = \"sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"\n\n[[lease]]\n\
        nic = \"lan0\"\npool = \"lan\"\nipv4 = \"192.168.7.2\"\n";

    #[test]
    fn every_line_of_a_damaged_record_that_can_be_read_counts() {
        let whole = Traces::salvage(RECORD);
        assert_eq!(whole.index.unwrap().get(), 37);
        assert_eq!(whole.pinned.as_ref().unwrap().image.as_str(), "debian");
        assert_eq!(whole.holding().addresses.len(), 3);
        let spoilt = RECORD.replace("name =", "\0\0=[").replace("uid_base = 655360", "uid_base = 6553");
        let traces = Traces::salvage(&spoilt);
        assert_eq!((traces.uid_base, traces.index, traces.generation), (None, whole.index, 7));
        for end in 0..RECORD.len() {
            let traces = Traces::salvage(&RECORD[..end]);
            assert!(traces.index.is_none_or(|index| index.get() == 37), "{end}");
            assert!(traces.uid_base.is_none_or(|uids| uids.base() == 655_360), "{end}");
        }
    }

    #[test]
    fn an_earlier_source_is_believed_before_a_later_one() {
        let mut traces = Traces::salvage("index = 3\n");
        traces.learn(Traces::salvage("index = 4\nipv4 = \"10.115.0.4\"\n"));
        assert_eq!((traces.index.unwrap().get(), traces.ipv4), (3, Some(Ipv4Addr::new(10, 115, 0, 4))));
    }

    #[test]
    fn a_port_tells_the_number_of_its_tenant() {
        assert_eq!(number_of_link("t17-0.0c6d").unwrap().get(), 17);
        assert_eq!(
            (number_of_link("eth0"), number_of_link("tx-1"), number_of_link("t0-1")),
            (None, None, None)
        );
    }
}
