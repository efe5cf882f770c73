//! The tables against the records of the tenants that run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, panic, thread,
};

use nix::sched::{CloneFlags, unshare};
use serde::Serialize;
use serde_json::Value;

use super::{
    super::{KernelError, Result, apart::apart},
    item::{self, Family, Item},
    listing::{Count, Listing},
    lock::Lock,
    program::{Nft, failed},
    remove,
};
use crate::model::{
    filter::{HostFilter, TenantFilter},
    name::TenantName,
};

/// The rules, with words in place of the names of the tables and of the interface group.
const RULES: &str = include_str!("tenantry.nft");

/// The rules of a host.
pub fn rules(host: &HostFilter) -> String {
    let lines = RULES.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.fold(String::new(), |text, line| text + line + "\n");
    text.replace("TABLE", &host.table).replace("GROUP", &host.port_group.to_string())
}

/// What is known of every tenant that has a supervisor.
pub fn running(host: &HostFilter) -> Vec<TenantFilter> {
    remove::by_life(host).0
}

/// Everything that the tables should hold. Where two tenants contradict each other, the first is right.
fn wanted(host: &HostFilter, tenants: &[TenantFilter]) -> BTreeSet<Item> {
    let mut items = item::of_host(host);
    let mut keys = BTreeSet::new();
    for tenant in tenants {
        for item in item::of_tenant(tenant) {
            match &item {
                Item::Element { family, set, key, value } if !value.is_empty() => {
                    if keys.insert((*family, set.clone(), key.clone())) {
                        items.insert(item);
                    }
                }
                _ => {
                    items.insert(item);
                }
            }
        }
    }
    items
}

/// Takes the tables away, whether they are there or not.
fn unload_text(table: &str) -> String {
    // A table can only be deleted that is there.
    let lines = Family::ALL
        .map(Family::word)
        .map(|family| format!("add table {family} {table}\ndelete table {family} {table}\n"));
    lines.concat()
}

/// Takes the tables away if no tenant is in them; the next start loads them again. Returns whether they
/// were there and are gone.
///
/// # Errors
/// What nft says.
pub fn unload(host: &HostFilter) -> Result<bool> {
    let nft = Nft::find()?;
    let _lock = Lock::alone(host)?;
    let entries = fs::read_dir(&host.runtimes).into_iter().flatten().flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<TenantName>().ok());
    if names.any(|name| host.record(&name).exists()) || nft.list(&host.table)?.is_none() {
        return Ok(false);
    }
    nft.run(&unload_text(&host.table)).map_err(|error| failed(&host.table, error))?;
    Ok(true)
}

/// Loads the rules with the elements of these tenants in one transaction, whatever is there now.
///
/// # Errors
/// What nft says.
pub fn restore(nft: &Nft, host: &HostFilter, tenants: &[TenantFilter]) -> Result<()> {
    let table = &host.table;
    let mut text = unload_text(table);
    text.push_str(&rules(host));
    text.push_str(&item::add_text(table, &wanted(host, tenants)));
    nft.run(&text).map_err(|error| failed(table, error))
}

/// How the rules are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rules {
    /// As they were loaded.
    Good,
    /// Not there.
    Missing,
    /// Others: the first one that differs.
    Changed(String),
}

/// What differs between the tables and the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The rules.
    pub rules: Rules,
    /// What is missing, by tenant; the host's own has no name.
    pub missing: BTreeMap<Option<TenantName>, BTreeSet<Item>>,
    /// What belongs to no process who runs.
    pub foreign: BTreeSet<Item>,
}

impl Findings {
    /// Whether all is as it should be.
    pub fn is_good(&self) -> bool {
        self.rules == Rules::Good && self.missing.is_empty() && self.foreign.is_empty()
    }

    /// Whether there is nothing yet, and no running tenant that misses it.
    pub fn is_first(&self) -> bool {
        self.rules == Rules::Missing && self.missing.keys().all(Option::is_none)
    }
}

/// Compares the tables with the records of the tenants that run.
///
/// # Errors
/// nft is missing, or what it says.
pub fn inspect(host: &HostFilter) -> Result<Findings> {
    let nft = Nft::find()?;
    let _lock = Lock::alone(host)?;
    compare(&nft, host).map(|compared| compared.findings)
}

/// Makes the tables hold what the records say: elements alone where the rules are whole, else everything
/// again. Returns what was wrong.
///
/// # Errors
/// nft is missing, or what it says.
pub fn repair(host: &HostFilter) -> Result<Findings> {
    let nft = Nft::find()?;
    let _lock = Lock::alone(host)?;
    let Compared { findings, wanted, tenants } = compare(&nft, host)?;
    if findings.rules != Rules::Good {
        restore(&nft, host, &tenants)?;
    } else if !findings.is_good() {
        let missing =
            findings.missing.values().flatten().filter(|item| wanted.contains(item)).cloned().collect();
        let text = item::delete_text(&host.table, &findings.foreign) + &item::add_text(&host.table, &missing);
        nft.run(&text).map_err(|error| failed(&host.table, error))?;
    }
    Ok(findings)
}

/// A comparison, and what it rests on.
struct Compared {
    findings: Findings,
    wanted: BTreeSet<Item>,
    tenants: Vec<TenantFilter>,
}

fn compare(nft: &Nft, host: &HostFilter) -> Result<Compared> {
    // nft is a program of its own, and the kernel that makes a namespace waits: all of it at once.
    let (reference, (listing, (tenants, ended))) =
        meanwhile(|| reference(nft, host), || meanwhile(|| nft.look(&host.table), || remove::by_life(host)));
    let (wanted, listing) = (wanted(host, &tenants), listing?);
    let rules = match &listing {
        None => Rules::Missing,
        Some(listing) => match first_difference(&listing.rules, &reference?.rules) {
            None => Rules::Good,
            Some(text) => Rules::Changed(text),
        },
    };
    let there = listing.map(|listing| listing.items).unwrap_or_default();
    let mut missing: BTreeMap<_, BTreeSet<Item>> = BTreeMap::new();
    for item in wanted.difference(&there) {
        let owner = tenants.iter().find(|tenant| item.belongs_to(tenant)).map(|tenant| tenant.tenant.clone());
        missing.entry(owner).or_default().insert(item.clone());
    }
    // What is left of tenants that have ended is on its way out.
    let ended: BTreeSet<Item> = ended.iter().flat_map(item::of_tenant).collect();
    let foreign = there.difference(&wanted).filter(|item| !ended.contains(item)).cloned().collect();
    Ok(Compared { findings: Findings { rules, missing, foreign }, wanted, tenants })
}

/// Does one thing on a thread of its own while another is done; where there can be no thread, one after the other.
fn meanwhile<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let beginning = thread::Builder::new().spawn_scoped(scope, &one);
        let other = other();
        let one = match beginning {
            Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
            Err(_) => one(),
        };
        (one, other)
    })
}

/// The rules as nft shows them in their unmodified form: in a network namespace of their own, for only
/// nft knows how it prints what it has read.
fn reference(nft: &Nft, host: &HostFilter) -> Result<Listing> {
    let load = || -> Result<Listing> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| KernelError::new("make", "a network namespace", errno))?;
        nft.run(&rules(host)).map_err(|error| failed(&host.table, error))?;
        nft.rules(&host.table)?.ok_or_else(|| failed(&host.table, io::ErrorKind::NotFound))
    };
    apart(load).map_err(|error| failed(&host.table, error))?
}

fn first_difference(now: &[Value], loaded: &[Value]) -> Option<String> {
    let differs = |a: &[Value], b: &[Value]| a.iter().find(|value| !b.contains(value)).map(summary);
    differs(loaded, now)
        .map(|text| format!("{text} is gone"))
        .or_else(|| differs(now, loaded).map(|text| format!("{text} was added")))
        .or_else(|| (now != loaded).then(|| "their order".to_owned()))
}

/// `rule in chain pin of inet`.
fn summary(value: &Value) -> String {
    let Some((kind, body)) = value.as_object().and_then(|object| object.iter().next()) else {
        return "something".to_owned();
    };
    let word = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    match kind.as_str() {
        "rule" => format!("a rule in chain {:?} of table {}", word("chain"), word("family")),
        kind => format!("{kind} {:?} of table {}", word("name"), word("family")),
    }
}

/// What the ports of all tenants sent and received so far, by set (`sent`, `received`, `refused`,
/// `limited`) and port.
///
/// # Errors
/// nft is missing, or what it says.
pub fn counts(host: &HostFilter) -> Result<BTreeMap<(String, String), Count>> {
    Ok(Nft::find()?.list(&host.table)?.map(|listing| listing.counts).unwrap_or_default())
}
