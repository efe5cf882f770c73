//! The unit manager of a host whose PID 1 is not systemd: hostd starts the supervisors itself.
//!
//! They are in sessions of their own and outlive hostd. A hostd that starts finds them by `state.json`,
//! makes sure of each by its pidfd and start time, and watches it like one of its own. When one ends,
//! however it does, what it may have left is swept away.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};
use tenant::{
    HostFacts, Layout, Plan, TenantName,
    files::{
        record::{self, Durability},
        state::{Exit, Phase, ProcessRef, RunState},
    },
    kernel::{Kernel, KernelError, Linux},
    plan::FirstProcess,
};
use tokio::{
    io::unix::AsyncFd,
    sync::watch,
    task,
    time::{sleep, timeout},
};
use wire::UnitCgroups;

use super::{
    Start, UnitError,
    cgroups::{self, Cgroups},
    gauge::Gauge,
    limits::{self, IoSchedulers},
    notify::{self, NotifySocket},
    ready::Awaited,
    spawn::{self, Spawned},
    states::{States, find},
    stop::{self, StopDeadline, StopEnd},
    sweep, usage,
};

/// What the supervisor needs beyond its own deadlines to take a tenant down.
const GRACE: Duration = Duration::from_secs(15);
/// A process that was killed has ended after this long, or hangs in the kernel.
const KILLED: Duration = Duration::from_secs(20);
/// How often a supervisor is looked at that the kernel does not tell of.
const LOOK: Duration = Duration::from_millis(200);

/// Directory, in the runtime tree, of the sockets that starting supervisors report to.
const NOTIFY: &str = "notify";

/// How a unit's end is told.
type Ended = watch::Receiver<Option<Arc<Vec<KernelError>>>>;

/// A supervisor that runs.
#[derive(Debug)]
struct Live {
    process: ProcessRef,
    pidfd: Arc<OwnedFd>,
    cgroups: UnitCgroups,
    ended: Ended,
    memory: Option<Gauge>,
    frozen: Gauge,
}

/// The standalone unit manager.
#[derive(Debug)]
pub struct Standalone {
    shared: Arc<Shared>,
    program: PathBuf,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    cgroups: Cgroups,
    live: Mutex<HashMap<TenantName, Arc<Live>>>,
    states: States,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
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
    pub(super) fn layout(&self) -> &Layout {
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

    /// Whether the processes of a running tenant are frozen.
    pub fn is_frozen(&self, name: &TenantName) -> bool {
        self.live(name).is_some_and(|live| live.frozen.read() == Some(1))
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

    /// Finds the supervisor that an earlier hostd left, or sweeps what is left of a dead one. `plan`
    /// gives what the tenant would be started with now, if there is such a thing.
    pub async fn adopt(&self, name: &TenantName, plan: impl FnOnce() -> Option<Arc<Plan>>) {
        let shared = &self.shared;
        let cgroups = shared.recorded(name).unwrap_or_else(|| shared.cgroups.unit(name));
        if let Some(state) = self.state(name)
            && let Some((process, pidfd)) = find(&state)
        {
            log::info!(TENANT = name.as_str(); "tenant {:?} is running (supervisor {})", name.as_str(), process.pid);
            shared.watch(name, process, pidfd, cgroups, plan());
            return;
        }
        let has_leftovers = cgroups.v2.exists() || cgroups.v1.values().any(|dir| dir.exists());
        if has_leftovers {
            log::warn!(TENANT = name.as_str(); "the supervisor of tenant {:?} is gone; removing its leftovers", name.as_str());
            let (shared, name, plan) = (shared.clone(), name.clone(), plan());
            let swept = task::spawn_blocking(move || shared.sweep(&name, &cgroups, plan.as_deref())).await;
            report(or_none(swept));
        }
    }

    /// Removes cgroups of tenants that have no record.
    pub async fn sweep_unknown(&self, is_known: impl Fn(&TenantName) -> bool) {
        for name in self.shared.cgroups.existing() {
            if !is_known(&name) {
                self.adopt(&name, || None).await;
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
        let notify_dir = shared.layout.run().join(NOTIFY);
        let notify = NotifySocket::bind(&notify_dir, name.as_str())
            .map_err(|error| UnitError::Io("create the notification socket", error))?;
        let path = notify.path().to_owned();
        // The new supervisor's first state must not be taken for the old one's last.
        let launched = task::spawn_blocking(move || shared.launch(&program, &start, &path)).await;
        let process = launched.map_err(|error| UnitError::Io("start the supervisor", error.into()))??;
        let Some(live) = self.live(&name) else {
            return self.over(&name, process, is_app);
        };
        let Shared { layout, states, .. } = &*self.shared;
        let awaited = Awaited { layout, states, name: &name, process, notify: &notify };
        tokio::select! {
            biased;
            is_ready = awaited.is_ready(patience) => {
                if is_ready {
                    return Ok(());
                }
                let console = self.console(&name);
                self.kill(&name).await?;
                Err(UnitError::Timeout(patience.as_secs(), console))
            }
            _ = gone(live.ended.clone()) => self.over(&name, process, is_app),
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
        super::last_console_lines(&self.shared.layout, name, 20)
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

/// Waits for the end of a supervisor, and takes it where it is a child of this process: one of an earlier hostd was
/// inherited by init. Returns at no other moment: what follows is that everything of its tenant is taken away.
async fn end_of(pidfd: &Arc<OwnedFd>, name: &TenantName) {
    #[expect(deprecated, reason = "the descriptor outlives its registration: both hold the Arc")]
    let watched = AsyncFd::new(pidfd.clone());
    let told = match &watched {
        Ok(readable) => readable.readable().await.map(drop),
        Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
    };
    if let Err(error) = told {
        log::warn!(TENANT = name.as_str(); "cannot watch the supervisor of tenant {:?}, polling every {} ms instead: {error}", name.as_str(), LOOK.as_millis());
    }
    while !has_ended(pidfd) {
        sleep(LOOK).await;
    }
    // It is a child, or it is not.
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

/// Whether a process has ended: its pidfd is readable then, see pidfd_open(2).
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}

/// What of a tenant's life is to be found in the log afterwards.
fn notable(state: &RunState) -> Option<String> {
    let killed = state.killed.as_ref().map(|reason| format!("it was killed: {reason}"));
    let kills = state.oom_kills.map(|kills| format!("the OOM killer killed {kills} of its processes"));
    let all: Vec<String> = killed.into_iter().chain(kills).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Sets the limits of a unit that is to be started.
fn limit(start: &Start, cgroups: &UnitCgroups) -> Result<(), UnitError> {
    // The disks are looked at only for a tenant that has a weight on them.
    let weighs = start.plan.limits.get("io_weight").is_some();
    let schedulers = if weighs { IoSchedulers::of_host(&cgroups.v2) } else { IoSchedulers::default() };
    // If the start fails, the cgroups go, and the limits with them.
    limits::apply(&start.plan.limits, cgroups, schedulers, start.enforce)?;
    Ok(())
}

fn signal(pidfd: &OwnedFd, signal: Signal) -> Result<(), UnitError> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(UnitError::Io("signal the supervisor", errno.into())),
    }
}

/// How a tenant ended, as its supervisor says.
fn ended_how(state: &RunState) -> String {
    let how = match state.exit {
        Some(Exit::Code(code)) => format!(", its init exited with code {code}"),
        Some(Exit::Signal(signal)) => format!(", its init was killed by signal {signal}"),
        Some(Exit::Poweroff) | None => String::new(),
    };
    match state.phase {
        Phase::Failed => {
            let why = state.failure.as_ref().map(|failure| format!(": {}", failure.message));
            format!("failed{}", why.unwrap_or(how))
        }
        _ => format!("stopped{how}"),
    }
}

/// What a sweep left; one that was cut short says so, and the next start sweeps again.
fn or_none(swept: Result<Vec<KernelError>, task::JoinError>) -> Vec<KernelError> {
    swept.unwrap_or_else(|error| {
        log::error!("cannot remove the leftovers of a tenant: {error}");
        Vec::new()
    })
}

fn report(failures: Vec<KernelError>) {
    for failure in failures {
        log::error!("{}", wire::chain(&failure));
    }
}

impl Shared {
    /// Everything of a start that blocks: cgroups, limits, the process.
    fn launch(
        self: &Arc<Self>,
        program: &std::path::Path,
        start: &Start,
        notify: &std::path::Path,
    ) -> Result<ProcessRef, UnitError> {
        let name = &start.name;
        let io = |what| move |error| UnitError::Io(what, error);
        let cgroups = self.cgroups.unit(name);
        fs::create_dir_all(self.layout.runtime(name)).map_err(io("create the runtime directory"))?;
        self.note(name, &cgroups)?;
        let spawned = cgroups::make_unit(&cgroups)
            .map_err(UnitError::from)
            .and_then(|()| limit(start, &cgroups))
            .and_then(|()| {
                spawn::spawn(program, &self.layout, name, &cgroups, notify)
                    .map_err(io("start the supervisor"))
            });
        let Spawned { process, pidfd } = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                report(self.sweep(name, &cgroups, None));
                return Err(error);
            }
        };
        self.watch(name, process, pidfd, cgroups, Some(start.plan.clone()));
        Ok(process)
    }

    fn unit_file(&self, name: &TenantName) -> PathBuf {
        self.layout.runtime(name).join("unit.json")
    }

    /// Writes down where a unit's cgroups are.
    fn note(&self, name: &TenantName, cgroups: &UnitCgroups) -> Result<(), UnitError> {
        let text = serde_json::to_vec(cgroups).unwrap_or_default();
        record::write(&self.unit_file(name), &text, Durability::Volatile).map_err(UnitError::File)
    }

    /// Where a unit's cgroups are, as an earlier hostd wrote down.
    fn recorded(&self, name: &TenantName) -> Option<UnitCgroups> {
        serde_json::from_str(&record::read(&self.unit_file(name)).ok()?).ok()
    }

    /// Watches a supervisor until it ends, then sweeps.
    fn watch(
        self: &Arc<Self>,
        name: &TenantName,
        process: ProcessRef,
        pidfd: OwnedFd,
        cgroups: UnitCgroups,
        plan: Option<Arc<Plan>>,
    ) {
        let pidfd = Arc::new(pidfd);
        let (tell, ended) = watch::channel(None);
        let live = Live {
            process,
            pidfd: pidfd.clone(),
            ended,
            memory: usage::memory_file(&cgroups).map(Gauge::new),
            frozen: Gauge::new(cgroups.freeze_file()),
            cgroups: cgroups.clone(),
        };
        held(&self.live).insert(name.clone(), Arc::new(live));
        let (shared, name) = (self.clone(), name.clone());
        task::spawn(async move {
            end_of(&pidfd, &name).await;
            let (sweeper, sweep_name) = (shared.clone(), name.clone());
            let swept =
                task::spawn_blocking(move || sweeper.sweep(&sweep_name, &cgroups, plan.as_deref())).await;
            let failures = or_none(swept);
            shared.tell_end(&name, process);
            held(&shared.live).remove(&name);
            tell.send_replace(Some(Arc::new(failures)));
        });
    }

    fn tell_end(&self, name: &TenantName, process: ProcessRef) {
        let state = RunState::read(&self.layout.run_state(name)).ok().flatten();
        let said = state.filter(|state| state.supervisor == process && state.phase.is_final());
        let Some(state) = said else {
            log::warn!(TENANT = name.as_str(); "the supervisor of tenant \"{name}\" died; the tenant was taken down");
            return;
        };
        let end = ended_how(&state);
        match notable(&state) {
            None => log::info!(TENANT = name.as_str(); "tenant \"{name}\" {end}"),
            Some(text) => log::warn!(TENANT = name.as_str(); "tenant \"{name}\" {end}; {text}"),
        }
    }

    /// Removes whatever bears a tenant's name in the kernel; its supervisor has ended.
    fn sweep(&self, name: &TenantName, cgroups: &UnitCgroups, plan: Option<&Plan>) -> Vec<KernelError> {
        let failures = sweep::sweep(&self.layout, name, &cgroups.v2, plan);
        if let Err(error) = cgroups::remove_v1(cgroups) {
            log::error!("{}", wire::chain(&error));
        }
        // Where it stays, it says where cgroups were that are gone; the next start writes it again.
        let _ = fs::remove_file(self.unit_file(name));
        failures
    }
}

#[cfg(test)]
impl Drop for Standalone {
    fn drop(&mut self) {
        self.close();
    }
}
