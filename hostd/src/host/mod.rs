//! The store and the unit manager put together: what can be done with a tenant.
//!
//! One operation at a time works on a tenant: it has the tenant's turn. Different tenants do not wait for each other,
//! except for the moment in which the store decides what each may have. A turn is held by the task that does the work,
//! which [`crate::api`] lets run to its end whoever hangs up.

use std::{
    cmp::Reverse,
    collections::HashMap,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tenant::{
    Layout, Plan, Tenant, TenantName,
    allocation::RecordState,
    config::{InvalidSignal, Signal as SignalName},
    kernel::{forwarding6_release, raw},
    plan::port_group,
    record::{self, Durability},
    state::{Phase, RunState},
};
use tokio::{
    sync::watch,
    task::{self, JoinSet},
};

use crate::{
    changes::Changes,
    error::{Code, Failure, chain},
    filter::{PacketFilter, Traffic},
    live::LiveChange,
    store::{Change, NewTenant, Store, StoreError, edit, trash::Leaving},
    turns::{Turn, Turns},
    units::{
        Start, StopDeadline, UnitManager,
        limits::{Applied, Enforce, Unenforceable},
    },
};

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// So many of the tenants that start with the host are asked for at once.
const AUTOSTARTS_AT_ONCE: usize = 16;
/// How often `wait` looks at a tenant that nothing is told of.
const LOOK: Duration = Duration::from_secs(1);
/// How often where its files cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_millis(100);

/// The state of a tenant as it is told to people.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TenantState {
    /// Its record is damaged.
    Broken,
    /// Its record is not whole.
    Destroying,
    /// It does not run.
    Stopped,
    /// Its last start failed.
    Failed,
    /// It waits for its turn to boot.
    Queued,
    /// Its namespaces and mounts are being made.
    Starting,
    /// Its init runs and is not ready.
    Booting,
    /// Its init is ready.
    Running,
    /// Its processes are frozen.
    Frozen,
    /// Its init was asked to power off.
    Stopping,
}

impl TenantState {
    /// Whether it has a supervisor.
    pub fn is_up(self) -> bool {
        !matches!(self, Self::Broken | Self::Destroying | Self::Stopped | Self::Failed)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Destroying => "destroying",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Stopping => "stopping",
        }
    }
}

/// What became of a stop, or of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What it changed.
    pub change: Change,
    /// Why everything was killed, where init did not end as it was asked to.
    pub killed: Option<String>,
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
    is_ready: watch::Sender<bool>,
    started: Instant,
    /// How often somebody who waits has looked at a tenant.
    #[cfg(test)]
    pub(crate) looks: std::sync::atomic::AtomicUsize,
}

/// Runs something that blocks on the disk.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Code::Failed, format!("an operation was cut short: {error}")))
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
            is_ready: watch::Sender::new(false),
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

    /// The packet filter.
    pub(crate) fn filter(&self) -> &PacketFilter {
        &self.filter
    }

    /// Waits until hostd knows what runs: it listens before that.
    pub async fn ready(&self) {
        // The other end lives as long as this does.
        let _ = self.is_ready.subscribe().wait_for(|is_ready| *is_ready).await;
    }

    /// The turn of a tenant, unless somebody works on it.
    pub(crate) fn try_turn(&self, name: &TenantName) -> Option<Turn> {
        self.turns.try_take(name)
    }

    /// The files of a tenant, unless somebody works on them. After its turn, where both are wanted.
    pub(crate) fn try_files(&self, name: &TenantName) -> Option<Turn> {
        self.files.try_take(name)
    }

    /// Whether somebody works on a tenant at this moment.
    pub(crate) fn is_busy(&self, name: &TenantName) -> bool {
        self.turns.is_taken(name)
    }

    /// What a tenant does at the moment, and what its supervisor last said.
    pub fn state(&self, name: &TenantName, record: RecordState) -> (TenantState, Option<Arc<RunState>>) {
        let said = self.units.state(name);
        if record != RecordState::Ready {
            return (TenantState::Destroying, said);
        }
        let is_running = self.units.is_running(name);
        let state = match said.as_ref().map(|said| said.phase) {
            _ if is_running && self.units.is_frozen(name) => TenantState::Frozen,
            Some(Phase::Queued) if is_running => TenantState::Queued,
            Some(Phase::Booting) if is_running => TenantState::Booting,
            Some(Phase::Running) if is_running => TenantState::Running,
            Some(Phase::Stopping) if is_running => TenantState::Stopping,
            _ if is_running => TenantState::Starting,
            Some(Phase::Failed) => TenantState::Failed,
            _ => TenantState::Stopped,
        };
        (state, said)
    }

    /// Finds the supervisor of a tenant that an earlier hostd started, or removes what a tenant without one
    /// has left in the kernel. The caller has its turn.
    pub(crate) async fn sweep(&self, name: &TenantName) {
        self.units.sweep(name, || self.present_plan(name)).await;
    }

    /// What a tenant would be started with now, if there is such a thing.
    fn present_plan(&self, name: &TenantName) -> Option<Arc<Plan>> {
        let cgroup = self.units.cgroups(name).v2;
        self.store.plan(name, Some(&cgroup)).ok().map(|(_, plan)| Arc::new(plan))
    }

    /// Takes over what an earlier hostd left: running supervisors, and what dead ones left in the kernel. Requests are
    /// answered from then on. Then goes on with removals that had begun.
    pub async fn take_over(self: &Arc<Self>) {
        let (records, broken) = (self.store.records(), self.store.broken());
        for name in records.keys().chain(broken.keys()) {
            self.units.take_over(name, || self.present_plan(name)).await;
        }
        self.units.sweep_strangers(|name| self.store.has(name)).await;
        let host = self.clone();
        if let Err(failure) = blocking(move || host.filter.take_over(&host.store)).await {
            log::error!("{failure}");
        }
        self.is_ready.send_replace(true);
        for (name, _) in records.iter().filter(|(_, record)| record.state != RecordState::Ready) {
            // What is left of it is told by who removes it.
            if let Err(error) = self.remove(name, true).await {
                log::error!("{error}");
            }
        }
    }

    /// Takes away what no tenant that runs needs: hostd ends.
    pub async fn leave(self: &Arc<Self>) {
        self.units.close();
        let host = self.clone();
        if let Err(failure) = blocking(move || host.filter.leave(&host.store)).await {
            log::warn!("{failure}");
        }
        let host = self.clone();
        match blocking(move || forwarding6_release(&host.layout().forwarding6(), port_group(host.layout())))
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("IPv6 forwarding: {}", chain(&error)),
            Err(failure) => log::warn!("{failure}"),
        }
    }

    /// Starts the tenants that are to start with the host; does so once after each boot of the machine.
    pub async fn autostart(self: &Arc<Self>) {
        if self.units.starts_with_host() {
            return;
        }
        let marker = self.layout().run().join("autostarted");
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if record::read(&marker).is_ok_and(|text| text == boot) {
            return;
        }
        let mut due: Vec<(Reverse<u16>, TenantName)> = Vec::new();
        for name in self.store.records().keys() {
            if let Some(tenant) = self.store.tenant(name).ok().filter(|tenant| tenant.autostart) {
                due.push((Reverse(tenant.start_priority), name.clone()));
            }
        }
        due.sort();
        // How many boot at a time is their supervisors' affair, see decision 16.
        let mut starts = JoinSet::new();
        for (_, name) in due {
            while starts.len() >= AUTOSTARTS_AT_ONCE {
                starts.join_next().await;
            }
            let host = self.clone();
            starts.spawn(async move {
                match host.start(&name, Enforce::default()).await {
                    Ok(Change::Unchanged) => {
                        log::info!(TENANT = name.as_str(); "tenant \"{name}\" was running already");
                    }
                    Ok(_) => log::info!(TENANT = name.as_str(); "tenant \"{name}\" is running"),
                    Err(failure) => log::error!("{failure}"),
                }
            });
        }
        while starts.join_next().await.is_some() {}
        if let Err(error) = record::write(&marker, boot.as_bytes(), Durability::Volatile) {
            log::warn!("cannot note that tenants were started: {error}");
        }
    }

    /// Makes a tenant. What its unit could not be told is the second part of the answer.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create(
        self: &Arc<Self>,
        name: &TenantName,
        new: NewTenant,
    ) -> Result<(Change, Vec<String>)> {
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let (_, change) = blocking(move || host.store.create(&own, &new)).await??;
        let mut warnings = Vec::new();
        if change == Change::Created {
            // It is made; what its unit lacks the next start carries, or refuses.
            warnings
                .extend(self.carry(name, Enforce::Asked, &files).await.err().map(|failure| failure.message));
            if self.store.tenant(name).is_ok_and(|tenant| tenant.autostart) {
                let enabled = self.units.enable(name, true).await;
                warnings.extend(enabled.err().map(|error| crate::error::chain(&error)));
            }
        }
        Ok((change, warnings))
    }

    /// Removes a tenant and waits until its files are gone; a running one, or one whose record is damaged, only with
    /// `force`. The name is free before that: while the files go nobody else is kept waiting, and what does go wrong
    /// then is told.
    ///
    /// # Errors
    /// [`Code::Running`], or what [`Store::destroy`] says.
    pub async fn destroy(self: &Arc<Self>, name: &TenantName, force: bool) -> Result<()> {
        Ok(self.remove(name, force).await?.gone().await?)
    }

    /// Makes a tenant one that is no more, but for its files.
    async fn remove(self: &Arc<Self>, name: &TenantName, force: bool) -> Result<Leaving> {
        let (host, own) = (self.clone(), name.clone());
        // Before it is killed for nothing.
        blocking(move || host.store.refuse_mounts(&own)).await??;
        if force && self.store.has(name) && self.units.is_running(name) {
            // It does not wait for its turn: what it is to end may be what holds it.
            self.units.kill(name).await?;
        }
        let _turn = self.turns.take(name).await;
        let is_broken = match self.store.record(name) {
            Err(StoreError::Broken { .. }) if force => true,
            record => record.map(|_| false)?,
        };
        // One that waits to be started again is up as well.
        if self.units.is_running(name) || !self.units.is_down(name).await? {
            if !force {
                return Err(Failure::new(Code::Running, format!("tenant {:?} runs", name.as_str()))
                    .help(format!("stop it first: tenantctl stop {name}; or pass --force")));
            }
            self.units.kill(name).await?;
        }
        let _files = self.files.take(name).await;
        self.units.forget(name).await?;
        let (host, own) = (self.clone(), name.clone());
        let removed = blocking(move || match is_broken {
            true => host.store.discard(&own),
            false => host.store.destroy(&own),
        });
        let leaving = removed.await??;
        self.changes.tell(name);
        Ok(leaving)
    }

    /// The limits that this host gives a running tenant by default and cannot enforce, one sentence each.
    pub fn unprotected(&self, name: &TenantName) -> Vec<String> {
        let Ok(tenant) = self.store.tenant(name) else { return Vec::new() };
        let missing = self.units.unenforceable(name, &tenant.limits).into_iter();
        missing.filter(|limit| limit.by_default).map(|limit| unprotected(&limit)).collect()
    }

    /// The limits that tenants without settings would have and this host cannot enforce, one sentence each.
    ///
    /// # Errors
    /// `hostd.toml` cannot be used.
    pub fn default_limits_missing(&self) -> Result<Vec<String>> {
        let missing = self.units.lacking(&self.store.default_limits()?);
        Ok(missing.iter().map(unprotected).collect())
    }

    /// Starts a tenant and waits until it is ready.
    ///
    /// # Errors
    /// Whatever keeps it from starting, with its last console lines if it has any.
    pub async fn start(self: &Arc<Self>, name: &TenantName, enforce: Enforce) -> Result<Change> {
        let _turn = self.turns.take(name).await;
        self.start_in_turn(name, enforce).await
    }

    async fn start_in_turn(self: &Arc<Self>, name: &TenantName, enforce: Enforce) -> Result<Change> {
        let named = |failure: Failure| Failure {
            message: format!("cannot start tenant {:?}: {}", name.as_str(), failure.message),
            help: failure.help.map(|help| help.replace("NAME", name.as_str())),
            ..failure
        };
        if self.is_starting(name) {
            // By systemd, for somebody else or once more.
            let timeout = self.store.tenant(name).map(|tenant| tenant.start_timeout);
            let timeout = timeout.unwrap_or(Duration::from_secs(90));
            self.units.join_start(name, timeout).await.map_err(|error| named(error.into()))?;
        }
        if self.units.is_running(name) {
            return Ok(Change::Unchanged);
        }
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let prepared = blocking(move || -> std::result::Result<(Tenant, Plan), StoreError> {
            host.store.prepare_start(&own, &host.units.cgroups(&own).v2)
        });
        let (tenant, plan) = prepared.await?.map_err(|error| match error {
            StoreError::NoTenant(_) | StoreError::Broken { .. } | StoreError::HalfRemoved(_) => error.into(),
            other => named(other.into()),
        })?;
        self.carry(name, enforce, &files).await.map_err(named)?;
        // Its supervisor may ask for the same again.
        drop(files);
        let start = Start {
            name: name.clone(),
            plan: Arc::new(plan),
            limits: tenant.limits,
            enforce,
            timeout: tenant.start_timeout,
        };
        self.units.start(start).await.map_err(|error| named(error.into()))?;
        Ok(Change::Created)
    }

    /// Asks a tenant to power off and waits until it has; `limit` stands in for its own `stop_timeout_sec`.
    ///
    /// One that is being stopped already gets no more time than that, and one that is being started is stopped all
    /// the same: neither waits for whoever works on the tenant, because a tenant chooses how long it boots.
    ///
    /// # Errors
    /// Something of it could not be removed.
    pub async fn stop(self: &Arc<Self>, name: &TenantName, limit: Option<Duration>) -> Result<Stopped> {
        // One whose record is damaged can run, and be stopped.
        if !self.store.has(name) {
            return Err(StoreError::NoTenant(name.to_string()).into());
        }
        let before = self.units.state(name).map(|state| state.supervisor);
        let hastened = match (self.stop_under_way(name), limit) {
            (Some(deadline), Some(limit)) => {
                self.units.hasten(name, limit, &deadline).await;
                true
            }
            (None, _) if self.is_starting(name) => {
                self.stop_now(name, limit).await?;
                true
            }
            _ => false,
        };
        let _turn = self.turns.take(name).await;
        let stopped = self.stop_in_turn(name, limit).await?;
        if !hastened || stopped.change != Change::Unchanged {
            return Ok(stopped);
        }
        let said = self.units.state(name).filter(|said| Some(said.supervisor) == before);
        Ok(Stopped { change: Change::Changed, killed: said.and_then(|said| said.killed.clone()) })
    }

    /// Asks a tenant to power off, and leaves it at that.
    ///
    /// # Errors
    /// [`Code::NotRunning`], or its supervisor does not answer.
    pub async fn ask_to_stop(self: &Arc<Self>, name: &TenantName) -> Result<Change> {
        self.running(name)?;
        self.units.ask_to_stop(name).await?;
        Ok(Change::Changed)
    }

    fn is_starting(&self, name: &TenantName) -> bool {
        let said = self.units.state(name).filter(|_| self.units.is_running(name));
        said.is_some_and(|said| matches!(said.phase, Phase::Queued | Phase::Starting | Phase::Booting))
    }

    fn stop_under_way(&self, name: &TenantName) -> Option<StopDeadline> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    async fn stop_in_turn(&self, name: &TenantName, limit: Option<Duration>) -> Result<Stopped> {
        if !self.store.has(name) {
            return Err(StoreError::NoTenant(name.to_string()).into());
        }
        if !self.units.is_running(name) && self.units.is_down(name).await? {
            return Ok(Stopped { change: Change::Unchanged, killed: None });
        }
        self.stop_now(name, limit).await
    }

    async fn stop_now(&self, name: &TenantName, limit: Option<Duration>) -> Result<Stopped> {
        // A configuration that was spoilt meanwhile does not keep a tenant from being stopped.
        let own = self.store.tenant(name).map(|tenant| tenant.stop_timeout);
        let limit = limit.or(own.ok()).unwrap_or(Duration::from_secs(90));
        let deadline = StopDeadline::after(limit, self.units.supervisor(name));
        let stopping = || self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        stopping().insert(name.clone(), deadline.clone());
        let end = self.units.stop(name, limit, &deadline).await;
        stopping().remove(name);
        Ok(Stopped { change: Change::Changed, killed: end?.killed() })
    }

    /// Stops a tenant if it runs, and starts it.
    ///
    /// # Errors
    /// Those of [`Host::stop`] and [`Host::start`].
    pub async fn restart(self: &Arc<Self>, name: &TenantName, enforce: Enforce) -> Result<Stopped> {
        let _turn = self.turns.take(name).await;
        // A new configuration that cannot work is told before the tenant is down.
        let tenant = self.store.tenant(name)?;
        let mut limits = None;
        if self.units.is_running(name) {
            limits = self.units.limit(name, &tenant.limits, enforce)?;
        }
        let killed = match self.stop_in_turn(name, None).await {
            Ok(Stopped { killed, .. }) => killed,
            Err(failure) => {
                // It may go on running, and then with what it had.
                if let Some(Err(error)) = limits.map(Applied::undo) {
                    log::error!(
                        "tenant \"{name}\" keeps some of its new limits: {}",
                        crate::error::chain(&error)
                    );
                }
                return Err(failure);
            }
        };
        let change = self.start_in_turn(name, enforce).await?;
        Ok(Stopped { change, killed })
    }

    /// Kills a tenant, or sends a signal to its init.
    ///
    /// # Errors
    /// [`Code::NotRunning`].
    pub async fn kill(self: &Arc<Self>, name: &TenantName, signal: Option<&str>) -> Result<()> {
        self.running(name)?;
        let Some(signal) = signal else {
            // It does not wait for its turn: what it is to end may be what holds it.
            return Ok(self.units.kill(name).await?);
        };
        let number = signal
            .parse::<SignalName>()
            .map_err(|error| Failure::of(Code::Invalid, &error).help(InvalidSignal::HELP))?
            .number();
        let init = self.units.state(name).and_then(|state| state.init);
        let not_up = || Failure::new(Code::NotRunning, format!("tenant {:?} has no init yet", name.as_str()));
        let init = init.ok_or_else(not_up)?;
        let failed = |error: std::io::Error| {
            Failure::new(Code::Failed, format!("cannot signal the init of {:?}: {error}", name.as_str()))
        };
        let pid = Pid::from_raw(init.pid).ok_or_else(not_up)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        if !init.is_alive() {
            return Err(not_up());
        }
        raw::pidfd_signal(pidfd.as_fd(), number).map_err(failed)
    }

    fn running(&self, name: &TenantName) -> Result<()> {
        if self.store.has(name) && self.units.is_running(name) {
            return Ok(());
        }
        self.store.record(name)?;
        Err(Failure::new(Code::NotRunning, format!("tenant {:?} does not run", name.as_str()))
            .help(format!("start it: tenantctl start {name}")))
    }

    /// Freezes or thaws a running tenant.
    ///
    /// # Errors
    /// [`Code::NotRunning`].
    pub async fn freeze(self: &Arc<Self>, name: &TenantName, on: bool) -> Result<Change> {
        let _turn = self.turns.take(name).await;
        self.running(name)?;
        if self.units.is_frozen(name) == on {
            return Ok(Change::Unchanged);
        }
        self.units.freeze(name, on).await?;
        Ok(Change::Changed)
    }

    /// Changes keys of a tenant's configuration. Limits, its group, its rate and its forwarded ports take
    /// effect at once where it runs; whether
    /// anything else waits for the next start is the second part of the answer.
    ///
    /// # Errors
    /// An invalid key or value, or a limit this host cannot enforce; nothing is changed then.
    pub async fn set(
        self: &Arc<Self>,
        name: &TenantName,
        set: Vec<String>,
        unset: Vec<String>,
        enforce: Enforce,
    ) -> Result<(Change, bool)> {
        let _turn = self.turns.take(name).await;
        // Not sooner: somebody else may have changed another key before it was this one's turn.
        let files = self.files.take(name).await;
        let base = self.store.config_text(name)?;
        let text = edit::apply(&base, &set, &unset).map_err(StoreError::Setting)?;
        self.configure_in_turn(name, base, text, enforce, files).await
    }

    /// Replaces a tenant's configuration file, see [`Store::configure`].
    ///
    /// # Errors
    /// Those of [`Host::set`], and [`Code::Conflict`].
    pub async fn configure(
        self: &Arc<Self>,
        name: &TenantName,
        base: String,
        text: String,
        enforce: Enforce,
    ) -> Result<(Change, bool)> {
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        self.configure_in_turn(name, base, text, enforce, files).await
    }

    async fn configure_in_turn(
        self: &Arc<Self>,
        name: &TenantName,
        base: String,
        text: String,
        enforce: Enforce,
        files: Turn,
    ) -> Result<(Change, bool)> {
        let (host, own, proposed) = (self.clone(), name.clone(), (base.clone(), text.clone()));
        let is_running = self.units.is_running(name);
        let begun = blocking(move || -> Result<(Change, Option<Tenant>, Tenant, LiveChange)> {
            let before = host.store.tenant(&own).ok();
            let after = host.store.resolve_text(&own, &proposed.1)?;
            // What cannot be the tenant's file must not be its unit's for a moment.
            let change = match host.units.starts_with_host() {
                true => host.store.rehearse(&own, &proposed.0, &proposed.1)?,
                false => Change::Changed,
            };
            let live = LiveChange::begin(&host, &own, before.as_ref(), &after, enforce)?;
            Ok((change, before, after, live))
        });
        let (change, before, after, live) = begun.await??;
        let waits = is_running && before.as_ref().is_none_or(|before| !LiveChange::is_all(before, &after));
        if change == Change::Unchanged {
            blocking(move || live.keep()).await?;
            return Ok((change, waits));
        }
        let carried = self.carry_ahead(name, &text, before.as_ref(), &after, enforce, &files).await;
        let ahead = match carried {
            Ok(ahead) => ahead,
            Err(failure) => {
                blocking(move || drop(live)).await?;
                return Err(Failure {
                    message: format!("cannot carry the file of tenant \"{name}\" to its unit: {failure}"),
                    ..failure
                });
            }
        };
        let (host, own) = (self.clone(), name.clone());
        let written = blocking(move || -> Result<Change> {
            let change = host.store.configure(&own, &base, &text, is_running)?;
            live.keep();
            Ok(change)
        });
        let change = match written.await.and_then(|written| written) {
            Ok(change) => change,
            Err(failure) => {
                if let Some(ahead) = ahead {
                    self.take_back(name, ahead).await;
                }
                return Err(failure);
            }
        };
        Ok((change, waits))
    }

    /// Makes the directories that a tenant's file asks for and carries the file to its unit, for a supervisor
    /// that is about to start. Does not wait for the tenant's turn: who has it may wait for that supervisor.
    ///
    /// # Errors
    /// The file cannot be used, or a limit cannot be enforced.
    pub async fn prepare(self: &Arc<Self>, name: &TenantName) -> Result<Change> {
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        blocking(move || host.store.prepare_start(&own, &host.units.cgroups(&own).v2)).await??;
        self.carry(name, Enforce::Asked, &files).await?;
        Ok(Change::Changed)
    }

    /// Carries a tenant's file to the tenant that runs: limits, group, rate and ports at once. The keys that
    /// wait for its next start are the second part of the answer.
    ///
    /// # Errors
    /// The file cannot be used, or a limit cannot be enforced; nothing is changed then.
    pub async fn reload(
        self: &Arc<Self>,
        name: &TenantName,
        enforce: Enforce,
    ) -> Result<(Change, Vec<String>)> {
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let is_running = self.units.is_running(name);
        let begun = blocking(move || -> Result<(Vec<String>, LiveChange)> {
            let text = host.store.config_text(&own)?;
            let tenant = host.store.resolve_text(&own, &text)?;
            let live = LiveChange::begin(&host, &own, None, &tenant, enforce)?;
            host.store.take_up(&own, is_running)?;
            if !is_running {
                return Ok((Vec::new(), live));
            }
            let started = record::read(&host.layout().started(&own)).ok();
            Ok((started.map(|started| edit::waiting(&started, &text)).unwrap_or_default(), live))
        });
        let (waiting, live) = begun.await??;
        let carried = self.carry(name, enforce, &files).await;
        let is_carried = carried.is_ok();
        blocking(move || if is_carried { live.keep() } else { drop(live) }).await?;
        carried?;
        Ok((Change::Changed, waiting))
    }

    /// Waits until a tenant is up, or until it is down.
    ///
    /// # Errors
    /// [`Code::Timeout`]; [`Code::NotRunning`] when it went down while it was waited for to be up.
    pub async fn wait(&self, name: &TenantName, up: bool, patience: Duration) -> Result<TenantState> {
        let deadline = tokio::time::Instant::now() + patience;
        // Before the first look: whatever happens after that is told.
        let mut changes = self.changes.subscribe(name);
        let look = if changes.is_watched { LOOK } else { LOOK_UNWATCHED };
        let mut was_up = false;
        loop {
            #[cfg(test)]
            self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let record = self.store.record(name)?.state;
            let (state, _) = self.state(name, record);
            match (up, state) {
                (true, TenantState::Running | TenantState::Frozen) => return Ok(state),
                (false, state) if !state.is_up() => return Ok(state),
                (true, state) if was_up && !state.is_up() => {
                    let text = format!("tenant {:?} went down while it was waited for", name.as_str());
                    return Err(Failure {
                        console: crate::units::last_console_lines(self.layout(), name, 20),
                        ..Failure::new(Code::NotRunning, text)
                    });
                }
                _ => was_up = was_up || state.is_up(),
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {
                    let wanted = if up { "up" } else { "down" };
                    let text =
                        format!("tenant {:?} is not {wanted} after {} s", name.as_str(), patience.as_secs());
                    return Err(Failure::new(Code::Timeout, text));
                }
                () = changes.changed() => {}
                () = self.units.ended(name) => {}
                // An event may be lost; the wait must not.
                () = tokio::time::sleep(look) => {}
            }
        }
    }
}

fn unprotected(limit: &Unenforceable) -> String {
    format!("{limit}: what tenants without settings take of it is not limited here")
}
