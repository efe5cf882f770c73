//! One tenant of the packet filter: in, and changed while it is running.

use std::{collections::BTreeSet, io, os::fd::OwnedFd};

use super::{
    error::FilterError,
    item::{self, Item},
    listing::Listing,
    lock::Lock,
    program::{Nft, failed},
    record::{read_record, write_record},
    repair::{restore, running},
    transaction::{Channel, Transaction},
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

/// Puts a tenant into the tables; they are loaded first where they are missing. What is there of an earlier run, and is the
/// same, stays. The answer is to be closed when no process waits for that, see `Channel`.
///
/// # Errors
/// Its record cannot be written, or what nft says; `AddrInUse` when a port of the host leads to another tenant.
pub fn add(host: &HostFilter, tenant: &TenantFilter) -> Result<Option<OwnedFd>> {
    let mut lock = Some(Lock::shared(host)?);
    // One that cannot be read is replaced, and the tables are looked at.
    let before = read_record(host, &tenant.tenant);
    let known = before.as_ref().ok().and_then(Clone::clone).unwrap_or_default();
    let is_same = known == std::slice::from_ref(tenant);
    if !is_same {
        // All until it is done: a process that takes this tenant out meanwhile removes what there is of any.
        write_record(host, &[&known[..], std::slice::from_ref(tenant)].concat())?;
    }
    let wanted = item::of_tenant(tenant);
    let stale = stale(host, &known, &tenant.tenant, &wanted);
    let done = before.ok().and_then(|_| {
        let transaction = Transaction::new(&host.table, &stale, &wanted)?;
        let channel = Channel::open().ok()?;
        transaction.commit(&channel).ok()?;
        Some(channel.into_fd().ok())
    });
    let closing = match done {
        Some(closing) => closing,
        None => settle(host, tenant, &stale, &mut lock).map(|()| None)?,
    };
    if !known.is_empty() && !is_same {
        write_record(host, std::slice::from_ref(tenant))?;
    }
    Ok(closing)
}

/// What a tenant's earlier records put into the tables that it does not want any more, and no other tenant has.
fn stale(
    host: &HostFilter,
    known: &[TenantFilter],
    name: &TenantName,
    wanted: &BTreeSet<Item>,
) -> BTreeSet<Item> {
    let before: BTreeSet<Item> = known.iter().flat_map(item::of_tenant).collect();
    let mut stale: BTreeSet<Item> = before.difference(wanted).cloned().collect();
    if !stale.is_empty() {
        let others = super::remove::items_besides(host, |other| other == name);
        stale.retain(|item| !others.contains(item));
    }
    stale
}

/// Changes what is known of a running tenant: its group, its rate, its forwards. What was known before is the
/// answer, where that was something else.
///
/// # Errors
/// As [`add`]; nothing is changed then.
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
    let result = settle(host, &next, &BTreeSet::new(), &mut lock);
    write_record(host, &[if result.is_ok() { next } else { now.clone() }])?;
    result.map(|()| Some(now))
}

/// Makes the tables hold exactly this of a tenant, and nothing of what it had before.
fn settle(
    host: &HostFilter,
    tenant: &TenantFilter,
    before: &BTreeSet<Item>,
    lock: &mut Option<Lock>,
) -> Result<()> {
    let nft = Nft::find()?;
    let wanted = item::of_tenant(tenant);
    let ended = super::remove::ended(host);
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
        // What leads to a tenant that has ended is in nobody's way.
        let is_over = |item: &Item| {
            ended.iter().any(|over| item.belongs_to(over)) && wanted.iter().any(|own| own.contradicts(item))
        };
        refuse_conflict(host, tenant, &wanted, &listing, is_over)?;
        let is_stale = |item: &Item| item.belongs_to(tenant) || before.contains(item) || is_over(item);
        let stale = listing.items.iter().filter(|item| !wanted.contains(item) && is_stale(item));
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
    is_over: impl Fn(&Item) -> bool,
) -> Result<()> {
    let taken = wanted.iter().find(|item| {
        let others = listing.items.iter().filter(|other| other.contradicts(item));
        others.filter(|other| !other.belongs_to(tenant) && !is_over(other)).count() > 0
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
