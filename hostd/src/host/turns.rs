//! Locks by tenant: who works on one tenant keeps others off that one, and off no other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tenant::TenantName;
use tokio::sync::OwnedMutexGuard;

/// Held while something is done with a tenant; the next one goes on when it is dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// So many locks may be there that no process holds.
const IDLE: usize = 4096;

/// One lock for each tenant.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<TenantName, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, name: &TenantName) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that no process holds are dropped here, so that the table does not grow for ever.
        if locks.len() > IDLE {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(name.clone()).or_default().clone()
    }

    /// Waits until no other process has the tenant's turn.
    pub(crate) async fn take(&self, name: &TenantName) -> Turn {
        self.of(name).lock_owned().await
    }

    /// The tenant's turn, unless a process has it.
    pub(crate) fn try_take(&self, name: &TenantName) -> Option<Turn> {
        self.of(name).try_lock_owned().ok()
    }

    /// Whether a process has the tenant's turn at this moment.
    pub(crate) fn is_taken(&self, name: &TenantName) -> bool {
        let locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.get(name).is_some_and(|lock| lock.try_lock().is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_tenant_keeps_no_other_waiting() {
        let turns = Turns::default();
        let [alice, bob] = ["alice", "bob"].map(|name| name.parse().unwrap());
        let turn = turns.take(&alice).await;
        assert!(turns.is_taken(&alice) && !turns.is_taken(&bob));
        assert!(turns.try_take(&alice).is_none());
        drop(turns.take(&bob).await);
        drop(turn);
        assert!(turns.try_take(&alice).is_some());
    }
}
