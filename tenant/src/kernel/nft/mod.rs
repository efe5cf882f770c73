//! The packet filter: our tables of nftables, by nft(8).
//!
//! The rules are loaded once, from `tenantry.nft`; a tenant is elements of their sets. What is known of a
//! tenant is written to its record before it goes into the tables, and the record goes after it has left
//! them: so whatever happens in between, a stop knows what to remove, and the tables can be made anew from
//! the records of the tenants that run.
//!
//! | file | what it handles |
//! |---|---|
//! | `item` | elements, as data and as text |
//! | `listing` | what nft says is there |
//! | `program` | running nft |
//! | `trial` | packets over a port that is no tenant's |
//! | `repair` | the tables against the records: loading, comparing, restoring |
//! | `mod` | one tenant: in, out, changed while it runs |

pub mod item;
pub mod listing;
mod program;
pub mod repair;
pub mod trial;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
};

use rustix::fs::{FlockOperation, flock};

pub use program::Nft;

use self::{
    item::Item,
    listing::Listing,
    repair::{restore, running},
};
use super::{KernelError, Result, program::Running};
use crate::{
    files::record::{self, Durability},
    model::{
        filter::{HostFilter, TenantFilter},
        name::TenantName,
    },
};

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to the last descriptor: a process cloned meanwhile has one too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// How often a change is tried again that others came in between of.
const ATTEMPTS: usize = 10;

/// Why the packet filter is not as it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    /// There is no nft(8).
    #[error("it is not installed")]
    NotInstalled,
    /// A port of the host is forwarded already.
    #[error("it is already forwarded to {0}")]
    Taken(String),
    /// What nft says first.
    #[error("nft: {0}")]
    Said(String),
}

impl FilterError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotInstalled => {
                "install it: apt-get install nftables; or disable the filter: filter = \"none\" in hostd.toml"
            }
            Self::Taken(_) => "choose another port: tenantctl set NAME ports=HOST:TENANT/tcp",
            Self::Said(_) => "check and repair the tables: tenantctl doctor --repair",
        }
    }

    /// The one behind an error, if it is one of these.
    pub fn of(error: &KernelError) -> Option<&Self> {
        error.source.get_ref()?.downcast_ref()
    }
}

/// The lock over the tables of one host.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// For a change of the elements of one tenant.
    fn shared(host: &HostFilter) -> Result<Self> {
        Self::take(host, FlockOperation::LockShared)
    }

    /// For a look at everything, or for loading the rules.
    fn alone(host: &HostFilter) -> Result<Self> {
        Self::take(host, FlockOperation::LockExclusive)
    }

    fn take(host: &HostFilter, operation: FlockOperation) -> Result<Self> {
        let take = || -> io::Result<File> {
            if let Some(dir) = host.lock.parent() {
                fs::create_dir_all(dir)?;
            }
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&host.lock)?;
            flock(&file, operation)?;
            Ok(file)
        };
        take().map(Self).map_err(|error| KernelError::new("lock", host.lock.display(), error))
    }
}

/// A change of a tenant's elements that nft is at work on.
/// What comes next cannot overtake it: dropping it waits for nft's end.
#[derive(Debug)]
pub struct Change {
    state: Option<(HostFilter, Wish)>,
    // Before the lock: it is let go when nft has ended.
    running: Option<Running>,
    _lock: Option<Lock>,
}

#[derive(Debug)]
enum Wish {
    Add(TenantFilter),
    Remove(TenantName, Vec<TenantFilter>),
}

/// Begins to put a tenant into the tables; they are loaded first where they are missing.
///
/// # Errors
/// Its record cannot be written, or there is no nft(8).
pub fn begin_add(host: &HostFilter, tenant: &TenantFilter) -> Result<Change> {
    let nft = Nft::find()?;
    let lock = Lock::shared(host)?;
    write_record(host, std::slice::from_ref(tenant))?;
    let text = item::add_text(&host.table, &item::of_tenant(tenant));
    Ok(Change {
        state: Some((host.clone(), Wish::Add(tenant.clone()))),
        // One that cannot be started now is tried again when the change is due.
        running: nft.spawn(&text).ok(),
        _lock: Some(lock),
    })
}

/// Begins to take a tenant out of the tables. Without a record it is not in them.
///
/// # Errors
/// Its record cannot be read.
pub fn begin_remove(host: &HostFilter, tenant: &TenantFilter) -> Result<Change> {
    begin_forget(host, &tenant.tenant, Some(tenant))
}

fn begin_forget(host: &HostFilter, name: &TenantName, planned: Option<&TenantFilter>) -> Result<Change> {
    let known = match read_record(host, name) {
        Ok(Some(known)) => known,
        Ok(None) => return Ok(Change { state: None, running: None, _lock: None }),
        Err(error) => planned.map(|planned| vec![planned.clone()]).ok_or(error)?,
    };
    let lock = Lock::shared(host)?;
    let running = match &known[..] {
        [one] => {
            let text = item::delete_text(&host.table, &item::of_tenant(one));
            Nft::find().ok().and_then(|nft| nft.spawn(&text).ok())
        }
        _ => None,
    };
    Ok(Change { state: Some((host.clone(), Wish::Remove(name.clone(), known))), running, _lock: Some(lock) })
}

/// Takes a tenant out of the tables whose plan is not known any more.
///
/// # Errors
/// As [`finish`].
pub fn forget(host: &HostFilter, name: &TenantName) -> Result<()> {
    finish(begin_forget(host, name, None)?)
}

/// Waits until a change is done. Where it did not work at once, because the tables are missing or hold
/// something of this tenant already, it looks at them and does what is left to do.
///
/// # Errors
/// What nft says; `AddrInUse` when a port of the host leads to another tenant.
pub fn finish(mut change: Change) -> Result<()> {
    let Some((host, wish)) = change.state.take() else { return Ok(()) };
    let done = change.running.take().is_some_and(|running| program::wait(running).is_ok());
    match wish {
        Wish::Add(tenant) => match done {
            true => Ok(()),
            false => settle(&host, &tenant, &mut change._lock),
        },
        Wish::Remove(name, known) => {
            if !done {
                clear(&host, &known)?;
            }
            remove_record(&host, &name)
        }
    }
}

/// Changes what is known of a running tenant: its group, its rate, its forwards. What was known before is the
/// answer, where that was something else.
///
/// # Errors
/// As [`finish`]; nothing is changed then.
pub fn change(
    host: &HostFilter,
    name: &TenantName,
    edit: impl FnOnce(&mut TenantFilter),
) -> Result<Option<TenantFilter>> {
    let mut lock = Some(Lock::shared(host)?);
    let Some(mut known) = read_record(host, name)? else { return Ok(None) };
    let Some(now) = known.last().cloned() else { return Ok(None) };
    let mut next = now.clone();
    edit(&mut next);
    if next == now && known.len() == 1 {
        return Ok(None);
    }
    // Both until it is done: whoever takes this tenant out meanwhile removes what there is of either.
    known.push(next.clone());
    write_record(host, &known)?;
    let result = settle(host, &next, &mut lock);
    write_record(host, &[if result.is_ok() { next } else { now.clone() }])?;
    result.map(|()| Some(now))
}

fn failed(table: &str, error: io::Error) -> KernelError {
    KernelError::new("change the packet filter", format!("{table:?}"), error)
}

/// Makes the tables hold exactly this of a tenant.
fn settle(host: &HostFilter, tenant: &TenantFilter, lock: &mut Option<Lock>) -> Result<()> {
    let nft = Nft::find()?;
    let wanted = item::of_tenant(tenant);
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let Some(listing) = nft.list(&host.table)? else {
            // Nobody else may be at work on tables that are loaded. The shared lock goes first: two that
            // wait for each other's would wait for ever.
            *lock = None;
            *lock = Some(Lock::alone(host)?);
            if nft.list(&host.table)?.is_none() {
                let mut all = running(host);
                all.retain(|other| other.tenant != tenant.tenant);
                all.push(tenant.clone());
                return restore(&nft, host, &all);
            }
            continue;
        };
        refuse_conflict(host, tenant, &wanted, &listing)?;
        let stale = listing.items.iter().filter(|item| item.belongs_to(tenant) && !wanted.contains(item));
        let stale: BTreeSet<Item> = stale.cloned().collect();
        let missing: BTreeSet<Item> = wanted.difference(&listing.items).cloned().collect();
        let text = item::delete_text(&host.table, &stale) + &item::add_text(&host.table, &missing);
        match nft.run(&text) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(failed(&host.table, last))
}

/// A port of the host leads to one tenant.
fn refuse_conflict(
    host: &HostFilter,
    tenant: &TenantFilter,
    wanted: &BTreeSet<Item>,
    listing: &Listing,
) -> Result<()> {
    let taken = wanted.iter().find(|item| {
        let others = listing.items.iter().filter(|other| other.contradicts(item));
        others.filter(|other| !other.belongs_to(tenant)).count() > 0
    });
    let Some((protocol, port)) = taken.and_then(item::forwarded_port) else { return Ok(()) };
    let leads = |other: &TenantFilter| {
        other.forwards.iter().any(|forward| (forward.protocol, forward.host_port) == (protocol, port))
    };
    let holder = running(host).into_iter().find(|other| other.tenant != tenant.tenant && leads(other));
    let holder =
        holder.map_or_else(|| "another target".to_owned(), |holder| format!("tenant \"{}\"", holder.tenant));
    let reason = io::Error::new(io::ErrorKind::AddrInUse, FilterError::Taken(holder));
    Err(KernelError::new("forward", format!("port {port}/{protocol} of the host"), reason))
}

/// Removes whatever the tables hold for a tenant.
fn clear(host: &HostFilter, known: &[TenantFilter]) -> Result<()> {
    let nft = Nft::find()?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let Some(listing) = nft.list(&host.table)? else { return Ok(()) };
        let theirs = listing.items.iter().filter(|item| known.iter().any(|one| item.belongs_to(one)));
        let theirs: BTreeSet<Item> = theirs.cloned().collect();
        if theirs.is_empty() {
            return Ok(());
        }
        match nft.run(&item::delete_text(&host.table, &theirs)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(failed(&host.table, last))
}

fn record_error(host: &HostFilter, name: &TenantName, error: impl Into<io::Error>) -> KernelError {
    KernelError::new("use", host.record(name).display(), error)
}

/// What the tables hold for a tenant; nothing where it is not in them.
///
/// # Errors
/// Its record cannot be read.
pub fn known(host: &HostFilter, name: &TenantName) -> Result<Option<TenantFilter>> {
    Ok(read_record(host, name)?.and_then(|mut known| known.pop()))
}

/// What is known of a tenant that is in the tables; more than one while it is being changed.
fn read_record(host: &HostFilter, name: &TenantName) -> Result<Option<Vec<TenantFilter>>> {
    let text = match record::read(&host.record(name)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(record_error(host, name, io::Error::other(error))),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| record_error(host, name, error))
}

fn write_record(host: &HostFilter, known: &[TenantFilter]) -> Result<()> {
    let Some(first) = known.first() else { return Ok(()) };
    let text = serde_json::to_vec(known).expect("a filter has only types that JSON can hold");
    record::write(&host.record(&first.tenant), &text, Durability::Volatile)
        .map_err(|error| record_error(host, &first.tenant, io::Error::other(error)))
}

fn remove_record(host: &HostFilter, name: &TenantName) -> Result<()> {
    match fs::remove_file(host.record(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(record_error(host, name, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
