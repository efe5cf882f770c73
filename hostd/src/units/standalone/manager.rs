//! The unit manager: what is asked of supervisors that this process has started.

use std::{
    collections::BTreeSet,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Signal, pidfd_send_signal};
use tenant::{
    HostFacts, Layout, TenantName,
    files::state::{Phase, ProcessRef, RunState},
    kernel::{Kernel, KernelError, Linux},
    plan::FirstProcess,
};
use tokio::{
    task,
    time::{sleep, timeout},
};
use wire::UnitCgroups;

use super::unit::{Ended, LOOK, Live, NOTIFY, Shared, held, or_none, report};
use crate::{
    quiet::Now,
    units::{
        PlanLater, Start, UnitError,
        cgroups::{self, Cgroups},
        look::Look,
        notify::{self, NotifySocket},
        ready::Awaited,
        spawn,
        states::{States, find, has_ended},
        stop::{self, StopDeadline, StopEnd},
    },
};

/// What the supervisor needs beyond its own deadlines to take a tenant down.
const GRACE: Duration = Duration::from_secs(15);
/// A process that was killed has ended after this long, or hangs in the kernel.
const KILLED: Duration = Duration::from_secs(20);
/// How often a supervisor is looked for that cannot be, for lack of memory or of a descriptor.
const TRIES: u8 = 10;

/// The standalone unit manager.
#[derive(Debug)]
pub struct Standalone {
    shared: Arc<Shared>,
    program: PathBuf,
}

impl Standalone {
    /// A unit manager in the cgroups this process was started in.
    ///
    /// # Errors
    /// There is no cgroup v2, a cgroup cannot be made, or the supervisor's program is missing.
    pub fn new(layout: Layout, facts: &HostFacts) -> Result<Self, UnitError> {
        Self::with_program(layout, facts, wire::programs::tenant()?)
    }

    /// A unit manager in real v2 cgroups, without v1 ones, whose supervisor is a shell script.
    #[cfg(test)]
    pub(crate) fn for_tests(layout: Layout, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        assert!(nix::unistd::geteuid().is_root(), "tests of units make cgroups: run them as root");
        let mut facts = HostFacts::gather().unwrap();
        facts.cgroup.v1.clear();
        facts.cgroup.v2_controllers.clear();
        let program = layout.root().join("supervisor");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self::with_program(layout, &facts, program).unwrap()
    }

    fn with_program(layout: Layout, facts: &HostFacts, program: PathBuf) -> Result<Self, UnitError> {
        let mut cgroups = Cgroups::of(&facts.cgroup, &layout)?;
        cgroups.prepare()?;
        notify::clear(&layout.run().join(NOTIFY));
        let states = States::new(layout.clone());
        let shared = Shared { layout, cgroups, live: Mutex::default(), states };
        Ok(Self { shared: Arc::new(shared), program })
    }

    /// Where things lie.
    pub(crate) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// The directories of a tenant's unit.
    pub fn cgroups(&self, name: &TenantName) -> UnitCgroups {
        match self.live(name) {
            Some(live) => live.cgroups.clone(),
            None => self.shared.cgroups.unit(name),
        }
    }

    /// The controllers that units have, by their names in cgroup v2.
    pub fn controllers(&self) -> BTreeSet<&str> {
        self.shared.cgroups.controllers()
    }

    fn live(&self, name: &TenantName) -> Option<Arc<Live>> {
        held(&self.shared.live).get(name).cloned()
    }

    /// What a tenant does.
    pub(in crate::units) fn look(&self, name: &TenantName, now: Now<'_>) -> Look {
        let said = self.shared.states.get_at(name, now);
        let live = self.live(name);
        Look::new(said, live.as_deref().map(|live| (&live.frozen, live.memory.as_ref())))
    }

    /// The memory a running tenant uses, bytes.
    pub fn memory(&self, name: &TenantName) -> Option<u64> {
        self.live(name)?.memory.as_ref()?.read()
    }

    /// Removes the common cgroups if no unit is left in them: this hostd ends.
    pub fn close(&self) {
        self.shared.cgroups.remove_empty();
    }

    /// Tenants that have cgroups, whether they have a supervisor or not.
    pub fn existing(&self) -> Vec<TenantName> {
        self.shared.cgroups.existing()
    }

    /// Whether a tenant has a supervisor.
    pub fn is_running(&self, name: &TenantName) -> bool {
        held(&self.shared.live).contains_key(name)
    }

    /// The supervisor that a tenant has now.
    pub fn supervisor(&self, name: &TenantName) -> Option<ProcessRef> {
        self.live(name).map(|live| live.process)
    }

    /// Waits until the supervisor that a tenant has now is gone; for ever where it has none.
    pub async fn ended(&self, name: &TenantName) {
        match self.live(name) {
            Some(live) => drop(gone(live.ended.clone()).await),
            None => std::future::pending().await,
        }
    }

    /// What the last supervisor of a tenant said; read again only when the file is another one.
    pub fn state(&self, name: &TenantName) -> Option<Arc<RunState>> {
        self.shared.states.get(name)
    }

    /// Finds the supervisor that an earlier hostd left, or sweeps what is left of a dead one.
    pub async fn adopt(&self, name: &TenantName, plan: PlanLater) {
        let shared = &self.shared;
        let cgroups = shared.recorded(name).unwrap_or_else(|| shared.cgroups.unit(name));
        let found = match self.found(name).await {
            Ok(found) => found,
            Err(error) => {
                // Nothing is taken away: it may be running, and its lock keeps a second supervisor out.
                log::error!(TENANT = name.as_str(); "cannot look for the supervisor of tenant {:?}: {error}", name.as_str());
                return;
            }
        };
        if let Some((process, pidfd)) = found {
            log::info!(TENANT = name.as_str(); "tenant {:?} is running (supervisor {})", name.as_str(), process.pid);
            shared.watch(name, process, pidfd, cgroups, plan);
            return;
        }
        let has_leftovers = cgroups.v2.exists() || cgroups.v1.values().any(|dir| dir.exists());
        if has_leftovers {
            log::warn!(TENANT = name.as_str(); "the supervisor of tenant {:?} is gone; removing its leftovers", name.as_str());
            let (shared, name) = (shared.clone(), name.clone());
            let swept = task::spawn_blocking(move || shared.sweep(&name, &cgroups, &plan)).await;
            report(or_none(swept));
        }
    }

    /// The supervisor of a tenant. Where it cannot be looked for, that is tried some times.
    async fn found(&self, name: &TenantName) -> io::Result<Option<(ProcessRef, OwnedFd)>> {
        let find = || match self.state(name) {
            Some(state) => find(&state),
            // Also where its file cannot be read.
            None => match RunState::read(&self.shared.layout.run_state(name)) {
                Ok(state) => state.map_or(Ok(None), |state| find(&state)),
                Err(error) => Err(io::Error::new(error.kind(), wire::chain(&error))),
            },
        };
        let mut found = find();
        for _ in 0..TRIES {
            if found.is_ok() {
                break;
            }
            sleep(LOOK).await;
            found = find();
        }
        found
    }

    /// Removes cgroups of tenants that have no record.
    pub async fn sweep_unknown(&self, is_known: impl Fn(&TenantName) -> bool) {
        for name in self.shared.cgroups.existing() {
            if !is_known(&name) {
                self.adopt(&name, PlanLater::none()).await;
            }
        }
    }

    /// Starts a supervisor and waits until the tenant is ready.
    ///
    /// # Errors
    /// See [`UnitError`]; nothing is left of the tenant then.
    pub async fn start(&self, start: Start) -> Result<(), UnitError> {
        let name = start.name.clone();
        let patience = start.timeout + GRACE;
        let is_app = start.plan.init.process == FirstProcess::Reaper;
        let (shared, program) = (self.shared.clone(), self.program.clone());
        let notify = NotifySocket::bind(&shared.notify_dir(), name.as_str())
            .map_err(|error| UnitError::Io("create the notification socket", error))?;
        let path = notify.path().to_owned();
        // The new supervisor's first state must not be taken for the old one's last.
        let launched = task::spawn_blocking(move || shared.launch(&program, &start, &path)).await;
        let process = launched.map_err(|error| UnitError::Io("start the supervisor", error.into()))??;
        let Some(live) = self.live(&name) else {
            return self.over(&name, process, is_app);
        };
        let Shared { layout, states, .. } = &*self.shared;
        let awaited = Awaited { layout, states, name: &name, process, notify: Some(&notify) };
        self.up_or_over(&awaited, &live, patience, is_app).await
    }

    /// Waits for a start that an earlier hostd has begun, or for a reboot.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn join_start(&self, name: &TenantName, timeout: Duration) -> Result<(), UnitError> {
        let Some(live) = self.live(name) else { return Ok(()) };
        let Shared { layout, states, .. } = &*self.shared;
        let awaited = Awaited { layout, states, name, process: live.process, notify: None };
        // Whether it is an application is not known; one that is over says so by its state.
        self.up_or_over(&awaited, &live, timeout + GRACE, true).await
    }

    async fn up_or_over(
        &self,
        awaited: &Awaited<'_>,
        live: &Live,
        patience: Duration,
        is_app: bool,
    ) -> Result<(), UnitError> {
        let Awaited { name, process, .. } = awaited;
        tokio::select! {
            biased;
            is_ready = awaited.is_ready(patience) => {
                if is_ready {
                    return Ok(());
                }
                let console = self.console(name);
                self.kill(name).await?;
                Err(UnitError::Timeout(patience.as_secs(), console))
            }
            _ = gone(live.ended.clone()) => self.over(name, *process, is_app),
        }
    }

    /// A supervisor has ended before anybody heard that its tenant was ready: nothing to complain about if
    /// that was a program that is done already, or has failed since.
    fn over(&self, name: &TenantName, process: ProcessRef, is_app: bool) -> Result<(), UnitError> {
        let state = self.state(name).filter(|state| state.supervisor == process);
        match state {
            Some(state) if is_app && state.ready_us.is_some() => Ok(()),
            _ => Err(self.post_mortem(name, process)),
        }
    }

    /// Why a supervisor ended before its tenant was ready.
    fn post_mortem(&self, name: &TenantName, process: ProcessRef) -> UnitError {
        let state = self.state(name).filter(|state| state.supervisor == process);
        if state.as_ref().is_some_and(|state| state.phase == Phase::Stopped && state.ready_us.is_none()) {
            return UnitError::CalledOff;
        }
        match state.and_then(|state| state.failure.clone()) {
            Some(failure) => UnitError::Tenant(failure),
            None => UnitError::Died(spawn::read_stderr_tail(&self.shared.layout, name)),
        }
    }

    fn console(&self, name: &TenantName) -> Vec<String> {
        crate::units::last_console_lines(&self.shared.layout, name, 20)
    }

    /// Asks a tenant to power off, kills it when `deadline` has passed, and waits until everything is gone. `limit`
    /// is how long that is from now.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn stop(
        &self,
        name: &TenantName,
        limit: Duration,
        deadline: &StopDeadline,
    ) -> Result<StopEnd, UnitError> {
        let Some(live) = self.live(name) else { return Ok(StopEnd::Ended) };
        // The supervisor thaws as well; this serves one that is of an earlier release.
        if live.frozen.read() == Some(1)
            && let Err(error) = cgroups::freeze(&live.cgroups, false)
        {
            log::warn!(TENANT = name.as_str(); "{}", wire::chain(&error));
        }
        let asked = signal(&live.pidfd, Signal::TERM);
        let (layout, own, process) = (self.shared.layout.clone(), name.clone(), live.process);
        let told = task::spawn(async move { stop::tell_limit(&layout, &own, process, limit).await });
        let in_time = tokio::select! {
            left = gone(live.ended.clone()) => Some(left),
            () = deadline.passed(stop::TAKEDOWN) => None,
        };
        told.abort();
        if let Some(left) = in_time {
            left?;
            return Ok(StopEnd::of(self.state(name).as_deref(), live.process));
        }
        log::warn!(TENANT = name.as_str(); "the supervisor of tenant {:?} does not stop; killing it", name.as_str());
        self.end(&live).await.map_err(|error| asked.err().unwrap_or(error))?;
        Ok(StopEnd::hung())
    }

    /// Kills a tenant and waits until everything is gone.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn kill(&self, name: &TenantName) -> Result<(), UnitError> {
        let Some(live) = self.live(name) else { return Ok(()) };
        // The supervisor is told first, so that it takes the death of its init for what was asked. Whatever comes of
        // that, everything is killed.
        let asked = signal(&live.pidfd, Signal::TERM);
        let killed = kill_all(&live, live.cgroups.payload()).await;
        let killed = killed.map_err(|error| UnitError::Io("kill the tenant", error.into()))?;
        if asked.is_ok()
            && killed.is_ok()
            && let Ok(left) = timeout(GRACE, gone(live.ended.clone())).await
        {
            return left;
        }
        self.end(&live).await.map_err(|error| match killed {
            Err(first) => UnitError::Leftovers(Arc::new(vec![first])),
            Ok(()) => error,
        })
    }

    /// Kills a supervisor that does not end, with everything in its unit, and waits until that is gone.
    async fn end(&self, live: &Live) -> Result<(), UnitError> {
        if let Err(error) = signal(&live.pidfd, Signal::KILL) {
            log::warn!("{}", wire::chain(&error));
            kill_all(live, live.cgroups.v2.clone())
                .await
                .map_err(|error| UnitError::Io("kill the unit", error.into()))?
                .map_err(|error| UnitError::Leftovers(Arc::new(vec![error])))?;
        }
        let ended = timeout(KILLED, gone(live.ended.clone())).await;
        ended.unwrap_or(Err(UnitError::Stuck(live.process.pid)))
    }
}

/// Kills what is in a cgroup of a unit, unless its supervisor has ended: what is left of it is swept then, and a
/// cgroup of that name may be the next one's.
async fn kill_all(live: &Live, dir: PathBuf) -> Result<Result<(), KernelError>, task::JoinError> {
    let pidfd = live.pidfd.clone();
    task::spawn_blocking(move || if has_ended(&pidfd) { Ok(()) } else { Linux::new().cgroup_kill(&dir) })
        .await
}

/// Waits for the end of a unit.
async fn gone(mut ended: Ended) -> Result<(), UnitError> {
    let leftovers = match ended.wait_for(Option::is_some).await {
        Ok(value) => value.clone().unwrap_or_default(),
        Err(_) => return Ok(()),
    };
    if leftovers.is_empty() { Ok(()) } else { Err(UnitError::Leftovers(leftovers)) }
}

fn signal(pidfd: &OwnedFd, signal: Signal) -> Result<(), UnitError> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(UnitError::Io("signal the supervisor", errno.into())),
    }
}

#[cfg(test)]
impl Drop for Standalone {
    fn drop(&mut self) {
        self.close();
    }
}
