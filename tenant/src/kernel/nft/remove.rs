//! Tenants that have ended, out of the packet filter: many in one change, by a process that no tenant waits for.
//!
//! A supervisor leaves its tenant's elements where they are: the kernel frees what is deleted a grace period of RCU later,
//! and every process that closes a socket of nf_tables meanwhile waits for that. They lead nowhere: packets from a port that is
//! gone do not come, and a connection that a forwarded port leads to an address behind no port is dropped, see
//! `tenantry.nft`. A record without a supervisor says that they are there.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Mutex, PoisonError},
};

use super::{
    item::{self, Item, Key},
    lock::Lock,
    program::{Nft, failed},
    record::{read_record, remove_record},
    transaction::{Channel, Transaction},
};
use crate::{
    files::state,
    kernel::{Cause, Result},
    model::{
        filter::{HostFilter, TenantFilter},
        name::TenantName,
    },
};

/// How often a change is tried again that others came in between of.
const ATTEMPTS: usize = 10;
/// Tenants whose elements go in one transaction: it has to fit into the buffer of a socket.
const AT_ONCE: usize = 64;

/// Takes tenants out of the tables. It keeps its socket: to close one takes long right after something was deleted.
#[derive(Debug, Default)]
pub struct Remover(Mutex<Option<Channel>>);

impl Remover {
    /// Takes out all tenants that have no supervisor any more.
    ///
    /// # Errors
    /// What nft says; what is left is taken out by the next call.
    pub fn remove_ended(&self, host: &HostFilter) -> Result<()> {
        if names_of_ended(host).is_empty() {
            return Ok(());
        }
        let _lock = Lock::alone(host)?;
        // One that has started since is none of them.
        self.remove(host, &names_of_ended(host))
    }

    /// Takes out one tenant, if it is in the tables. It has no supervisor.
    ///
    /// # Errors
    /// Its record cannot be read, or what nft says.
    pub fn forget(&self, host: &HostFilter, name: &TenantName) -> Result<()> {
        if matches!(host.record(name).try_exists(), Ok(false)) {
            return Ok(());
        }
        let _lock = Lock::alone(host)?;
        self.remove(host, std::slice::from_ref(name))
    }

    fn remove(&self, host: &HostFilter, names: &[TenantName]) -> Result<()> {
        let others = items_besides(host, |name| names.contains(name));
        let kept = Kept::new(&others);
        for some in names.chunks(AT_ONCE) {
            let mut items = BTreeSet::new();
            for name in some {
                let known = read_record(host, name)?.unwrap_or_default();
                items.extend(kept.leaves(&known));
            }
            if !self.delete(host, &items) {
                clear(host, &items)?;
            }
            some.iter().try_for_each(|name| remove_record(host, name))?;
        }
        Ok(())
    }

    /// Whether it worked at once.
    fn delete(&self, host: &HostFilter, items: &BTreeSet<Item>) -> bool {
        let Some(transaction) = Transaction::new(&host.table, items, &BTreeSet::new()) else { return false };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = kept.take().or_else(|| Channel::open().ok()) else { return false };
        let is_done = transaction.commit(&channel).is_ok();
        // What was said of a failure is still in its socket.
        *kept = Some(channel).filter(|_| is_done);
        is_done
    }
}

/// What the records of others say is in the tables.
pub(super) struct Kept<'a> {
    items: &'a BTreeSet<Item>,
    /// The keys of sets and maps. The kernel removes an element by its key, whatever its value: a port that leads to another
    /// tenant by now is that one's.
    keys: BTreeSet<Key<'a>>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(items: &'a BTreeSet<Item>) -> Self {
        Self { items, keys: items.iter().filter_map(Item::key).collect() }
    }

    /// Of these tenants, what is nobody's when they have ended.
    pub(super) fn leaves(&self, ended: &[TenantFilter]) -> Vec<Item> {
        let is_free = |item: &Item| match item.key() {
            Some(key) => !self.keys.contains(&key),
            None => !self.items.contains(item),
        };
        ended.iter().flat_map(item::of_tenant).filter(is_free).collect()
    }
}

/// Removes those items that the tables hold.
fn clear(host: &HostFilter, items: &BTreeSet<Item>) -> Result<()> {
    let nft = Nft::find()?;
    let mut last = Cause::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let Some(listing) = nft.list(&host.table)? else { return Ok(()) };
        let there: BTreeSet<Item> = items.intersection(&listing.items).cloned().collect();
        if there.is_empty() {
            return Ok(());
        }
        match nft.run(&item::delete_text(&host.table, &there)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(failed(&host.table, last))
}

/// The tenants that have a record.
fn recorded(host: &HostFilter) -> impl Iterator<Item = TenantName> {
    let entries = fs::read_dir(&host.runtimes).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<TenantName>().ok());
    // One that cannot be looked for is told by who reads it.
    names.filter(|name| host.record(name).try_exists().unwrap_or(true))
}

fn names_of_ended(host: &HostFilter) -> Vec<TenantName> {
    recorded(host).filter(|name| !state::is_supervised(&host.runtimes, name)).collect()
}

/// What is known of tenants that are in the tables: of those that have a supervisor, by their names, and of those that have
/// ended.
pub(super) fn by_life(host: &HostFilter) -> (Vec<TenantFilter>, Vec<TenantFilter>) {
    let (mut running, mut ended) = (Vec::new(), Vec::new());
    for name in recorded(host) {
        let is_running = state::is_supervised(&host.runtimes, &name);
        let Ok(Some(mut known)) = read_record(host, &name) else { continue };
        // While one is being changed, the last is what it is to become.
        if is_running { running.extend(known.pop()) } else { ended.append(&mut known) }
    }
    running.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    (running, ended)
}

/// What is known of tenants that have ended and are still in the tables.
pub(super) fn ended(host: &HostFilter) -> Vec<TenantFilter> {
    names_of_ended(host).iter().filter_map(|name| read_record(host, name).ok()?).flatten().collect()
}

/// What the records say is in the tables, but for those of some tenants.
pub(super) fn items_besides(host: &HostFilter, is_other: impl Fn(&TenantName) -> bool) -> BTreeSet<Item> {
    let others = recorded(host).filter(|name| !is_other(name));
    others
        .filter_map(|name| read_record(host, &name).ok()?)
        .flatten()
        .flat_map(|known| item::of_tenant(&known))
        .collect()
}
