//! The packet filter as hostd sees it: checked when it takes over, changed with a running tenant's
//! configuration, read for its counters. Supervisors put their tenants in; hostd takes out those that have ended.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tenant::{
    Tenant, TenantName,
    journal::id,
    kernel::{
        KernelError,
        nft::{
            self, FilterError, Remover, counters,
            listing::Count,
            repair::{self, Findings},
        },
    },
    model::filter::{HostFilter, TenantFilter},
};
use tokio::sync::Notify;
use wire::{Code, Failure, Traffic};

use crate::records::{Store, guard::held, unchanged::Stamp};

/// How long the elements of a tenant that has ended stay: those that end together leave the tables together.
pub const TOGETHER: Duration = Duration::from_millis(300);
/// For how long a look at the counters counts.
const FRESH: Duration = Duration::from_millis(500);

type Counts = BTreeMap<(String, String), Count>;

/// The ports of a tenant, and the record that says so.
type Ports = (Stamp, Vec<String>);

/// The packet filter of a host.
#[derive(Debug, Default)]
pub struct PacketFilter {
    counts: Mutex<Option<(Instant, Counts)>>,
    remover: Remover,
    /// Told when a tenant has ended.
    ended: Arc<Notify>,
    ports: Mutex<HashMap<TenantName, Ports>>,
}

/// A fault of the filter as it is told to people.
pub fn failure(error: &KernelError) -> Failure {
    let (code, help) = match FilterError::of(error) {
        Some(fault @ FilterError::Taken(_)) => (Code::Conflict, Some(fault.help())),
        Some(fault @ FilterError::NotInstalled) => (Code::Unenforceable, Some(fault.help())),
        Some(fault @ FilterError::Said(_)) => (Code::Failed, Some(fault.help())),
        None => (Code::Failed, None),
    };
    Failure { help: help.map(str::to_owned), ..Failure::of(code, error) }
}

/// What hostd.toml says of the filter; none where there is to be none.
///
/// # Errors
/// The file cannot be used.
pub fn of(store: &Store) -> Result<Option<HostFilter>, Failure> {
    Ok(HostFilter::of(store.layout(), &store.host_config()?))
}

impl PacketFilter {
    /// Takes all tenants that have ended out of the tables.
    pub fn remove_ended(&self, store: &Store) {
        if let Err(error) = self.remover.remove_ended(&HostFilter::bare(store.layout())) {
            log::error!("cannot remove stopped tenants from the packet filter: {}", wire::chain(&error));
        }
    }

    /// Takes a tenant out of the tables whose numbers are free from now on. It is not running.
    ///
    /// # Errors
    /// What nft says.
    pub fn forget(&self, store: &Store, name: &TenantName) -> Result<(), Failure> {
        self.remover.forget(&HostFilter::bare(store.layout()), name).map_err(|error| failure(&error))
    }

    /// A tenant has ended.
    pub fn tell_end(&self) {
        self.ended.notify_one();
    }

    /// By what the end of a tenant is told.
    pub fn ends(&self) -> Arc<Notify> {
        self.ended.clone()
    }

    /// Loads the rules where they are missing, and puts back what is missing of the tenants that run: an
    /// admin may have flushed the tables while no hostd was there.
    pub fn take_over(&self, store: &Store) {
        // Those that have ended are in nobody's way, and leave a moment later.
        self.tell_end();
        let repaired = match of(store) {
            Ok(None) => return,
            Ok(Some(host)) => repair::repair(&host).map_err(|error| failure(&error)),
            Err(failure) => Err(failure),
        };
        match repaired {
            Ok(findings) if findings.is_good() => {}
            // No process has touched what was not there yet.
            Ok(findings) if findings.is_first() => log::info!("packet filter: loaded"),
            Ok(findings) => {
                log::info!(MESSAGE_ID = id::FILTER_REPAIRED; "packet filter: {}", summary(&findings));
            }
            Err(failure) => log::error!("packet filter: {failure}"),
        }
    }

    /// Leaves nothing behind where no tenant needs it: hostd ends.
    pub fn leave(&self, store: &Store) {
        self.remove_ended(store);
        let left = match of(store) {
            Ok(None) => return,
            Ok(Some(host)) => repair::unload(&host).map_err(|error| failure(&error)),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = left {
            log::warn!("packet filter: {failure}");
        }
    }

    /// Gives a running tenant the group, the rate and the forwards of a new configuration; what it had before is the
    /// answer, where that was something else.
    ///
    /// # Errors
    /// A port leads to another tenant, or what nft says; nothing is changed then.
    pub fn change(
        &self,
        store: &Store,
        name: &TenantName,
        tenant: &Tenant,
    ) -> Result<Option<TenantFilter>, Failure> {
        let Some(host) = of(store)? else { return Ok(None) };
        let edit = |known: &mut TenantFilter| {
            known.group.clone_from(&tenant.group);
            known.rate = tenant.net_rate;
            known.forwards.clone_from(&tenant.forwards);
        };
        nft::change(&host, name, edit).map_err(|error| failure(&error))
    }

    /// Gives a running tenant what it had before a change.
    ///
    /// # Errors
    /// As [`PacketFilter::change`].
    pub fn put_back(&self, store: &Store, name: &TenantName, before: &TenantFilter) -> Result<(), Failure> {
        let Some(host) = of(store)? else { return Ok(()) };
        let edit = |known: &mut TenantFilter| known.clone_from(before);
        nft::change(&host, name, edit).map(drop).map_err(|error| failure(&error))
    }

    /// What went over a running tenant's ports; none where no process counts.
    pub fn traffic(&self, store: &Store, name: &TenantName) -> Option<Traffic> {
        self.all_traffic(store, std::slice::from_ref(name)).remove(name)
    }

    /// What went over the ports of running tenants. One that is not in the filter is left out.
    pub fn all_traffic(&self, store: &Store, names: &[TenantName]) -> HashMap<TenantName, Traffic> {
        let Ok(Some(host)) = of(store) else { return HashMap::new() };
        let ports: Vec<_> = names.iter().filter_map(|name| Some((name, self.ports(&host, name)?))).collect();
        if ports.is_empty() {
            return HashMap::new();
        }
        let mut held = held(&self.counts);
        if held.as_ref().is_none_or(|(since, _)| since.elapsed() > FRESH) {
            // An empty table is as good an answer as none: stat has more to tell.
            *held = Some((Instant::now(), counters::counts(&host).unwrap_or_default()));
        }
        let Some((_, counts)) = held.as_ref() else { return HashMap::new() };
        ports.into_iter().map(|(name, ports)| (name.clone(), sum(counts, &ports))).collect()
    }

    /// The ports of a tenant that is in the filter; its record is read again only when it is another one.
    fn ports(&self, host: &HostFilter, name: &TenantName) -> Option<Vec<String>> {
        let Some(stamp) = Stamp::of(&host.record(name)) else {
            held(&self.ports).remove(name);
            return None;
        };
        if let Some((_, ports)) = held(&self.ports).get(name).filter(|(read, _)| *read == stamp) {
            return Some(ports.clone());
        }
        let known = nft::known(host, name).ok()??;
        let ports: Vec<_> = known.ports.iter().map(|port| port.name.to_string()).collect();
        held(&self.ports).insert(name.clone(), (stamp, ports.clone()));
        Some(ports)
    }
}

/// What was counted at some ports.
fn sum(counts: &Counts, ports: &[String]) -> Traffic {
    let mut traffic = Traffic::default();
    for port in ports {
        let of = |set: &str| counts.get(&(set.to_owned(), port.clone())).copied().unwrap_or_default();
        traffic.sent_packets += of("sent").packets;
        traffic.sent_bytes += of("sent").bytes;
        traffic.received_packets += of("received").packets;
        traffic.received_bytes += of("received").bytes;
        traffic.refused_packets += of("refused").packets;
        traffic.limited_packets += of("limited").packets;
    }
    traffic
}

/// What was found, in a line.
pub fn summary(findings: &Findings) -> String {
    let mut parts = Vec::new();
    match &findings.rules {
        repair::Rules::Good => {}
        repair::Rules::Missing => parts.push("the tables are missing".to_owned()),
        repair::Rules::Changed(what) => parts.push(format!("the rules were changed: {what}")),
    }
    if findings.rules != repair::Rules::Missing {
        for (tenant, items) in &findings.missing {
            let whose = tenant.as_ref().map_or("the host".to_owned(), |name| format!("tenant \"{name}\""));
            parts.push(format!("{} elements of {whose} are missing", items.len()));
        }
    }
    if let Some(first) = findings.foreign.first() {
        parts.push(format!("{} elements belong to no running tenant, e.g. {first}", findings.foreign.len()));
    }
    parts.join("; ")
}
