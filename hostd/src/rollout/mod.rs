//! Rollouts: many tenants get another version of their image, in waves, with gates after each.
//!
//! A rollout is a record and a loop that converges ([decision 36](../../../docs/adr/0036-rollouts-are-a-record-that-converges.md)).
//! Nothing here knows hostd's other parts: what is done to tenants goes through the trait [`World`].
//!
//! | file | what |
//! |---|---|
//! | `policy` | what a rollout is asked for, checked; pure |
//! | `seen` | tenants, as a rollout sees them |
//! | `record`, `files` | the record; all records on disk |
//! | `waves` | which tenant is in which wave; pure |
//! | `machine` | what comes next; pure |
//! | `gates` | what is seen of a tenant without asking it; pure |
//! | `world` | what a rollout needs of a host |
//! | `ask` | gates with their deadlines |
//! | `active`, `run` | a rollout that goes on; its loop |
//! | `begin` | the record of a new rollout; pure |
//! | `view` | a rollout as it is told |

pub mod active;
mod ask;
pub mod begin;
pub mod files;
pub mod gates;
pub mod machine;
pub mod policy;
pub mod record;
mod run;
pub mod seen;
#[cfg(test)]
mod tests;
pub mod view;
pub mod waves;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

pub use self::{active::Active, policy::Policy, record::Record, run::run, seen::Tenants, world::World};
use crate::records::guard::held;

/// The rollouts of one hostd.
#[derive(Debug, Default)]
pub struct Rollouts {
    /// Those that go on.
    active: Mutex<BTreeMap<u64, Arc<Active>>>,
    /// Held by who begins one: two never have the same tenant.
    pub(crate) beginning: tokio::sync::Mutex<()>,
}

impl Rollouts {
    /// A rollout that goes on.
    pub fn active(&self, id: u64) -> Option<Arc<Active>> {
        held(&self.active).get(&id).cloned()
    }

    /// The records of all that go on.
    pub fn records(&self) -> Vec<Arc<Record>> {
        held(&self.active).values().map(|active| active.record()).collect()
    }

    /// One goes on from here.
    pub fn add(&self, record: Record) -> Arc<Active> {
        let (id, active) = (record.id, Active::new(record));
        held(&self.active).insert(id, active.clone());
        active
    }

    /// One has ended.
    pub fn remove(&self, id: u64) {
        held(&self.active).remove(&id);
    }

    /// The tenants of all other rollouts that go on.
    pub fn elsewhere(&self, id: u64) -> BTreeSet<String> {
        let others = self.records().into_iter().filter(|record| record.id != id);
        others.flat_map(|record| begin::holds(&record)).collect()
    }
}
