//! Units: the supervisors of tenants, and who starts them.
//!
//! [`UnitManager`] is the seam. [`systemd`] asks PID 1 for the units of tenants; [`standalone`] starts supervisors
//! itself, where systemd is not PID 1. What is above it asks for names and what runs; what is below decides how.

pub mod cgroups;
mod console;
mod error;
mod gauge;
mod later;
pub mod limits;
pub(crate) mod look;
mod notify;
mod ready;
mod spawn;
pub mod standalone;
mod start;
mod states;
mod stop;
mod sweep;
pub mod systemd;
pub mod usage;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use console::last_console_lines;
pub use error::{FailedJob, UnitError};
pub use later::PlanLater;
pub use start::Start;
pub use stop::{StopDeadline, StopEnd};
use tenant::{
    Layout, TenantName,
    config::Restart,
    files::state::{ProcessRef, RunState},
    kernel::source::View,
    model::allocation::Pinned,
    model::limits::Limits,
    model::park::WakeReason,
    protocol::control::{ControlError, Request, StartedPlan, Swapped},
};
use wire::{EffectiveLimit, UnitCgroups, UnitReport, Usage};

use crate::quiet::Now;

use self::{
    limits::{Applied, Enforce, IoSchedulers, Unenforceable},
    look::Look,
    standalone::Standalone,
    systemd::{Had, Pending, Systemd},
};

/// Who starts and stops supervisors.
#[derive(Debug)]
pub enum UnitManager {
    /// This process.
    Standalone(Standalone),
    /// systemd.
    Systemd(Systemd),
}

impl UnitManager {
    /// The directories of a tenant's unit, whether it runs or not.
    pub fn cgroups(&self, name: &TenantName) -> UnitCgroups {
        match self {
            Self::Standalone(units) => units.cgroups(name),
            Self::Systemd(units) => units.cgroups(name),
        }
    }

    /// Starts a supervisor and waits until the tenant is ready.
    ///
    /// # Errors
    /// See [`UnitError`]; nothing is left of the tenant then.
    pub async fn start(&self, start: Start) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => units.start(start).await,
            Self::Systemd(units) => units.start(start).await,
        }
    }

    /// Waits until a tenant that another process starts is ready; its init has `timeout` for that.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn join_start(&self, name: &TenantName, timeout: Duration) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => units.join_start(name, timeout).await,
            Self::Systemd(units) => units.join_start(name, timeout).await,
        }
    }

    /// Asks a tenant to power off, kills it when `deadline` has passed, `limit` from now, and waits until everything
    /// is gone.
    ///
    /// # Errors
    /// What is left could not be removed.
    pub async fn stop(
        &self,
        name: &TenantName,
        limit: Duration,
        deadline: &StopDeadline,
    ) -> Result<StopEnd, UnitError> {
        match self {
            Self::Standalone(units) => units.stop(name, limit, deadline).await,
            Self::Systemd(units) => units.stop(name, limit, deadline).await,
        }
    }

    /// A tenant that is being stopped may take no longer than this from now on.
    pub async fn hasten(&self, name: &TenantName, limit: Duration, deadline: &StopDeadline) {
        deadline.shorten(limit);
        if let Some(supervisor) = deadline.supervisor() {
            stop::tell_limit(self.layout(), name, supervisor, limit).await;
        }
    }

    /// Asks a tenant to power off. However long that takes, it is not killed.
    ///
    /// # Errors
    /// Its supervisor does not answer.
    pub async fn ask_to_stop(&self, name: &TenantName) -> Result<(), UnitError> {
        let request = Request::Stop { timeout_sec: Some(u32::MAX) };
        let supervisor = self.supervisor(name).ok_or(ControlError::NotRunning)?;
        Ok(stop::ask(self.layout(), name, supervisor, request).await.map(drop)?)
    }

    fn layout(&self) -> &Layout {
        match self {
            Self::Standalone(units) => units.layout(),
            Self::Systemd(units) => units.layout(),
        }
    }

    /// Kills a tenant and waits until everything is gone.
    ///
    /// # Errors
    /// What is left could not be removed.
    pub async fn kill(&self, name: &TenantName) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => units.kill(name).await,
            Self::Systemd(units) => units.kill(name).await,
        }
    }

    /// Tenants that have cgroups, whether they have a supervisor or not.
    pub fn existing(&self) -> Vec<TenantName> {
        match self {
            Self::Standalone(units) => units.existing(),
            Self::Systemd(units) => units.existing(),
        }
    }

    /// Takes away what this manager made for itself and no unit is left in.
    pub fn close(&self) {
        match self {
            Self::Standalone(units) => units.close(),
            Self::Systemd(_) => {}
        }
    }

    /// Whether a tenant has a supervisor.
    pub fn is_running(&self, name: &TenantName) -> bool {
        match self {
            Self::Standalone(units) => units.is_running(name),
            Self::Systemd(units) => units.is_running(name),
        }
    }

    /// The supervisor that a tenant has now.
    pub fn supervisor(&self, name: &TenantName) -> Option<ProcessRef> {
        match self {
            Self::Standalone(units) => units.supervisor(name),
            Self::Systemd(units) => units.supervisor(name),
        }
    }

    /// Waits until the supervisor that a tenant has now is gone, with all that was its own; for ever where it has none.
    pub async fn ended(&self, name: &TenantName) {
        match self {
            Self::Standalone(units) => units.ended(name).await,
            Self::Systemd(units) => units.ended(name).await,
        }
    }

    /// What the supervisor of a tenant says, none where it has none.
    pub fn state(&self, name: &TenantName) -> Option<Arc<RunState>> {
        match self {
            Self::Standalone(units) => units.state(name),
            Self::Systemd(units) => units.state(name),
        }
    }

    /// What a tenant does.
    pub(crate) fn look(&self, name: &TenantName, now: Now<'_>) -> Look {
        match self {
            Self::Standalone(units) => units.look(name, now),
            Self::Systemd(units) => units.look(name, now),
        }
    }

    /// The memory a running tenant uses, bytes.
    pub fn memory(&self, name: &TenantName) -> Option<u64> {
        match self {
            Self::Standalone(units) => units.memory(name),
            Self::Systemd(units) => units.memory(name),
        }
    }

    /// Its name: `standalone` or `systemd`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Standalone(_) => "standalone",
            Self::Systemd(_) => "systemd",
        }
    }

    /// Whose view of the host's directories supervisors have. Those of systemd have process 1's: hostd.service has
    /// mounts of its own.
    pub fn view(&self) -> View {
        match self {
            Self::Standalone(_) => View::Own,
            Self::Systemd(_) => View::Process(1),
        }
    }

    /// Whether it starts the tenants that are to start with the host, without being asked by hostd.
    pub fn starts_with_host(&self) -> bool {
        matches!(self, Self::Systemd(_))
    }

    /// Whether nothing of a tenant runs, and nothing is about to: one that waits to be started again is up.
    ///
    /// # Errors
    /// cannot connect to systemd.
    pub async fn is_down(&self, name: &TenantName) -> Result<bool, UnitError> {
        match self {
            Self::Standalone(units) => Ok(!units.is_running(name)),
            Self::Systemd(units) => Ok(!units.is_running(name) && units.is_down(name).await?),
        }
    }

    /// Finds the supervisor of a tenant that runs, or removes what a dead one has left.
    pub async fn sweep(&self, name: &TenantName, plan: PlanLater) {
        match self {
            Self::Standalone(units) => units.adopt(name, plan).await,
            Self::Systemd(units) if units.is_running(name) => {}
            Self::Systemd(units) => units.sweep(name, plan).await,
        }
    }

    /// hostd begins: finds what runs, and removes what is left of those that do not.
    pub async fn take_over(&self, name: &TenantName, plan: PlanLater) {
        match self {
            Self::Standalone(units) => units.adopt(name, plan).await,
            // The unit itself saw to it, and may be starting at this moment.
            Self::Systemd(_) => {}
        }
    }

    /// Removes cgroups of tenants that have no record.
    pub async fn sweep_unknown(&self, is_known: impl Fn(&TenantName) -> bool) {
        match self {
            Self::Standalone(units) => units.sweep_unknown(is_known).await,
            Self::Systemd(units) => {
                for name in units.existing().iter().filter(|name| !is_known(name)) {
                    ::log::warn!(
                        "the unit of tenant {:?} is running, but there is no such tenant",
                        name.as_str()
                    );
                }
            }
        }
    }

    /// The plan that a tenant which is running was started with, as its supervisor tells; one of an earlier release does
    /// not.
    pub async fn started_plan(&self, name: &TenantName) -> Option<StartedPlan> {
        let supervisor = self.supervisor(name)?;
        let reply = stop::ask(self.layout(), name, supervisor, Request::Plan {}).await.ok()?;
        reply.plan.map(|plan| *plan)
    }

    /// Puts another version beneath a tenant that is running.
    ///
    /// # Errors
    /// Its supervisor refuses, or does not answer.
    pub async fn swap(&self, name: &TenantName, to: Pinned) -> Result<Swapped, UnitError> {
        let supervisor = self.supervisor(name).ok_or(ControlError::NotRunning)?;
        let request = Request::Swap { image: to.image, digest: to.digest };
        let reply = stop::ask(self.layout(), name, supervisor, request).await?;
        Ok(reply.swapped.map(|swapped| *swapped).unwrap_or_default())
    }

    /// Which of a tenant's limits this host cannot enforce.
    pub fn unenforceable(&self, name: &TenantName, limits: &Limits) -> Vec<Unenforceable> {
        match self {
            Self::Standalone(units) => {
                let cgroups = units.cgroups(name);
                // Made at a start; before that its files are not there to be looked at.
                if !cgroups.v2.exists() {
                    return Vec::new();
                }
                limits::knobs(limits, &cgroups, IoSchedulers::of_host(&cgroups.v2)).1
            }
            Self::Systemd(units) => units.unenforceable(limits),
        }
    }

    /// Which of the host's default limits no tenant can have, for lack of a controller.
    pub fn lacking(&self, defaults: &Limits) -> Vec<Unenforceable> {
        match self {
            Self::Standalone(units) => limits::lacking(defaults, &units.controllers()),
            Self::Systemd(units) => units.unenforceable(defaults),
        }
    }

    /// Freezes or thaws a running tenant.
    ///
    /// # Errors
    /// The kernel refuses, or its supervisor does not answer.
    pub async fn freeze(&self, name: &TenantName, on: bool) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => Ok(cgroups::freeze(&units.cgroups(name), on)?),
            Self::Systemd(units) => units.freeze(name, on).await,
        }
    }

    /// Parks a running tenant, or wakes it.
    ///
    /// # Errors
    /// Its supervisor refuses, or does not answer.
    pub async fn park(&self, name: &TenantName, on: bool) -> Result<(), UnitError> {
        let supervisor = self.supervisor(name).ok_or(ControlError::NotRunning)?;
        let request = if on { Request::Park {} } else { Request::Wake { why: WakeReason::Admin } };
        stop::ask(self.layout(), name, supervisor, request).await?;
        Ok(())
    }

    /// Applies limits to a running tenant; what they were before is the answer. With systemd they are only looked at:
    /// [`UnitManager::apply_config`] sets them.
    ///
    /// # Errors
    /// One cannot be enforced, or the kernel refuses a value; nothing is changed then.
    pub fn limit(
        &self,
        name: &TenantName,
        limits: &Limits,
        enforce: Enforce,
    ) -> Result<Option<Applied>, UnitError> {
        match self {
            Self::Standalone(units) => {
                let cgroups = units.cgroups(name);
                let schedulers = IoSchedulers::of_host(&cgroups.v2);
                Ok(Some(limits::apply(limits, &cgroups, schedulers, enforce)?))
            }
            Self::Systemd(units) => units.enforceable(limits, enforce).map(|_| None),
        }
    }

    /// Those of a tenant's limits that its unit can have; none where there is no unit beyond its life.
    ///
    /// # Errors
    /// One cannot be enforced, unless that is to be passed over.
    pub fn enforceable(&self, limits: &Limits, enforce: Enforce) -> Result<Option<Limits>, UnitError> {
        match self {
            Self::Standalone(_) => Ok(None),
            Self::Systemd(units) => units.enforceable(limits, enforce).map(Some),
        }
    }

    /// Carries limits that can be enforced and the restart policy to a tenant's unit, whether it runs or not. `before`
    /// are the limits that were carried last. What the unit had is the answer; none where there is nothing to carry
    /// them to.
    ///
    /// # Errors
    /// systemd refuses; the unit has then what it had.
    pub async fn apply_config(
        &self,
        name: &TenantName,
        before: &Limits,
        limits: &Limits,
        restart: Restart,
    ) -> Result<Option<Had>, UnitError> {
        match self {
            Self::Standalone(_) => Ok(None),
            Self::Systemd(units) => units.apply_config(name, before, limits, restart).await.map(Some),
        }
    }

    /// Gives a tenant's unit what it had before these limits were carried to it. A failure is only logged.
    pub async fn give_back(&self, name: &TenantName, limits: &Limits, had: &Had) {
        if let Self::Systemd(units) = self {
            units.give_back(name, limits, had).await;
        }
    }

    /// Makes a tenant's unit start with the host, or not.
    ///
    /// # Errors
    /// systemd refuses.
    pub async fn enable(&self, name: &TenantName, on: bool) -> Result<(), UnitError> {
        match self {
            Self::Standalone(_) => Ok(()),
            Self::Systemd(units) => units.enable(name, on).await,
        }
    }

    /// Takes away what is kept about a tenant's unit beyond its life.
    ///
    /// # Errors
    /// systemd refuses.
    pub async fn forget(&self, name: &TenantName) -> Result<(), UnitError> {
        match self {
            Self::Standalone(_) => Ok(()),
            Self::Systemd(units) => units.forget(name).await,
        }
    }

    /// How a tenant's unit is, and its limits against those of its file; none where units are hostd's own.
    ///
    /// # Errors
    /// cannot connect to systemd.
    pub async fn report(
        &self,
        name: &TenantName,
        file: &Limits,
    ) -> Result<Option<(UnitReport, Vec<EffectiveLimit>)>, UnitError> {
        match self {
            Self::Standalone(_) => Ok(None),
            Self::Systemd(units) => units.report(name, file).await.map(Some),
        }
    }

    /// What units are doing that the states of their tenants do not tell.
    ///
    /// # Errors
    /// cannot connect to systemd.
    pub async fn pending(&self) -> Result<HashMap<TenantName, Pending>, UnitError> {
        match self {
            Self::Standalone(_) => Ok(HashMap::new()),
            Self::Systemd(units) => units.pending().await,
        }
    }

    /// What a running tenant uses.
    pub fn usage(&self, name: &TenantName) -> Usage {
        let init = self.state(name).and_then(|said| said.init).map(|init| init.pid);
        usage::usage(&self.cgroups(name), init)
    }
}
