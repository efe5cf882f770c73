//! Building a tenant, taking it down, and building it again.

use std::{
    fs,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use super::{
    Ending, Failed, Init, RunError, Supervisor, chain,
    lifecycle::{self, Verdict, Wish, exit_code},
    memory::MemoryEvents,
    rate::Budget,
    wall_clock_ms,
    wire::{Event, Tty},
};
use crate::{
    apply,
    facts::HostFacts,
    image::Ready,
    join::ExecContext,
    kernel::raw,
    load::{load_credentials, load_plan},
    plan::FirstProcess,
    record::{self, Durability},
    state::{Failure, Phase, ProcessRef, RunState},
};

/// Lines of the console that go with a failure.
const LAST_WORDS: usize = 20;
/// Messages of an init that are read per second, and at once.
const NOTIFY_RATE: u32 = 50;
/// How long viewers may take to hear the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// What this process needs beyond a tenant's own deadlines to build it and to take it down.
const GRACE: Duration = Duration::from_secs(20);
/// How often a signal is tried on an init that does not listen to it yet.
const LISTENING: Duration = Duration::from_millis(50);

impl Supervisor {
    /// Reads every file anew, removes what is left of an earlier run, and starts the tenant.
    pub(super) fn boot(&mut self) -> Result<(), RunError> {
        self.boot_began = Instant::now();
        self.wish = Wish::Run;
        self.ending = None;
        // Its own deadlines are shorter than these, whatever the unit's are.
        self.manager.tell(&extension(GRACE));
        if !self.is_standalone {
            self.prepare()?;
        }
        let facts = HostFacts::gather().map_err(RunError::io("look at", "this host"))?;
        let credentials = load_credentials(&self.layout, &self.name, self.credentials.as_deref())?;
        let plan = load_plan(&self.layout, &self.name, &facts, self.unit.as_deref(), &credentials)?;
        drop(credentials);
        // At the next boot this process sits in the supervisor's cgroup, not in the unit's.
        self.unit = Some(plan.cgroup.unit.clone());
        self.v2_mount = facts.cgroup.v2_mount.unwrap_or_default();
        let boots = self.state.as_ref().map_or(0, |state| state.boots) + 1;
        let supervisor = ProcessRef::of(std::process::id() as i32);
        self.state = Some(RunState {
            format_version: RunState::FORMAT_VERSION,
            phase: Phase::Starting,
            supervisor: supervisor.map_err(RunError::io("read", "/proc/self/stat"))?,
            init: None,
            digest: plan.digest,
            boots,
            started_ms: wall_clock_ms(),
            exec_us: None,
            ready_us: None,
            cgroup: plan.cgroup.unit.display().to_string(),
            status: None,
            exit: None,
            failure: None,
            oom_kills: None,
        });
        if let Some(state) = &self.state {
            // What cannot be written at all is better known before the start than after.
            state.write(&self.layout.run_state(&self.name))?;
        }
        // What a later edit differs from; without it less can be told, and nothing else is lost. The file itself may
        // be for root alone.
        let _ = record::read(&self.layout.tenant_config(&self.name)).and_then(|text| {
            record::write_private(&self.layout.started(&self.name), text.as_bytes(), Durability::Volatile)
        });
        // Before init is there: who finds it finds with what it was started.
        let context = ExecContext::of(&plan).map_err(RunError::io("look at", "this process"))?;
        context.write(&self.layout, &self.name)?;
        drop(context);
        self.tell_status();
        let plan = self.plan.insert(plan);
        self.manager.tell(&extension(plan.init.start_timeout + GRACE));
        if let Some(error) = apply::stop(&self.kernel, plan, self.network.as_ref()).into_iter().next() {
            return Err(RunError::Sweep(error));
        }
        self.network = None;
        let started = apply::start(&self.kernel, plan);
        plan.forget_secrets();
        let payload = started?;
        self.network = payload.network;
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
        self.memory = MemoryEvents::of(&plan_payload);
        self.register(now);
        if reports {
            self.tell_status();
        } else {
            self.ready(now)?;
        }
        self.rest_at = Some(now);
        Ok(())
    }

    /// Init is ready.
    pub(super) fn ready(&mut self, now: Instant) -> Result<(), RunError> {
        if let Some(state) = &mut self.state {
            state.ready_us = Some(micros(now - self.boot_began));
        }
        self.consoles.booted(now);
        self.turn = None;
        self.enter(lifecycle::Event::Ready)?;
        self.manager.tell("READY=1");
        self.tell_status();
        self.report_ready();
        Ok(())
    }

    /// Asks the tenant to end, to start again afterwards if the wish is a reboot. A second request does
    /// not make the first one more urgent, but a stop prevails over a reboot.
    pub(super) fn ask_to_end(&mut self, wish: Wish) -> Result<(), RunError> {
        let phase = self.phase();
        if wish == Wish::Stop || self.wish == Wish::Run {
            self.wish = wish;
        }
        if wish == Wish::Stop {
            self.manager.tell("STOPPING=1");
        }
        if !matches!(phase, Phase::Booting | Phase::Running) {
            return Ok(());
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let now = Instant::now();
        let stop_timeout = plan.init.stop_timeout;
        self.ending = Some(Ending { kill_at: now + stop_timeout, signal_at: Some(now), overdue: true });
        // A frozen init would not hear the signal.
        let _ = self.set_frozen(false);
        self.press(now);
        self.manager.tell(&extension(stop_timeout + GRACE));
        self.enter(lifecycle::Event::AskedToEnd)?;
        self.tell_status();
        Ok(())
    }

    /// Sends init its stop signal. The kernel keeps from the init of a pid namespace what it neither
    /// catches nor blocks, see pid_namespaces(7); returns whether it listened.
    fn signal_init(&self) -> bool {
        let (Some(init), Some(plan)) = (&self.init, &self.plan) else { return true };
        let listens = listens(init.pid, plan.init.stop_signal);
        // It may just have ended; then its end is on the way.
        let _ = raw::pidfd_signal(init.pidfd.as_fd(), plan.init.stop_signal);
        listens
    }

    /// Does what the present request to end is due for.
    pub(super) fn press(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        let Some(Ending { kill_at, signal_at, overdue }) = self.ending else { return };
        let signal_at = match due(signal_at) {
            true => (!self.signal_init()).then_some(now + LISTENING),
            false => signal_at,
        };
        let is_killed = due(Some(kill_at));
        let kill_at = match is_killed {
            true => {
                if overdue {
                    self.report_kill();
                }
                self.kill_payload();
                now + Duration::from_secs(10)
            }
            false => kill_at,
        };
        let overdue = overdue && !is_killed;
        self.ending = Some(Ending { kill_at, signal_at, overdue });
    }

    /// Ends the tenant now.
    pub(super) fn kill(&mut self) -> Result<(), RunError> {
        self.ask_to_end(Wish::Stop)?;
        if let Some(ending) = &mut self.ending {
            ending.kill_at = Instant::now();
            ending.overdue = false;
        }
        self.press(Instant::now());
        Ok(())
    }

    /// Kills all processes at once; init's end is then heard of like any other.
    fn kill_payload(&self) {
        if let (Some(plan), Some(init)) = (&self.plan, &self.init) {
            let _ = fs::write(plan.cgroup.payload.join("cgroup.kill"), "1");
            // Init alone takes the whole pid namespace with it, should the cgroup be out of reach.
            let _ = raw::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    pub(super) fn set_frozen(&self, frozen: bool) -> std::io::Result<()> {
        let plan = self.plan.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        fs::write(plan.cgroup.payload.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }

    /// Whether all processes of the tenant are at rest.
    pub(super) fn is_frozen(&self) -> bool {
        let events = self.plan.as_ref().map(|plan| plan.cgroup.payload.join("cgroup.events"));
        let text = events.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().any(|line| line == "frozen 1")
    }

    /// Init has ended: takes the rest down, and builds the tenant again or returns the exit code.
    pub(super) fn init_ended(&mut self, death: lifecycle::Death) -> Result<Option<u8>, RunError> {
        let Some(init) = self.init.take() else { return Ok(None) };
        let now = Instant::now();
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
                self.report_reboot(wish);
                self.sweep()?;
                self.unregister(now);
                let boots = self.state.as_ref().map_or(0, |state| state.boots) + 1;
                self.consoles.tell_all(&Event::Reboot { boots });
                self.enter(lifecycle::Event::Rebuilt)?;
                self.boot()?;
                Ok(None)
            }
        }
    }

    fn sweep(&self) -> Result<(), RunError> {
        let plan = self.plan.as_ref();
        let failed =
            plan.and_then(|plan| apply::stop(&self.kernel, plan, self.network.as_ref()).into_iter().next());
        failed.map_or(Ok(()), |error| Err(RunError::Sweep(error)))
    }

    /// The last act: leaves nothing behind but the final state.
    pub(super) fn finish(mut self, result: Result<u8, RunError>) -> Result<u8, Failed> {
        self.init = None;
        self.consoles.disconnect(Instant::now());
        let exit = self.state.as_ref().and_then(|state| state.exit);
        let result = result.map_err(|error| self.fail(error));
        self.consoles.dismiss_all(&Event::Ended { exit: exit.filter(|_| result.is_ok()) });
        self.farewell();
        let (layout, name) = (&self.layout, &self.name);
        for path in [layout.console_socket(name), layout.control_socket(name), layout.exec_context(name)] {
            // The next supervisor replaces what stays, and nobody uses it without one.
            let _ = fs::remove_file(path);
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
            message.push_str(&format!(" (and afterwards: {})", chain(&leftover)));
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
            // A phase that is final already, or a disk that is full: the error below is what matters.
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

/// Whether a process catches a signal, or blocks it and will read it later. See proc_pid_status(5).
fn listens(pid: i32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigBlk:").or_else(|| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & (1 << (signal - 1)) != 0
}

/// What gives the unit manager patience, see sd_notify(3).
fn extension(patience: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", patience.as_micros())
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}
