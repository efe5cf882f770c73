//! Building a tenant, taking it down, and building it again.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{WaitOptions, wait};

use super::lifecycle::{self, Verdict, Wish, exit_code};
use crate::{
    apply,
    enter::ExecContext,
    files::{
        record::{self, Durability},
        shelter,
        sources::{LoadPlanError, Sources, load_credentials},
        state::{Failure, Phase, ProcessRef, RunState},
    },
    kernel::forwarding6_release,
    model::{facts::HostFacts, image::Ready},
    plan::{FirstProcess, port_group},
    protocol::wire::{Event, Tty},
    supervisor::{
        Failed, Init, RunError, Supervisor, chain,
        host::{memory::MemoryEvents, notify::extension},
        terminals::rate::Budget,
        wall_clock_ms,
    },
};

/// Lines of the console that go with a failure.
const LAST_WORDS: usize = 20;
/// Messages of an init that are read per second, and at once.
const NOTIFY_RATE: u32 = 50;
/// How long viewers may take to hear the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// What this process needs beyond a tenant's own deadlines to build it and to take it down.
const GRACE: Duration = Duration::from_secs(20);

impl Supervisor {
    /// Reads every file anew, removes what is left of an earlier run, and starts the tenant. False when it is to
    /// be stopped instead: nothing of it is there then.
    pub(in crate::supervisor) fn boot(&mut self) -> Result<bool, RunError> {
        self.boot_began = Instant::now();
        self.wish = Wish::Run;
        self.ending = None;
        // Its own deadlines are shorter than these, whatever the unit's are. Once for a start: a tenant that reboots
        // before it is ready gets no more time by that, and one that has been ready is not being started any more.
        if self.start_limit.deadline().is_none() {
            self.manager.tell(&extension(GRACE));
        }
        // Those that make no sense are told of below.
        self.sources = self.take_sources().ok();
        if !self.is_standalone {
            self.prepare()?;
        }
        if self.is_called_off {
            return Ok(false);
        }
        // What hostd does when it starts may be long ago, or never have been.
        shelter::close_state(&self.layout)?;
        let facts = HostFacts::gather().map_err(RunError::io("look at", "this host"))?;
        let credentials = load_credentials(&self.layout, &self.name, self.credentials.as_deref())?;
        let sources = self.take_sources()?;
        let plan = sources.plan(&self.layout, &self.name, &facts, self.unit.as_deref(), &credentials)?;
        self.note_what_is_started(sources.text());
        drop(credentials);
        // At the next boot this process sits in the supervisor's cgroup, not in the unit's.
        self.unit = Some(plan.cgroup.unit.clone());
        self.v2_mount = facts.cgroup.v2_mount.unwrap_or_default();
        if let Some(state) = &mut self.state {
            if state.phase == Phase::Queued {
                state.phase = lifecycle::next(state.phase, lifecycle::Event::Turn)
                    .map_err(|illegal| RunError::io("supervise", &self.name)(io::Error::other(illegal)))?;
            }
            *state = RunState {
                phase: state.phase,
                digest: Some(plan.digest),
                boots: state.boots + 1,
                ..RunState::queued(state.supervisor, &plan.cgroup.unit, wall_clock_ms())
            };
            // What cannot be written at all is better known before the start than after.
            state.write(&self.layout.run_state(&self.name))?;
        }
        let context = ExecContext::of(&plan).map_err(RunError::io("look at", "this process"))?;
        // Before init is there: who finds it finds with what it was started.
        context.write(&self.layout, &self.name)?;
        drop(context);
        self.tell_status();
        let plan = self.plan.insert(plan);
        if self.start_limit.boots(self.boot_began, plan.init.start_timeout) {
            self.manager.tell(&extension(plan.init.start_timeout + GRACE));
        }
        if let Some(error) = apply::stop(&self.kernel, plan, self.network.as_ref()).into_iter().next() {
            return Err(RunError::Sweep(error));
        }
        self.network = None;
        let started = apply::start(&self.kernel, plan);
        plan.forget_secrets();
        let payload = started?;
        self.network = payload.network;
        // Closed last of all: see its description.
        let _remains = payload.remains;
        let now = Instant::now();
        self.consoles
            .connect(payload.terminals, &plan.init, now)
            .map_err(RunError::io("use", "the terminals"))?;
        self.init = Some(Init {
            pid: payload.pid,
            pidfd: payload.pidfd,
            notify: payload.notify,
            budget: Budget::new(now, NOTIFY_RATE, NOTIFY_RATE),
            muted: false,
            executed: now,
        });
        let reports = plan.init.ready == Ready::Notify;
        let plan_payload = plan.cgroup.payload.clone();
        if let Some(state) = &mut self.state {
            state.init = ProcessRef::of(payload.pid).ok();
            state.exec_us = Some(micros(now - self.boot_began));
        }
        self.enter(lifecycle::Event::Executed)?;
        self.memory = MemoryEvents::of(&plan_payload, self.memory_v1.as_deref());
        self.register(now);
        if reports {
            self.tell_status();
        } else {
            self.ready(now)?;
        }
        self.rest_at = Some(now);
        Ok(true)
    }

    /// What the tenant boots with: as it was read before, unless the files have changed since.
    fn take_sources(&mut self) -> Result<Sources, RunError> {
        match self.sources.take().filter(Sources::is_current) {
            Some(sources) => Ok(sources),
            None => Ok(Sources::read(&self.layout, &self.name).map_err(LoadPlanError::from)?),
        }
    }

    /// Keeps the text of the tenant's file as this boot has read it: what a later edit differs from. Without it less
    /// can be told, and nothing else is lost. The file may be for root alone.
    fn note_what_is_started(&self, text: &str) {
        let path = self.layout.started(&self.name);
        let written = record::write_private(&path, text.as_bytes(), Durability::Volatile);
        if let Err(error) = written {
            log::warn!(
                "cannot save the file that tenant {:?} was started with, so later edits are not detected: {}",
                self.name.as_str(),
                chain(&error)
            );
        }
    }

    /// Init is ready.
    pub(in crate::supervisor) fn ready(&mut self, now: Instant) -> Result<(), RunError> {
        if let Some(state) = &mut self.state {
            state.ready_us = Some(micros(now - self.boot_began));
        }
        self.consoles.booted(now);
        self.start_limit.ready();
        self.turn = None;
        self.enter(lifecycle::Event::Ready)?;
        self.manager.tell("READY=1");
        self.tell_status();
        self.report_ready();
        Ok(())
    }

    pub(in crate::supervisor) fn set_frozen(&self, frozen: bool) -> std::io::Result<()> {
        let plan = self.plan.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        fs::write(plan.cgroup.payload.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }

    /// Whether all processes of the tenant are at rest.
    pub(in crate::supervisor) fn is_frozen(&self) -> bool {
        let events = self.plan.as_ref().map(|plan| plan.cgroup.payload.join("cgroup.events"));
        let text = events.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().any(|line| line == "frozen 1")
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
        let verdict = lifecycle::judge(death, process, self.wish, self.phase(), age);
        self.consoles.disconnect(now);
        let wish = self.wish;
        match verdict {
            Verdict::Over(exit) => {
                self.sweep()?;
                if let Some(state) = &mut self.state {
                    state.exit = Some(exit);
                    state.init = None;
                }
                self.enter(lifecycle::Event::Ended)?;
                self.report_end(exit, wish);
                Ok(Some(exit_code(exit, wish)))
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
                // A reboot that somebody asked for is not a loop.
                if wish == Wish::Run && !self.guard.admits(now.duration_since(self.boot_began)) {
                    return Err(RunError::RebootLoop);
                }
                if let Some(limit) = self.start_limit.spent(now) {
                    return Err(RunError::NotReady(limit.as_secs()));
                }
                self.report_reboot(wish);
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
            plan.and_then(|plan| apply::stop(&self.kernel, plan, self.network.as_ref()).into_iter().next());
        failed.map_or(Ok(()), |error| Err(RunError::Sweep(error)))
    }

    /// The last act: leaves nothing behind but the final state.
    pub(in crate::supervisor) fn finish(mut self, result: Result<u8, RunError>) -> Result<u8, Failed> {
        self.init = None;
        self.consoles.disconnect(Instant::now());
        let exit = self.state.as_ref().and_then(|state| state.exit);
        let result = result.map_err(|error| self.fail(error));
        let released = forwarding6_release(&self.layout.forwarding6(), port_group(&self.layout));
        if let Err(error) = released {
            // The next tenant that ends tries again, and so does hostd.
            log::warn!(
                "cannot reset IPv6 forwarding of this host, which no tenant needs any more: {}",
                chain(&error)
            );
        }
        self.consoles.dismiss_all(&Event::Ended { exit: exit.filter(|_| result.is_ok()) });
        self.farewell();
        // Not every host's process 1 takes what others leave.
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        self.manager.finish();
        if self.unpublished.at().is_some() {
            self.publish();
        }
        let (layout, name) = (&self.layout, &self.name);
        for path in [layout.console_socket(name), layout.control_socket(name), layout.exec_context(name)] {
            remove(&path);
        }
        result
    }

    /// Takes down what there is and writes down why.
    fn fail(&mut self, error: RunError) -> Failed {
        let leftovers = self
            .plan
            .as_ref()
            .map(|plan| apply::stop(&self.kernel, plan, self.network.as_ref()))
            .unwrap_or_default();
        let mut message = chain(&error);
        for leftover in leftovers {
            message.push_str(&format!(" (and then: {})", chain(&leftover)));
        }
        let console = match &error {
            RunError::Died(_) | RunError::ProgramFailed(_) | RunError::NotReady(_) | RunError::RebootLoop => {
                self.consoles.last_words(Tty::CONSOLE, LAST_WORDS)
            }
            _ => Vec::new(),
        };
        let help = error.help().map(|help| help.replace("NAME", self.name.as_str()));
        let failure = Failure { message, help, console: console.clone() };
        self.manager.tell_failure(&failure.message);
        let failed = Failed { error: Box::new(error), console };
        self.report_failure(&failed, self.phase(), &failure.message);
        if let Some(state) = &mut self.state {
            state.init = None;
            state.failure = Some(failure);
            // A phase that is final already stays what it is: the error below is what matters.
            let _ = self.enter(lifecycle::Event::Failed);
        }
        failed
    }

    /// Gives viewers a moment to take what they have not been sent yet.
    fn farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        while self.consoles.has_backlog() && Instant::now() < end {
            if self.wait_for_viewers(end).is_err() {
                return;
            }
        }
    }
}

/// Removes a socket that nobody serves any more. Where it stays, the next supervisor replaces it.
fn remove(socket: &Path) {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("cannot remove {}: {error}", socket.display());
        }
        _ => {}
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}
