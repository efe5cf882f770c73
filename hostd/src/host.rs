//! The store and the unit manager put together: what can be done with a tenant.
//!
//! One operation at a time works on a tenant; different tenants do not wait for each other, except for
//! the moment in which the store writes.

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
    carried::Carried,
    config::Signal as SignalName,
    kernel::raw,
    record,
    state::{Phase, RunState},
};
use tokio::{
    sync::OwnedMutexGuard,
    task::{self, JoinSet},
};

use crate::{
    error::{Code, Failure, chain},
    filter::{self, PacketFilter, Traffic},
    forwarding,
    store::{Change, NewTenant, Store, StoreError, edit},
    units::{Start, UnitManager},
};

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// So many of the tenants that start with the host are asked for at once.
const AUTOSTARTS_AT_ONCE: usize = 16;
/// How often `wait` looks at a tenant.
const WAIT_INTERVAL: Duration = Duration::from_millis(20);

/// The state of a tenant as it is told to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantState {
    /// Its record is not whole.
    Destroying,
    /// It does not run.
    Stopped,
    /// Its last start failed.
    Failed,
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
        !matches!(self, Self::Destroying | Self::Stopped | Self::Failed)
    }
}

/// One host with its tenants.
#[derive(Debug)]
pub struct Host {
    store: Store,
    units: UnitManager,
    filter: PacketFilter,
    busy: Mutex<HashMap<TenantName, Arc<tokio::sync::Mutex<()>>>>,
    /// Held by who carries a file to a unit: not a tenant's turn, which a start holds while its supervisor
    /// asks for this.
    carrying: tokio::sync::Mutex<()>,
    started: Instant,
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
            store,
            units,
            filter: PacketFilter::default(),
            busy: Mutex::default(),
            carrying: tokio::sync::Mutex::default(),
            started: Instant::now(),
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

    /// Waits until nobody else works on a tenant.
    pub(crate) async fn turn(&self, name: &TenantName) -> OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds are dropped here, so that the table does not grow for ever.
            if busy.len() > 4096 {
                busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            busy.entry(name.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Whether somebody works on a tenant at this moment.
    pub(crate) fn is_busy(&self, name: &TenantName) -> bool {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.get(name).is_some_and(|lock| lock.try_lock().is_err())
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

    /// Takes over what an earlier hostd left: running supervisors, remains of dead ones, half removed
    /// tenants. Then, once after each boot of the machine, starts what is to start with it.
    pub async fn take_over(self: &Arc<Self>) {
        let records = self.store.records();
        for (name, allocation) in records.iter() {
            self.units.take_over(name, || self.present_plan(name)).await;
            if allocation.state != RecordState::Ready
                && let Err(error) = self.destroy(name, true).await
            {
                log::error!("{error}");
            }
        }
        self.units.sweep_strangers(|name| records.contains_key(name)).await;
        let host = self.clone();
        if let Err(failure) = blocking(move || host.filter.take_over(&host.store)).await {
            log::error!("{failure}");
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
        match blocking(move || forwarding::leave(host.layout())).await {
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
        if std::fs::read_to_string(&marker).is_ok_and(|text| text == boot) {
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
                match host.start(&name, false).await {
                    Ok(change) => {
                        log::info!(TENANT = name.as_str(); "tenant {:?} is up ({change:?})", name.as_str());
                    }
                    Err(failure) => log::error!("{failure}"),
                }
            });
        }
        while starts.join_next().await.is_some() {}
        if let Err(error) = std::fs::write(&marker, boot) {
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
        let _turn = self.turn(name).await;
        let (host, own) = (self.clone(), name.clone());
        let (_, change) = blocking(move || host.store.create(&own, &new)).await??;
        let mut warnings = Vec::new();
        if change == Change::Created {
            // It is made; what its unit lacks the next start carries, or refuses.
            warnings.extend(self.carry(name, false).await.err().map(|failure| failure.message));
            if self.store.tenant(name).is_ok_and(|tenant| tenant.autostart) {
                let enabled = self.units.enable(name, true).await;
                warnings.extend(enabled.err().map(|error| crate::error::chain(&error)));
            }
        }
        Ok((change, warnings))
    }

    /// Removes a tenant; a running one only with `force`.
    ///
    /// # Errors
    /// [`Code::Running`], or what [`Store::destroy`] says.
    pub async fn destroy(self: &Arc<Self>, name: &TenantName, force: bool) -> Result<()> {
        let _turn = self.turn(name).await;
        self.store.record(name)?;
        if self.units.is_running(name) {
            if !force {
                return Err(Failure::new(Code::Running, format!("tenant {:?} runs", name.as_str()))
                    .help(format!("stop it first: tenantctl stop {name}; or pass --force")));
            }
            self.units.kill(name).await?;
        }
        self.units.forget(name).await?;
        let (host, name) = (self.clone(), name.clone());
        Ok(blocking(move || host.store.destroy(&name)).await??)
    }

    /// Starts a tenant and waits until it is ready.
    ///
    /// # Errors
    /// Whatever keeps it from starting, with its last console lines if it has any.
    pub async fn start(self: &Arc<Self>, name: &TenantName, allow_unenforced: bool) -> Result<Change> {
        let _turn = self.turn(name).await;
        self.start_in_turn(name, allow_unenforced).await
    }

    async fn start_in_turn(self: &Arc<Self>, name: &TenantName, allow_unenforced: bool) -> Result<Change> {
        let named = |failure: Failure| Failure {
            message: format!("cannot start tenant {:?}: {}", name.as_str(), failure.message),
            help: failure.help.map(|help| help.replace("NAME", name.as_str())),
            ..failure
        };
        if self.units.is_running(name) {
            return Ok(Change::Unchanged);
        }
        let (host, own) = (self.clone(), name.clone());
        let prepared = blocking(move || -> std::result::Result<(Tenant, Plan), StoreError> {
            host.store.prepare_start(&own, &host.units.cgroups(&own).v2)
        });
        let (tenant, plan) = prepared.await?.map_err(|error| match error {
            StoreError::NoTenant(_) | StoreError::HalfRemoved(_) => Failure::from(error),
            other => named(other.into()),
        })?;
        self.carry(name, allow_unenforced).await.map_err(named)?;
        let start = Start {
            name: name.clone(),
            plan: Arc::new(plan),
            limits: tenant.limits,
            allow_unenforced,
            timeout: tenant.start_timeout,
        };
        self.units.start(start).await.map_err(|error| named(error.into()))?;
        Ok(Change::Created)
    }

    /// Asks a tenant to power off and waits until it has; `deadline` stands in for its own.
    ///
    /// # Errors
    /// Something of it could not be removed.
    pub async fn stop(self: &Arc<Self>, name: &TenantName, deadline: Option<Duration>) -> Result<Change> {
        let _turn = self.turn(name).await;
        self.stop_in_turn(name, deadline).await
    }

    async fn stop_in_turn(&self, name: &TenantName, deadline: Option<Duration>) -> Result<Change> {
        self.store.record(name)?;
        if !self.units.is_running(name) && self.units.is_down(name).await? {
            return Ok(Change::Unchanged);
        }
        // A configuration that was spoilt meanwhile does not keep a tenant from being stopped.
        let own = self.store.tenant(name).map(|tenant| tenant.stop_timeout);
        self.units.stop(name, deadline.or(own.ok()).unwrap_or(Duration::from_secs(90))).await?;
        Ok(Change::Changed)
    }

    /// Stops a tenant if it runs, and starts it.
    ///
    /// # Errors
    /// Those of [`Host::stop`] and [`Host::start`].
    pub async fn restart(self: &Arc<Self>, name: &TenantName, allow_unenforced: bool) -> Result<Change> {
        let _turn = self.turn(name).await;
        // A new configuration that cannot work is told before the tenant is down.
        let tenant = self.store.tenant(name)?;
        if self.units.is_running(name) {
            self.units.limit(name, &tenant.limits, allow_unenforced)?;
        }
        self.stop_in_turn(name, None).await?;
        self.start_in_turn(name, allow_unenforced).await
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
            .map_err(|error| Failure::of(Code::Invalid, &error).help("e.g. SIGHUP or SIGRTMIN+4"))?
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
        self.store.record(name)?;
        if self.units.is_running(name) {
            return Ok(());
        }
        Err(Failure::new(Code::NotRunning, format!("tenant {:?} does not run", name.as_str()))
            .help(format!("start it: tenantctl start {name}")))
    }

    /// Freezes or thaws a running tenant.
    ///
    /// # Errors
    /// [`Code::NotRunning`].
    pub async fn freeze(self: &Arc<Self>, name: &TenantName, on: bool) -> Result<Change> {
        let _turn = self.turn(name).await;
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
        allow_unenforced: bool,
    ) -> Result<(Change, bool)> {
        let base = self.store.config_text(name)?;
        let text = edit::apply(&base, &set, &unset).map_err(StoreError::Setting)?;
        self.configure(name, base, text, allow_unenforced).await
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
        allow_unenforced: bool,
    ) -> Result<(Change, bool)> {
        let _turn = self.turn(name).await;
        let before = self.store.tenant(name).ok();
        let was_enabled = before.as_ref().map(|before| before.autostart);
        let (host, own) = (self.clone(), name.clone());
        let is_running = self.units.is_running(name);
        let (change, waits) = blocking(move || -> Result<(Change, bool)> {
            let after = host.store.resolve_text(&own, &text)?;
            let limits_differ = before.as_ref().is_none_or(|before| before.limits != after.limits);
            if limits_differ && (is_running || host.units.starts_with_host()) {
                host.units.limit(&own, &after.limits, allow_unenforced)?;
            }
            if is_running {
                host.filter.change(&host.store, &own, &after)?;
            }
            let change = match host.store.configure(&own, &base, &text, is_running) {
                Ok(change) => change,
                Err(error) => {
                    if let Some(before) = before.as_ref().filter(|_| is_running) {
                        host.filter.change(&host.store, &own, before)?;
                    }
                    // What runs goes on with the limits that its file still says.
                    if let Some(before) = before.as_ref().filter(|_| is_running && limits_differ) {
                        host.units.limit(&own, &before.limits, true)?;
                    }
                    return Err(error.into());
                }
            };
            if is_running {
                // Once more: it may have rebooted in between, with what its file said then.
                host.filter.change(&host.store, &own, &after)?;
            }
            let same_but_limits = before.is_some_and(|before| {
                filter::is_live_change(&Tenant { limits: after.limits.clone(), ..before }, &after)
            });
            Ok((change, is_running && !same_but_limits))
        })
        .await??;
        if change == Change::Changed {
            self.carry(name, allow_unenforced).await.map_err(|failure| Failure {
                message: format!(
                    "the file of tenant {:?} is changed, its unit is not: {failure}",
                    name.as_str()
                ),
                ..failure
            })?;
            let autostart = self.store.tenant(name)?.autostart;
            if was_enabled != Some(autostart) {
                self.units.enable(name, autostart).await?;
            }
        }
        Ok((change, waits))
    }

    /// Carries a tenant's file to its unit, where there is one beyond its life, and writes down what was
    /// carried. Directories have been seen to.
    async fn carry(self: &Arc<Self>, name: &TenantName, allow_unenforced: bool) -> Result<()> {
        if !self.units.starts_with_host() {
            return Ok(());
        }
        let _carrying = self.carrying.lock().await;
        let (host, own) = (self.clone(), name.clone());
        let read = blocking(move || -> Result<(String, Tenant, Option<Carried>)> {
            let text = host.store.config_text(&own)?;
            let tenant = host.store.resolve_text(&own, &text)?;
            // One that cannot be read is as good as none: everything is set then.
            Ok((text, tenant, Carried::read(&host.layout().carried(&own)).unwrap_or_default()))
        });
        let (text, tenant, carried) = read.await??;
        let before = carried.as_ref().map(|carried| carried.limits.clone()).unwrap_or_default();
        let set = self.units.carry(name, &before, &tenant.limits, tenant.restart, allow_unenforced).await?;
        let Some(limits) = set else { return Ok(()) };
        let now = Carried::new(&text, limits);
        if carried.as_ref() == Some(&now) {
            return Ok(());
        }
        let path = self.layout().carried(name);
        Ok(blocking(move || now.write(&path)).await?.map_err(StoreError::from)?)
    }

    /// Makes the directories that a tenant's file asks for and carries the file to its unit, for a supervisor
    /// that is about to start. Does not wait for the tenant's turn: who has it may wait for that supervisor.
    ///
    /// # Errors
    /// The file cannot be used, or a limit cannot be enforced.
    pub async fn prepare(self: &Arc<Self>, name: &TenantName) -> Result<Change> {
        let (host, own) = (self.clone(), name.clone());
        blocking(move || host.store.prepare_start(&own, &host.units.cgroups(&own).v2)).await??;
        self.carry(name, false).await?;
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
        allow_unenforced: bool,
    ) -> Result<(Change, Vec<String>)> {
        let _turn = self.turn(name).await;
        let (host, own) = (self.clone(), name.clone());
        let is_running = self.units.is_running(name);
        let waiting = blocking(move || -> Result<Vec<String>> {
            let text = host.store.config_text(&own)?;
            let tenant = host.store.resolve_text(&own, &text)?;
            if is_running {
                host.units.limit(&own, &tenant.limits, allow_unenforced)?;
            }
            host.store.take_up(&own, is_running)?;
            if !is_running {
                return Ok(Vec::new());
            }
            host.filter.change(&host.store, &own, &tenant)?;
            let started = record::read(&host.layout().started(&own)).ok();
            Ok(started.map(|started| edit::waiting(&started, &text)).unwrap_or_default())
        });
        let waiting = waiting.await??;
        self.carry(name, allow_unenforced).await?;
        Ok((Change::Changed, waiting))
    }

    /// Waits until a tenant is up, or until it is down.
    ///
    /// # Errors
    /// [`Code::Timeout`]; [`Code::NotRunning`] when it went down while it was waited for to be up.
    pub async fn wait(&self, name: &TenantName, up: bool, patience: Duration) -> Result<TenantState> {
        let deadline = Instant::now() + patience;
        let mut was_up = false;
        loop {
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
            if Instant::now() >= deadline {
                let wanted = if up { "up" } else { "down" };
                let text =
                    format!("tenant {:?} is not {wanted} after {} s", name.as_str(), patience.as_secs());
                return Err(Failure::new(Code::Timeout, text));
            }
            tokio::time::sleep(WAIT_INTERVAL).await;
        }
    }
}
