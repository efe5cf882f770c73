//! Looks at what supervisors say when they have said something, so that a start and a stop are told
//! whether hostd, systemctl(1) or the tenant itself caused them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tenant::{TenantName, files::state::RunState};
use tokio::time::sleep;

use super::state::{between, silent_end};
use crate::{
    filter::TOGETHER,
    host::{Host, blocking},
};

/// A tenant can make its supervisor write as often as it likes; it is looked at no oftener than this.
const PACE: Duration = Duration::from_millis(50);
/// How often all tenants are looked at whose files cannot be watched, and whose supervisors were killed: they have said
/// nothing.
const LOOK: Duration = Duration::from_secs(15);

type Known = HashMap<TenantName, Arc<RunState>>;

impl Host {
    /// Begins to tell what supervisors say, from what they have said until now on.
    pub(crate) async fn watch_supervisors(self: &Arc<Self>) {
        // Before the first look: what happens after that is told.
        let changes = self.changes.clone();
        let all = changes.watch_all(self.store.records().keys());
        let mut known = Known::new();
        for name in self.store.records().keys() {
            known.extend(self.units.state(name).map(|state| (name.clone(), state)));
        }
        let host = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let is_told = tokio::select! {
                    names = all.changed() => Some(names),
                    () = sleep(LOOK) => None,
                };
                let Some(seen) = look(&host, known, is_told).await else { return };
                known = seen;
                sleep(PACE).await;
            }
        });
        self.clear_filter();
    }
}

impl Host {
    /// Takes tenants that have ended out of the packet filter from now on.
    fn clear_filter(self: &Arc<Self>) {
        let (ends, host) = (self.filter.ends(), Arc::downgrade(self));
        tokio::spawn(async move {
            loop {
                ends.notified().await;
                sleep(TOGETHER).await;
                let Some(host) = host.upgrade() else { return };
                if let Err(failure) = blocking(move || host.filter.remove_ended(&host.store)).await {
                    log::error!("{failure}");
                }
            }
        });
    }
}

/// Looks at tenants, at all that were up where none are named; nothing when hostd ends.
async fn look(host: &Weak<Host>, mut known: Known, names: Option<Vec<TenantName>>) -> Option<Known> {
    let host = host.upgrade()?;
    blocking(move || {
        let is_up = |(_, state): &(&TenantName, &Arc<RunState>)| !state.phase.is_final();
        let names = match names {
            Some(names) => names,
            None if host.changes.is_watching() => {
                known.iter().filter(is_up).map(|(name, _)| name.clone()).collect()
            }
            None => host.store.records().keys().cloned().collect(),
        };
        for name in names {
            let before = known.get(&name).cloned();
            let said = host.units.state(&name);
            // By the pidfd of those that are watched; one that is being started may not be among them yet.
            let is_watched = |state: &RunState| host.units.supervisor(&name) == Some(state.supervisor);
            let is_gone = |state: &Arc<RunState>| {
                !state.phase.is_final() && !is_watched(state) && !state.supervisor.is_alive()
            };
            match said.filter(|said| !is_gone(said)) {
                Some(said) if before.as_ref() == Some(&said) => {}
                Some(said) => {
                    let what = between(before.as_deref(), &said);
                    what.into_iter().for_each(|what| host.events.tell(&name, what));
                    if said.phase.is_final() {
                        host.filter.tell_end();
                    }
                    known.insert(name, said);
                }
                None => {
                    known.remove(&name);
                    host.filter.tell_end();
                    if before.is_some_and(|before| !before.phase.is_final()) {
                        host.events.tell(&name, silent_end());
                    }
                }
            }
        }
        known
    })
    .await
    .ok()
}
