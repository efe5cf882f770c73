//! Stops of units, and what else is asked of their supervisors.

use std::{pin::pin, time::Duration};

use tenant::{
    TenantName,
    files::state::ProcessRef,
    protocol::control::{ControlError, Request},
};
use tokio::task;

use super::{
    bus::{Bus, BusError, unit},
    job::{self, JobEnd, Verb},
    manager::{GRACE, Systemd},
};
use crate::units::{
    FailedJob, PlanLater, UnitError,
    stop::{self, StopDeadline, StopEnd},
    sweep,
};

/// A stop has no deadline of its own besides the one that ends the wait for it.
const STOP: Duration = Duration::from_secs(1 << 24);

/// Which processes of a unit are killed, as `KillUnit` of org.freedesktop.systemd1(5) calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The supervisor.
    Main,
    /// All of its cgroup.
    All,
}

impl Whom {
    fn word(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::All => "all",
        }
    }
}

impl Systemd {
    /// Asks a supervisor for something, if there is one.
    pub(super) async fn ask(
        &self,
        name: &TenantName,
        supervisor: Option<ProcessRef>,
        request: Request,
    ) -> Result<(), ControlError> {
        let supervisor = supervisor.ok_or(ControlError::NotRunning)?;
        stop::ask(&self.layout, name, supervisor, request).await.map(drop)
    }

    /// Asks a tenant to power off, kills it when `deadline` has passed, and waits until its unit is down. `limit` is
    /// how long that is from now.
    ///
    /// # Errors
    /// systemd does not get it down.
    pub async fn stop(
        &self,
        name: &TenantName,
        limit: Duration,
        deadline: &StopDeadline,
    ) -> Result<StopEnd, UnitError> {
        let unit = unit(name);
        let before = self.supervisor(name);
        let (layout, own) = (self.layout.clone(), name.clone());
        // Side by side: the job keeps systemd from starting it again, the request says how long it may take.
        let told = task::spawn({
            let unit = unit.clone();
            async move {
                leave_activating(&unit).await;
                // One that has written nothing yet has no tenant that could take time to end.
                if let Some(supervisor) = before {
                    stop::tell_limit(&layout, &own, supervisor, limit).await;
                }
            }
        });
        let in_time = tokio::select! {
            end = job::run(Verb::Stop, &unit, STOP) => Some(end),
            () = deadline.passed(stop::TAKEDOWN) => None,
        };
        told.abort();
        if let Some(end) = in_time {
            self.judge_stop(name, end?)?;
            let state = self.state(name);
            return Ok(before.map_or(StopEnd::Ended, |before| StopEnd::of(state.as_deref(), before)));
        }
        log::warn!("{unit} does not stop; killing it");
        self.kill_unit(&unit, Whom::All).await?;
        self.judge_stop(name, job::run(Verb::Stop, &unit, GRACE).await?)?;
        Ok(StopEnd::hung())
    }

    pub(super) fn judge_stop(&self, name: &TenantName, end: JobEnd) -> Result<(), UnitError> {
        match end {
            JobEnd::Done => Ok(()),
            JobEnd::Not(word) => {
                let (result, status) = (String::new(), String::new());
                Err(UnitError::Job(Box::new(FailedJob { unit: unit(name), word, result, status })))
            }
            JobEnd::Late => Err(UnitError::Timeout(GRACE.as_secs(), Vec::new())),
        }
    }

    /// Kills a tenant and waits until its unit is down. systemd does not start it again.
    ///
    /// # Errors
    /// systemd does not get it down.
    pub async fn kill(&self, name: &TenantName) -> Result<(), UnitError> {
        let (unit, supervisor) = (unit(name), self.supervisor(name));
        let press = async {
            leave_activating(&unit).await;
            // The supervisor is told first, so that it takes the death of its init for what was asked.
            let Err(error) = self.ask(name, supervisor, Request::Kill {}).await else { return Ok(()) };
            log::debug!("tenant {:?}: {error}; killing its unit", name.as_str());
            // Only the supervisor: once it has ended, the unit has a process that removes what was left, and systemd would
            // call a unit failed in which that was killed.
            self.kill_unit(&unit, Whom::Main).await
        };
        // Side by side: the job keeps systemd from starting it again. Once it is done, what runs is another's
        // next start.
        let mut stop = pin!(job::run(Verb::Stop, &unit, GRACE));
        let end = tokio::select! {
            biased;
            end = &mut stop => end,
            pressed = press => {
                pressed?;
                stop.await
            }
        };
        match end? {
            JobEnd::Late => {
                log::warn!("{unit} does not stop; killing it");
                self.kill_unit(&unit, Whom::All).await?;
                self.judge_stop(name, job::run(Verb::Stop, &unit, GRACE).await?)
            }
            end => self.judge_stop(name, end),
        }
    }

    pub(super) async fn kill_unit(&self, unit: &str, whom: Whom) -> Result<(), UnitError> {
        const SIGKILL: i32 = 9;
        match Bus::open().await?.manager("kill a unit", "KillUnit", &(unit, whom.word(), SIGKILL)).await {
            // It may be down already.
            Err(BusError::Call(_, zbus::Error::MethodError(..))) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Freezes or thaws a running tenant: its supervisor does, whose cgroups they are.
    ///
    /// # Errors
    /// It does not answer, or cannot.
    pub async fn freeze(&self, name: &TenantName, on: bool) -> Result<(), UnitError> {
        let request = if on { Request::Freeze {} } else { Request::Thaw {} };
        Ok(self.ask(name, self.supervisor(name), request).await?)
    }

    /// Whether a unit is down and has no job.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn is_down(&self, name: &TenantName) -> Result<bool, UnitError> {
        Ok(Bus::open().await?.unit(&unit(name)).await?.is_down())
    }

    /// Removes what a tenant without a supervisor has left, unless systemd is about to start it.
    pub async fn sweep(&self, name: &TenantName, plan: PlanLater) {
        if self.is_running(name) {
            return;
        }
        match self.is_down(name).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return log::error!("{}", wire::chain(&error)),
        }
        let (layout, name, dir) = (self.layout.clone(), name.clone(), self.cgroups(name).v2);
        let swept = task::spawn_blocking(move || sweep::sweep(&layout, &name, &dir, || plan.make())).await;
        match swept {
            Ok(failures) => {
                failures.iter().for_each(|failure| log::error!("{}", wire::chain(failure)));
            }
            Err(error) => log::error!("cannot remove the leftovers of a tenant: {error}"),
        }
    }
}

/// Waits until systemd has begun to stop a unit that is being started: of a supervisor that ends before that systemd
/// says that its start has failed.
async fn leave_activating(unit: &str) {
    let deadline = tokio::time::Instant::now() + GRACE;
    while tokio::time::Instant::now() < deadline {
        let active = match Bus::open().await {
            Ok(bus) => bus.unit(unit).await.map(|facts| facts.active),
            Err(error) => Err(error),
        };
        if !matches!(active.as_deref(), Ok("activating")) {
            return;
        }
        tokio::time::sleep(job::LOOK).await;
    }
}
