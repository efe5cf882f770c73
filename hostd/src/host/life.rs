//! Tenants that start, stop and stand still.

use std::{
    os::fd::AsFd as _,
    sync::{Arc, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tenant::{
    Tenant, TenantName,
    config::{InvalidSignal, Signal as SignalName},
    files::state::Phase,
    kernel::raw,
    protocol::control::ControlError,
};
use wire::{Code, EventKind, Failure};

use super::{Host, Result, Started, Stopped, blocking, events::What};
use crate::{
    quiet::Now,
    records::{Adopted, Change, StoreError},
    units::{
        Start, StopDeadline, UnitError,
        limits::{Applied, Enforce, Unenforceable},
    },
};

/// How long a start and a stop may take of a tenant whose file cannot be read: as long as where it says nothing.
const TIMEOUT: Duration = Duration::from_secs(90);

impl Host {
    /// The limits that this host gives a running tenant by default and cannot enforce, one sentence each.
    pub fn unprotected(&self, tenant: &Tenant) -> Vec<String> {
        let missing = self.units.unenforceable(&tenant.name, &tenant.limits).into_iter();
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
    pub async fn start(self: &Arc<Self>, name: &TenantName, enforce: Enforce) -> Result<Started> {
        let _turn = self.turns.take(name).await;
        self.start_in_turn(name, enforce).await
    }

    pub(super) async fn start_in_turn(
        self: &Arc<Self>,
        name: &TenantName,
        enforce: Enforce,
    ) -> Result<Started> {
        let named = |failure: Failure| Failure {
            message: format!("cannot start tenant {:?}: {}", name.as_str(), failure.message),
            help: failure.help.map(|help| help.replace("NAME", name.as_str())),
            ..failure
        };
        if self.is_starting(name) {
            // By systemd, for another process or once more.
            let timeout = self.store.tenant(name).map(|tenant| tenant.start_timeout);
            let timeout = timeout.unwrap_or(TIMEOUT);
            self.units.join_start(name, timeout).await.map_err(|error| named(error.into()))?;
        }
        if self.units.is_running(name) && self.is_parked(name) {
            self.units.park(name, false).await.map_err(|error| named(error.into()))?;
            return Ok(Started { change: Change::Changed, killed: None, tenant: None });
        }
        if self.units.is_running(name) {
            return Ok(Started { change: Change::Unchanged, killed: None, tenant: None });
        }
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let prepared = blocking(move || {
            // It is down: its overlays are mounted nowhere.
            host.store.reveal(&own);
            host.store.prepare_start(&own, &host.units.cgroups(&own).v2)
        });
        let Adopted { text, tenant, plan } = prepared.await?.map_err(|error| match error {
            StoreError::NoTenant(_) | StoreError::Broken { .. } | StoreError::HalfRemoved(_) => error.into(),
            other => named(other.into()),
        })?;
        self.apply_config(&text, &tenant, enforce, &files).await.map_err(named)?;
        // Its supervisor may ask for the same again.
        drop(files);
        let start = Start {
            name: name.clone(),
            plan: Arc::new(plan),
            later: self.plan_later(name),
            enforce,
            timeout: tenant.start_timeout,
        };
        self.units.start(start).await.map_err(|error| named(error.into()))?;
        Ok(Started { change: Change::Created, killed: None, tenant: Some(tenant) })
    }

    /// Asks a tenant to power off and waits until it has; `limit` stands in for its own `stop_timeout_sec`.
    ///
    /// One that is being stopped already gets no more time than that, and one that is being started is stopped all
    /// the same: neither waits for a process that works on the tenant, because a tenant chooses how long it boots.
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

    pub(super) fn is_starting(&self, name: &TenantName) -> bool {
        let said = self.units.state(name).filter(|_| self.units.is_running(name));
        said.is_some_and(|said| matches!(said.phase, Phase::Queued | Phase::Starting | Phase::Booting))
    }

    pub(super) fn stop_under_way(&self, name: &TenantName) -> Option<StopDeadline> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) async fn stop_in_turn(&self, name: &TenantName, limit: Option<Duration>) -> Result<Stopped> {
        if !self.store.has(name) {
            return Err(StoreError::NoTenant(name.to_string()).into());
        }
        if !self.units.is_running(name) && self.units.is_down(name).await? {
            return Ok(Stopped { change: Change::Unchanged, killed: None });
        }
        self.stop_now(name, limit).await
    }

    pub(super) async fn stop_now(&self, name: &TenantName, limit: Option<Duration>) -> Result<Stopped> {
        // A configuration that was spoilt meanwhile does not keep a tenant from being stopped.
        let own = self.store.tenant(name).map(|tenant| tenant.stop_timeout);
        let limit = limit.or(own.ok()).unwrap_or(TIMEOUT);
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
    pub async fn restart(self: &Arc<Self>, name: &TenantName, enforce: Enforce) -> Result<Started> {
        let _turn = self.turns.take(name).await;
        self.restart_in_turn(name, enforce).await
    }

    pub(super) async fn restart_in_turn(
        self: &Arc<Self>,
        name: &TenantName,
        enforce: Enforce,
    ) -> Result<Started> {
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
                    log::error!("cannot restore some limits of tenant \"{name}\": {}", wire::chain(&error));
                }
                return Err(failure);
            }
        };
        Ok(Started { killed, ..self.start_in_turn(name, enforce).await? })
    }

    /// Kills a tenant, or sends a signal to its init.
    ///
    /// # Errors
    /// [`Code::NotRunning`].
    pub async fn kill(self: &Arc<Self>, name: &TenantName, signal: Option<&str>) -> Result<()> {
        self.running(name)?;
        let Some(signal) = signal else {
            // It does not wait for its turn: what it is to end may be what holds it.
            self.units.kill(name).await?;
            self.events.tell(name, What::new(EventKind::Killed).because("a request to hostd"));
            return Ok(());
        };
        let number = signal
            .parse::<SignalName>()
            .map_err(|error| Failure::of(Code::Invalid, &error).help(InvalidSignal::HELP))?
            .number();
        if self.is_parked(name) {
            // It would not hear it before it is needed.
            self.units.park(name, false).await?;
        }
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

    pub(super) fn is_parked(&self, name: &TenantName) -> bool {
        self.units.state(name).is_some_and(|said| said.phase == Phase::Parked)
    }

    /// Parks a running tenant until it is needed, or wakes one that is parked.
    ///
    /// # Errors
    /// [`Code::NotRunning`], or it is in use.
    pub async fn park(self: &Arc<Self>, name: &TenantName, on: bool) -> Result<Change> {
        let _turn = self.turns.take(name).await;
        self.running(name)?;
        if self.is_parked(name) == on {
            return Ok(Change::Unchanged);
        }
        self.units.park(name, on).await.map_err(|error| match error {
            UnitError::Control(ControlError::Refused { .. }) => {
                let what = if on { "park" } else { "wake" };
                let failure = Failure::from(error);
                let message = format!("cannot {what} tenant {:?}: {}", name.as_str(), failure.message);
                Failure { code: Code::Busy, message, ..failure }
            }
            error => error.into(),
        })?;
        Ok(Change::Changed)
    }

    /// Freezes or thaws a running tenant.
    ///
    /// # Errors
    /// [`Code::NotRunning`].
    pub async fn freeze(self: &Arc<Self>, name: &TenantName, on: bool) -> Result<Change> {
        let _turn = self.turns.take(name).await;
        self.running(name)?;
        let is_parked = self.is_parked(name);
        if is_parked {
            // Its supervisor keeps it frozen, and lets go of it on request alone.
            self.units.park(name, false).await?;
        }
        if self.units.look(name, Now::default()).is_frozen == on {
            return Ok(if is_parked { Change::Changed } else { Change::Unchanged });
        }
        self.units.freeze(name, on).await?;
        self.events.tell(name, What::new(if on { EventKind::Frozen } else { EventKind::Thawed }));
        Ok(Change::Changed)
    }
}

fn unprotected(limit: &Unenforceable) -> String {
    format!("{limit}; tenants without a limit of their own are unlimited")
}
