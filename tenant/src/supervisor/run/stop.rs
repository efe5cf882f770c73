//! A tenant that is to end: it is asked as its init understands it, and killed when its time is over.

use std::{
    fs,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::process::WaitStatus;

use super::{
    ending::{Ending, StopCommand},
    lifecycle::{self, Goal},
};
use crate::{
    cause::chain,
    enter::{JoinError, Target},
    files::state::Phase,
    kernel::raw,
    model::park::WakeReason,
    plan::StopProcedure,
    supervisor::{error::RunError, host::notify::extension, process::Supervisor},
};

/// How often a signal is tried on an init that does not listen to it yet.
const LISTENING: Duration = Duration::from_millis(50);
/// A stop command that failed is tried again after this long: its init may not be ready for it yet.
const AGAIN: Duration = Duration::from_secs(1);
/// A kill that had no effect is repeated after this long.
const KILL_AGAIN: Duration = Duration::from_secs(10);
/// What this process needs beyond a tenant's own deadlines to take it down.
const GRACE: Duration = Duration::from_secs(20);

impl Supervisor {
    /// Asks the tenant to end, to start again afterwards if the wish is a reboot. A second request does
    /// not make the first one more urgent unless it comes with a shorter `limit`; a stop prevails over a reboot.
    pub(in crate::supervisor) fn ask_to_end(
        &mut self,
        goal: Goal,
        limit: Option<Duration>,
    ) -> Result<(), RunError> {
        if self.end_away(goal, limit, Instant::now()) {
            return Ok(());
        }
        self.wake(WakeReason::Admin, Instant::now())?;
        let phase = self.phase();
        if goal == Goal::Stop || self.goal == Goal::Run {
            self.goal = goal;
        }
        if goal == Goal::Stop {
            self.manager.tell("STOPPING=1");
        }
        let now = Instant::now();
        match (phase, &mut self.ending, limit) {
            (Phase::Booting | Phase::Running, ..) => {}
            (Phase::Queued | Phase::Starting, ..) => {
                self.is_called_off |= goal == Goal::Stop;
                return Ok(());
            }
            (Phase::Stopping, Some(ending), Some(limit)) => {
                if ending.limit(now, limit) {
                    self.manager.tell(&extension(limit + GRACE));
                    self.tell_status();
                }
                return Ok(());
            }
            (Phase::Parked | Phase::Stopping | Phase::Stopped | Phase::Failed, ..) => return Ok(()),
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let given = limit.unwrap_or(plan.init.stop_timeout);
        self.ending = Some(Ending::new(now, given, limit.is_some()));
        // A frozen init would not hear it.
        if let Err(error) = self.set_frozen(false)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("cannot thaw tenant {:?} in order to stop it: {error}", self.name.as_str());
        }
        self.enforce_stop(now);
        self.manager.tell(&extension(given + GRACE));
        self.enter(lifecycle::Event::AskedToEnd)?;
        self.tell_status();
        Ok(())
    }

    /// Does what the present request to end is due for.
    pub(in crate::supervisor) fn enforce_stop(&mut self, now: Instant) {
        let Some(mut ending) = self.ending.take() else { return };
        if ending.ask_at.is_some_and(|at| now >= at) {
            self.ask_init(&mut ending, now);
        }
        if now >= ending.kill_at {
            ending.kill_at = now + KILL_AGAIN;
            if std::mem::take(&mut ending.is_told)
                && let Some(plan) = &self.plan
            {
                let reason = ending.reason(&plan.init.stop);
                self.report_kill(&reason);
                if let Some(state) = &mut self.state {
                    state.killed = Some(reason);
                }
            }
            self.kill_payload();
        }
        self.ending = Some(ending);
    }

    /// Asks init in its own way.
    fn ask_init(&self, ending: &mut Ending, now: Instant) {
        let (Some(init), Some(plan)) = (&self.init, &self.plan) else {
            ending.ask_at = None;
            return;
        };
        match &plan.init.stop {
            StopProcedure::Signal(signal) => {
                // The kernel keeps from the init of a pid namespace what it neither catches nor blocks, see
                // pid_namespaces(7).
                let listens = listens(init.pid, signal.number());
                // Where it has just ended, that is on the way.
                let sent = raw::pidfd_signal(init.pidfd.as_fd(), signal.number());
                ending.fault = match sent {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                        Some(format!("cannot send {signal}: {error}"))
                    }
                    _ if !listens => Some(format!("its init does not handle {signal}")),
                    _ => None,
                };
                ending.ask_at = ending.fault.is_some().then_some(now + LISTENING);
            }
            StopProcedure::Command(argv) => {
                let target = Target::of_child(init.pid, init.pidfd.as_fd(), &self.v2_mount);
                let host = |what| move |error| JoinError::Host(what, error);
                let started = target.map_err(host("open the tenant's cgroup")).and_then(|target| {
                    let console = self.consoles.slave().map_err(host("open its console"))?;
                    StopCommand::start(argv, plan, &target, &console)
                });
                match started {
                    Ok(command) => (ending.command, ending.ask_at) = (Some(command), None),
                    Err(error) => {
                        let fault = format!("{}: {}", plan.init.stop, chain(&error));
                        self.report_fault(ending, fault, now);
                    }
                }
            }
        }
    }

    /// Notes why asking had no effect, tells it the first time, and has it tried again.
    fn report_fault(&self, ending: &mut Ending, fault: String, now: Instant) {
        if ending.fault.as_ref() != Some(&fault) {
            log::warn!("cannot ask tenant {:?} to stop: {fault}", self.name.as_str());
        }
        ending.fault = Some(fault);
        ending.ask_at = Some(now + AGAIN);
    }

    /// There is news of the stop command, or a child of this process has ended.
    pub(in crate::supervisor) fn follow_stop_command(
        &mut self,
        ended: Option<(i32, WaitStatus)>,
        now: Instant,
    ) {
        let Some(mut ending) = self.ending.take() else { return };
        if let Some(command) = &mut ending.command {
            command.ended.extend(ended);
            match command.advance() {
                None => {}
                Some(Ok(())) => (ending.command, ending.fault) = (None, None),
                Some(Err(fault)) => {
                    ending.command = None;
                    let what = self.plan.as_ref().map(|plan| plan.init.stop.to_string()).unwrap_or_default();
                    self.report_fault(&mut ending, format!("{what}: {fault}"), now);
                }
            }
        }
        self.ending = Some(ending);
    }

    /// Ends the tenant now.
    pub(in crate::supervisor) fn kill(&mut self) -> Result<(), RunError> {
        self.ask_to_end(Goal::Stop, None)?;
        if let Some(ending) = &mut self.ending {
            ending.kill_at = Instant::now();
            ending.is_told = false;
        }
        self.enforce_stop(Instant::now());
        Ok(())
    }

    /// Kills all processes at once; init's end is then heard of like any other.
    fn kill_payload(&self) {
        let (Some(plan), Some(init)) = (&self.plan, &self.init) else { return };
        let file = plan.cgroup.payload.join("cgroup.kill");
        let killed = fs::write(&file, "1");
        // Init alone takes the whole pid namespace with it, should the cgroup be out of reach.
        let signalled = raw::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
        if let (Err(error), Err(_)) = (killed, signalled) {
            log::warn!("cannot write {}, trying again: {error}", file.display());
        }
    }
}

/// Whether a process catches a signal, or blocks it and will read it later. See proc_pid_status(5).
fn listens(pid: i32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigBlk:").or_else(|| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & (1 << (signal - 1)) != 0
}
