//! The store and the unit manager put together: what can be done with a tenant.
//!
//! One operation at a time works on a tenant: it has the tenant's turn. Different tenants do not wait for each other,
//! except for the moment in which the store decides what each may have. A turn is held by the task that does the work,
//! which [`crate::api`] lets run to its end a client that hangs up.
//!
//! | file | verbs |
//! |---|---|
//! | `startup` | what hostd finds when it comes, what starts with the host, what is put back when it ends |
//! | `create`, `rename` | create, destroy; rename |
//! | `copies` | clone, export, import, snapshot, restore, reset |
//! | `life` | start, stop, restart, kill, freeze |
//! | `rebase` | another version of the image: live, by a restart, from the next start |
//! | `configure` | set, edit, reload; `live`: what takes effect at once, `unit_config`: what the unit is given |
//! | `rollout` | rollouts of many tenants |
//! | `drift` | files of a tenant that hide files of its image |
//! | `stale` | what runs code of an earlier version |
//! | `events` | what happens to tenants, for who reads along |
//! | `glance` | what a list says of tenants' files |
//! | `stats` | what tenants use, all in one look |
//! | `wait` | wait; `changes`: what tells of tenants |
//! | `turns` | who works on a tenant |

mod changes;
mod configure;
pub(crate) mod copies;
mod create;
mod disk;
mod drift;
pub(crate) mod events;
pub(crate) mod glance;
mod inside;
mod life;
mod live;
mod looks;
mod rebase;
mod rename;
mod rollout;
mod stale;
mod startup;
mod stats;
mod turns;
mod unit_config;
mod wait;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tenant::{
    Layout, Tenant, TenantName,
    files::{
        record,
        state::{Phase, RunState},
    },
    model::allocation::RecordState,
};
use tokio::{
    sync::{Semaphore, watch},
    task,
};
use wire::{Code, Failure, TenantState, Traffic};

use self::{
    changes::Changes,
    events::Events,
    glance::Glances,
    looks::Looks,
    turns::{Turn, Turns},
};
use crate::{
    dirs::usage::Meter,
    filter::PacketFilter,
    quiet::Now,
    records::{Change, Store},
    rollout::Rollouts,
    units::{PlanLater, StopDeadline, UnitManager, look::Look},
};

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// What became of a start, or of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// What it changed.
    pub change: Change,
    /// Of a restart: why everything was killed, where init did not end as it was asked to.
    pub killed: Option<String>,
    /// The tenant as its file was read for this start; none of one that was running.
    pub tenant: Option<Tenant>,
}

/// What became of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What it changed.
    pub change: Change,
    /// Why everything was killed, where init did not end as it was asked to.
    pub killed: Option<String>,
}

/// How far hostd has come since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It reads what there is.
    Begun,
    /// It knows which tenants run.
    Knowing,
    /// What an earlier hostd left is set right.
    Ready,
}

/// One host with its tenants.
#[derive(Debug)]
pub struct Host {
    store: Store,
    units: UnitManager,
    filter: PacketFilter,
    turns: Turns,
    /// The stops that are under way, and until when they may take.
    stopping: Mutex<HashMap<TenantName, StopDeadline>>,
    /// Held by who works on a tenant's files and carries them to its unit: not its turn, which a start holds while its
    /// supervisor asks for this.
    files: Turns,
    changes: Arc<Changes>,
    meter: Meter,
    glances: Glances,
    stale_looks: Looks,
    /// Who looks at a tenant's files: one at a time for each tenant.
    drift_looks: Turns,
    events: Arc<Events>,
    rollouts: Rollouts,
    /// One swap at a time, see `Host::swap`.
    swaps: Semaphore,
    progress: watch::Sender<Progress>,
    started: Instant,
    /// How often a client that waits has looked at a tenant.
    #[cfg(test)]
    pub(crate) looks: std::sync::atomic::AtomicUsize,
}

/// Runs something that blocks on the disk.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Code::Failed, format!("an operation panicked: {error}")))
}

impl Host {
    /// A host over a store and a unit manager.
    pub fn new(store: Store, units: UnitManager) -> Arc<Self> {
        Arc::new(Self {
            changes: Changes::new(store.layout().clone()),
            store,
            units,
            filter: PacketFilter::default(),
            turns: Turns::default(),
            stopping: Mutex::default(),
            files: Turns::default(),
            meter: Meter::default(),
            glances: Glances::default(),
            stale_looks: Looks::default(),
            drift_looks: Turns::default(),
            events: Events::new(),
            rollouts: Rollouts::default(),
            swaps: Semaphore::new(1),
            progress: watch::Sender::new(Progress::Begun),
            started: Instant::now(),
            #[cfg(test)]
            looks: Default::default(),
        })
    }

    /// Its store, to read from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its unit manager, to read from.
    pub fn units(&self) -> &UnitManager {
        &self.units
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        self.store.layout()
    }

    /// What went over a running tenant's ports.
    pub async fn traffic(self: &Arc<Self>, name: &TenantName) -> Option<Traffic> {
        let (host, name) = (self.clone(), name.clone());
        blocking(move || host.filter.traffic(&host.store, &name)).await.ok()?
    }

    /// For how long this hostd has run.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What happens to tenants.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// The packet filter.
    pub(crate) fn filter(&self) -> &PacketFilter {
        &self.filter
    }

    /// Requests that wait for this go on.
    pub(crate) fn come(&self, to: Progress) {
        self.progress.send_replace(to);
    }

    /// Waits until hostd has come so far: it listens before that.
    pub async fn has_come(&self, to: Progress) {
        // The other end lives as long as this does.
        let _ = self.progress.subscribe().wait_for(|progress| *progress >= to).await;
    }

    /// The turn of a tenant, unless an operation on it is in progress.
    pub(crate) fn try_turn(&self, name: &TenantName) -> Option<Turn> {
        self.turns.try_take(name)
    }

    /// The files of a tenant, unless an operation on them is in progress. After its turn, where both are wanted.
    pub(crate) fn try_files(&self, name: &TenantName) -> Option<Turn> {
        self.files.try_take(name)
    }

    /// Whether an operation on a tenant is in progress.
    pub(crate) fn is_busy(&self, name: &TenantName) -> bool {
        self.turns.is_taken(name)
    }

    /// What a tenant does at the moment, and what its supervisor last said.
    pub fn state(&self, name: &TenantName, record: RecordState) -> (TenantState, Option<Arc<RunState>>) {
        let look = self.units.look(name, Now::default());
        (Self::state_of(record, &look), look.said)
    }

    /// What a tenant does by its record and a look at its unit.
    pub(crate) fn state_of(record: RecordState, look: &Look) -> TenantState {
        if !matches!(record, RecordState::Ready | RecordState::Renaming) {
            return TenantState::Destroying;
        }
        let is_running = look.is_running;
        match look.said.as_ref().map(|said| said.phase) {
            Some(Phase::Parked) if is_running => TenantState::Parked,
            _ if is_running && look.is_frozen => TenantState::Frozen,
            Some(Phase::Queued) if is_running => TenantState::Queued,
            Some(Phase::Booting) if is_running => TenantState::Booting,
            Some(Phase::Running) if is_running => TenantState::Running,
            Some(Phase::Stopping) if is_running => TenantState::Stopping,
            _ if is_running => TenantState::Starting,
            Some(Phase::Failed) => TenantState::Failed,
            _ => TenantState::Stopped,
        }
    }

    /// Finds the supervisor of a tenant that an earlier hostd started, or removes what a tenant without one
    /// has left in the kernel. The caller has its turn.
    pub(crate) async fn sweep(self: &Arc<Self>, name: &TenantName) {
        self.units.sweep(name, self.plan_later(name)).await;
    }

    /// How to get what a tenant was started with, as far as that is known when it is asked for: by the file that it was
    /// started with, else by the present one.
    pub(super) fn plan_later(self: &Arc<Self>, name: &TenantName) -> PlanLater {
        let (host, name) = (Arc::downgrade(self), name.clone());
        PlanLater::new(move || {
            let host = host.upgrade()?;
            let cgroup = host.units.cgroups(&name).v2;
            let by = |text: String| host.store.plan_text(&name, &text, Some(&cgroup)).ok();
            let started = record::read(&host.layout().started(&name)).ok().and_then(by);
            let plan = started.or_else(|| by(host.store.config_text(&name).ok()?));
            plan.map(|(_, plan)| plan)
        })
    }

    pub(super) fn running(&self, name: &TenantName) -> Result<()> {
        if self.store.has(name) && self.units.is_running(name) {
            return Ok(());
        }
        self.store.record(name)?;
        Err(Failure::new(Code::NotRunning, format!("tenant {:?} is not running", name.as_str()))
            .help(format!("start it: tenantctl start {name}")))
    }
}
