//! A tenant from its first boot to its end, and what the end of its init means.

use std::{mem, time::Instant};

use super::lifecycle::{self, Goal, Verdict, exit_code};
use crate::{
    apply,
    files::state::Woken,
    plan::FirstProcess,
    protocol::wire::Event,
    supervisor::{
        error::{Failed, RunError},
        host::report,
        park::away::Stage,
        process::{RunOptions, Supervisor, wall_clock_ms},
    },
};

/// Runs a tenant from its start to its end. Returns the exit code that stands for that end.
///
/// # Errors
/// Why it could not be started, or started again; everything has been taken down.
pub fn run(options: RunOptions) -> Result<u8, Failed> {
    let name = options.name.clone();
    let mut supervisor = Supervisor::new(options)
        .map_err(Failed::from)
        .inspect_err(|failed| report::report_refusal(&name, failed))?;
    let result = supervisor.begin();
    supervisor.finish(result)
}

impl Supervisor {
    /// Boots when it is this tenant's turn and keeps it until its end; returns the exit code that stands for it.
    pub(in crate::supervisor) fn begin(&mut self) -> Result<u8, RunError> {
        if self.take_turn()? && self.boot()? { self.supervise() } else { self.call_off() }
    }

    /// Keeps the tenant until its end; returns the exit code that stands for it.
    pub(in crate::supervisor) fn supervise(&mut self) -> Result<u8, RunError> {
        loop {
            if let Some(code) = self.return_if_wanted()? {
                return Ok(code);
            }
            let now = Instant::now();
            self.tick(now)?;
            let ready = self.wait(None, None, now).map_err(RunError::io("wait for", "events"))?;
            let now = Instant::now();
            self.rest(!ready.is_empty(), now);
            for (source, flags) in ready {
                if let Some(death) = self.handle(source, flags, now)?
                    && let Some(code) = self.init_ended(death)?
                {
                    return Ok(code);
                }
            }
        }
    }

    /// Boots a tenant that is away and needed; its exit code if it is to be stopped.
    fn return_if_wanted(&mut self) -> Result<Option<u8>, RunError> {
        let Some(away) = self.parking.away.as_ref().filter(|away| away.stage == Stage::Gone) else {
            return Ok(None);
        };
        if self.is_called_off {
            self.parking.away = None;
            return self.call_off().map(Some);
        }
        let Some(wanted) = away.wanted else { return Ok(None) };
        if let Some(state) = &mut self.state {
            state.parked = None;
            state.woken = Some(Woken { at_ms: wall_clock_ms(), why: wanted.why });
        }
        self.report_woken(wanted.why, wanted.call);
        self.enter(lifecycle::Event::Rebuilt)?;
        if !self.take_turn()? {
            return self.call_off().map(Some);
        }
        if let Some(away) = &mut self.parking.away {
            away.stage = Stage::Coming(None);
        }
        if !self.boot()? {
            return self.call_off().map(Some);
        }
        // The way back to whom it calls leads over what stands for it yet.
        self.check_sources(false);
        Ok(None)
    }

    /// Init has ended: takes the rest down, and builds the tenant again or returns the exit code.
    pub(in crate::supervisor) fn init_ended(
        &mut self,
        death: lifecycle::Death,
    ) -> Result<Option<u8>, RunError> {
        let Some(init) = self.init.take() else { return Ok(None) };
        let now = Instant::now();
        // Init itself may have been what the kernel chose.
        self.count_oom_kills(now);
        let age = now.duration_since(init.executed);
        drop(init);
        let process = self.plan.as_ref().map_or(FirstProcess::Program, |plan| plan.init.process);
        let verdict = lifecycle::judge(death, process, self.goal, self.phase(), age);
        self.consoles.disconnect(now);
        let away = mem::take(&mut self.parking).away;
        if let (Verdict::Parked, Some(away)) = (&verdict, away) {
            self.sweep()?;
            self.gone(away, now);
            return Ok(None);
        }
        if let Some(state) = &mut self.state {
            state.parked = None;
        }
        let goal = self.goal;
        match verdict {
            // Nothing is there to bring it back.
            Verdict::Parked => Ok(Some(0)),
            Verdict::Over(exit) => {
                self.sweep()?;
                if let Some(state) = &mut self.state {
                    state.exit = Some(exit);
                    state.init = None;
                }
                self.enter(lifecycle::Event::Ended)?;
                self.report_end(exit, goal);
                Ok(Some(exit_code(exit, goal)))
            }
            Verdict::Dead(exit) => {
                if let Some(state) = &mut self.state {
                    state.exit = Some(exit);
                }
                Err(RunError::Died(exit))
            }
            Verdict::Failed(exit) => {
                if let Some(state) = &mut self.state {
                    state.exit = Some(exit);
                }
                Err(RunError::ProgramFailed(exit))
            }
            Verdict::Reboot => {
                // A reboot that a client asked for is not a loop.
                if goal == Goal::Run && !self.guard.admits(now.duration_since(self.boot_began)) {
                    return Err(RunError::RebootLoop);
                }
                if let Some(limit) = self.start_limit.spent(now) {
                    return Err(RunError::NotReady(limit.as_secs()));
                }
                self.report_reboot(goal);
                self.sweep()?;
                self.unregister(now);
                let boots = self.state.as_ref().map_or(0, |state| state.boots) + 1;
                self.consoles.tell_all(&Event::Reboot { boots });
                self.enter(lifecycle::Event::Rebuilt)?;
                if self.boot()? { Ok(None) } else { self.call_off().map(Some) }
            }
        }
    }

    /// It was stopped before it had an init; returns the exit code that stands for that.
    pub(in crate::supervisor) fn call_off(&mut self) -> Result<u8, RunError> {
        self.enter(lifecycle::Event::Ended)?;
        self.report_called_off();
        Ok(0)
    }

    fn sweep(&self) -> Result<(), RunError> {
        let plan = self.plan.as_ref();
        let failed =
            plan.and_then(|plan| apply::end(&self.kernel, plan, self.network.as_ref()).into_iter().next());
        failed.map_or(Ok(()), |error| Err(RunError::Sweep(error)))
    }
}
