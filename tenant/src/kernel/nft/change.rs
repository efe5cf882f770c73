//! One tenant of the packet filter: in, out, changed while it is running.

use std::{collections::BTreeSet, io};

use super::{
    error::FilterError,
    item::{self, Item},
    listing::Listing,
    lock::Lock,
    program::{Nft, failed},
    record::{read_record, remove_record, write_record},
    repair::{restore, running},
    transaction::Transaction,
};
use crate::{
    kernel::{Cause, KernelError, Result},
    model::{
        filter::{HostFilter, TenantFilter},
        name::TenantName,
    },
};

/// How often a change is tried again that others came in between of.
const ATTEMPTS: usize = 10;

/// A change of a tenant's elements that was tried once, see [`finish`].
#[derive(Debug)]
pub struct Change {
    state: Option<(HostFilter, Operation)>,
    is_done: bool,
    _lock: Option<Lock>,
}

#[derive(Debug)]
enum Operation {
    Add(TenantFilter),
    Remove(TenantName, Vec<TenantFilter>),
}

/// Begins to put a tenant into the tables; they are loaded first where they are missing.
///
/// # Errors
/// Its record cannot be written.
pub fn begin_add(host: &HostFilter, tenant: &TenantFilter) -> Result<Change> {
    let lock = Lock::shared(host)?;
    write_record(host, std::slice::from_ref(tenant))?;
    let transaction = Transaction::adding(&host.table, &item::of_tenant(tenant));
    Ok(Change {
        state: Some((host.clone(), Operation::Add(tenant.clone()))),
        is_done: is_done(transaction),
        _lock: Some(lock),
    })
}

fn is_done(transaction: Option<Transaction>) -> bool {
    transaction.is_some_and(|transaction| transaction.commit().is_ok())
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
        Ok(None) => return Ok(Change { state: None, is_done: true, _lock: None }),
        Err(error) => planned.map(|planned| vec![planned.clone()]).ok_or(error)?,
    };
    let lock = Lock::shared(host)?;
    let transaction = match &known[..] {
        [one] => Transaction::deleting(&host.table, &item::of_tenant(one)),
        _ => None,
    };
    Ok(Change {
        is_done: is_done(transaction),
        state: Some((host.clone(), Operation::Remove(name.clone(), known))),
        _lock: Some(lock),
    })
}

/// Takes a tenant out of the tables whose plan is not known any more.
///
/// # Errors
/// As [`finish`].
pub fn forget(host: &HostFilter, name: &TenantName) -> Result<()> {
    finish(begin_forget(host, name, None)?)
}

/// Sees to it that a change is done. Where it did not work at once, because the tables are missing or hold
/// something of this tenant already, it looks at them and does what is left to do.
///
/// # Errors
/// What nft says; `AddrInUse` when a port of the host leads to another tenant.
pub fn finish(mut change: Change) -> Result<()> {
    let Some((host, operation)) = change.state.take() else { return Ok(()) };
    match operation {
        Operation::Add(tenant) => match change.is_done {
            true => Ok(()),
            false => settle(&host, &tenant, &mut change._lock),
        },
        Operation::Remove(name, known) => {
            if !change.is_done {
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
    // Both until it is done: a process that takes this tenant out meanwhile removes what there is of either.
    known.push(next.clone());
    write_record(host, &known)?;
    let result = settle(host, &next, &mut lock);
    write_record(host, &[if result.is_ok() { next } else { now.clone() }])?;
    result.map(|()| Some(now))
}

/// Makes the tables hold exactly this of a tenant.
fn settle(host: &HostFilter, tenant: &TenantFilter, lock: &mut Option<Lock>) -> Result<()> {
    let nft = Nft::find()?;
    let wanted = item::of_tenant(tenant);
    let mut last = Cause::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let Some(listing) = nft.list(&host.table)? else {
            // No other process may be at work on tables that are loaded. The shared lock goes first: two that
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
    Err(KernelError::new(
        "forward",
        format!("port {port}/{protocol} of the host"),
        FilterError::Taken(holder),
    ))
}

/// Removes whatever the tables hold for a tenant.
fn clear(host: &HostFilter, known: &[TenantFilter]) -> Result<()> {
    let nft = Nft::find()?;
    let mut last = Cause::from(io::ErrorKind::ResourceBusy);
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
