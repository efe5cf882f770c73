//! Starts of units.

use std::time::Duration;

use tenant::{
    TenantName,
    files::state::{Phase, ProcessRef},
};

use super::{
    bus::{self, Bus, unit},
    job::{self, JobEnd, Verb},
    manager::{GRACE, Systemd},
};
use crate::units::{FailedJob, Start, UnitError};

/// How long a start may wait for its turn, when the whole host starts.
const TURN: Duration = Duration::from_secs(600);

impl Systemd {
    /// Starts a tenant's unit and waits until the tenant is ready.
    ///
    /// # Errors
    /// What its supervisor says, or systemd.
    pub async fn start(&self, start: Start) -> Result<(), UnitError> {
        let before = self.state(&start.name).map(|state| state.supervisor);
        // So that earlier failures do not count against the limit of starts.
        self.reset_failed(&unit(&start.name)).await?;
        self.finish_start(&start.name, start.timeout, before).await
    }

    /// Waits for the end of a start that systemd has begun: another one becomes a part of it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn join_start(&self, name: &TenantName, timeout: Duration) -> Result<(), UnitError> {
        self.finish_start(name, timeout, None).await
    }

    /// Starts a unit. `before` is the supervisor that had spoken before it began.
    pub(super) async fn finish_start(
        &self,
        name: &TenantName,
        timeout: Duration,
        before: Option<ProcessRef>,
    ) -> Result<(), UnitError> {
        let patience = timeout + GRACE + TURN;
        match job::run(Verb::Start, &unit(name), patience).await? {
            JobEnd::Done => Ok(()),
            JobEnd::Late => {
                let console = crate::units::last_console_lines(&self.layout, name, 20);
                self.kill(name).await?;
                Err(UnitError::Timeout(patience.as_secs(), console))
            }
            JobEnd::Not(word) => Err(self.post_mortem(name, before, word).await),
        }
    }

    pub(super) async fn reset_failed(&self, unit: &str) -> Result<(), UnitError> {
        let bus = Bus::open().await?;
        if bus.unit(unit).await?.active != "failed" {
            return Ok(());
        }
        match bus.manager("reset the failed state of a unit", "ResetFailedUnit", &(unit,)).await {
            Err(error) if !error.is_unknown() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Why a job did not end well. `before` is the supervisor that had spoken before it began.
    pub(super) async fn post_mortem(
        &self,
        name: &TenantName,
        before: Option<ProcessRef>,
        word: String,
    ) -> UnitError {
        let state = self.state(name).filter(|state| Some(state.supervisor) != before);
        if state.as_ref().is_some_and(|state| state.phase == Phase::Stopped && state.ready_us.is_none()) {
            return UnitError::CalledOff;
        }
        if let Some(failure) = state.and_then(|state| state.failure.clone()) {
            return UnitError::Tenant(failure);
        }
        let unit = unit(name);
        let facts = match Bus::open().await {
            Ok(bus) => bus.service(&unit).await.unwrap_or_default(),
            Err(_) => bus::ServiceFacts::default(),
        };
        let (result, status) = (facts.result, facts.status);
        UnitError::Job(Box::new(FailedJob { unit, word, result, status }))
    }
}
