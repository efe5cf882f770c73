//! The unit manager of a host whose PID 1 is systemd: a tenant is a unit, `tenant@NAME.service`.
//!
//! hostd asks for jobs and waits for them; what `systemctl` does to the same units is as good. Whether a
//! tenant runs is read from what its supervisor says and from the supervisor itself, because a list of a
//! thousand tenants has no time for conversations.
//!
//! | file | what it handles |
//! |---|---|
//! | `bus` | conversations with PID 1 |
//! | `private` | the socket of PID 1 |
//! | `job` | jobs, awaited |
//! | `properties` | limits as properties of a unit; pure |
//! | `files` | unit files of ours: drop-ins, whether a unit starts with the host |

mod bus;
mod files;
mod job;
mod private;
pub mod properties;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenant::{
    HostFacts, Layout, Plan, TenantName,
    config::Restart,
    files::state::{Phase, ProcessRef, RunState},
    model::limits::Limits,
    protocol::control::{ControlError, Request},
};
use tokio::{io::unix::AsyncFd, task};
use wire::{EffectiveLimit, UnitCgroups, UnitReport};

pub use self::bus::BusError;
use self::{
    bus::{Bus, unit},
    job::{JobEnd, Verb},
};
use super::{
    FailedJob, Start, UnitError,
    gauge::Gauge,
    limits::{
        self, Enforce, IoSchedulers, Unenforceable,
        table::{Kind, LIMITS, Limit, Template},
    },
    states::{States, find},
    stop::{self, StopDeadline, StopEnd},
    sweep,
};

/// Where the units of tenants have their cgroups.
const SLICE: &str = "/sys/fs/cgroup/tenants.slice";
/// What a supervisor and systemd need beyond a tenant's own deadlines.
const GRACE: Duration = Duration::from_secs(15);
/// How long a start may wait for its turn, when the whole host starts.
const TURN: Duration = Duration::from_secs(600);
/// A stop has no deadline of its own besides the one that ends the wait for it.
const STOP: Duration = Duration::from_secs(1 << 24);
/// Most units whose status is asked for in one list.
const STATUS_LINES: usize = 32;

/// A supervisor that runs.
#[derive(Debug)]
struct Live {
    process: ProcessRef,
    pidfd: OwnedFd,
    cgroup: PathBuf,
    memory: Gauge,
    frozen: Gauge,
}

impl Live {
    fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // A pidfd is readable once its process has ended, see pidfd_open(2).
        !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }
}

/// What a unit is doing that its tenant's state does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Whether it is being started.
    pub starts: bool,
    /// The status line of its supervisor.
    pub status: Option<String>,
}

/// What a tenant's unit had of its file.
#[derive(Clone, Debug)]
pub struct Had {
    limits: Limits,
    /// Of its restart policy.
    drop_in: Option<String>,
}

/// The unit manager that asks systemd.
#[derive(Debug)]
pub struct Systemd {
    /// Where our own unit files are.
    unit_files: PathBuf,
    layout: Layout,
    states: States,
    live: Mutex<HashMap<TenantName, Arc<Live>>>,
    controllers: BTreeSet<String>,
    /// The host's memory, bytes.
    memory: u64,
}

impl Systemd {
    /// A unit manager on this host.
    pub fn new(layout: Layout, facts: &HostFacts) -> Self {
        // Those of the root: systemd passes down whatever a unit needs of them.
        let root = facts.cgroup.v2_mount.as_deref().unwrap_or(Path::new("/sys/fs/cgroup"));
        let all = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let controllers = all.split_ascii_whitespace().map(str::to_owned).collect();
        Self {
            unit_files: PathBuf::from(files::SYSTEM),
            states: States::new(layout.clone()),
            layout,
            live: Mutex::default(),
            controllers,
            memory: tenant::files::facts::total_memory(),
        }
    }

    /// One that reaches no systemd, with its unit files in a directory of a test.
    #[cfg(test)]
    pub(crate) fn for_tests(layout: Layout, facts: &HostFacts, unit_files: PathBuf) -> Self {
        let controllers = ["cpu", "io", "memory", "pids"].map(str::to_owned).into();
        Self { unit_files, controllers, ..Self::new(layout, facts) }
    }

    /// Whether systemd is PID 1 here, knows `tenant@.service`, and `layout` is the one that this unit is for.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn is_there(layout: &Layout, facts: &HostFacts) -> Result<bool, UnitError> {
        if !facts.systemd || !layout.is_default() {
            return Ok(false);
        }
        let bus = Bus::open().await?;
        match bus.manager("load tenant@.service", "GetUnitFileState", &("tenant@.service",)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_unknown() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where things lie.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn held(&self) -> MutexGuard<'_, HashMap<TenantName, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor of a tenant, if it runs.
    fn live(&self, name: &TenantName) -> Option<Arc<Live>> {
        let Some(state) = self.states.get(name) else {
            self.held().remove(name);
            return None;
        };
        let known = self.held().get(name).cloned();
        if let Some(live) = known.filter(|live| live.process == state.supervisor) {
            if live.is_alive() {
                return Some(live);
            }
            self.held().remove(name);
            return None;
        }
        let (process, pidfd) = find(&state)?;
        let cgroup = PathBuf::from(&state.cgroup);
        let live = Arc::new(Live {
            process,
            pidfd,
            memory: Gauge::new(cgroup.join("memory.current")),
            frozen: Gauge::new(cgroup.join("payload/cgroup.freeze")),
            cgroup,
        });
        self.held().insert(name.clone(), live.clone());
        Some(live)
    }

    /// The directories of a tenant's unit.
    pub fn cgroups(&self, name: &TenantName) -> UnitCgroups {
        let cgroup = self.live(name).map(|live| live.cgroup.clone());
        UnitCgroups {
            v2: cgroup.unwrap_or_else(|| Path::new(SLICE).join(unit(name))),
            v2_controllers: self.controllers.clone(),
            v1: BTreeMap::new(),
        }
    }

    /// Whether a tenant has a supervisor.
    pub fn is_running(&self, name: &TenantName) -> bool {
        self.live(name).is_some()
    }

    /// The supervisor that a tenant has now.
    pub fn supervisor(&self, name: &TenantName) -> Option<ProcessRef> {
        self.live(name).map(|live| live.process)
    }

    /// Waits until the supervisor that a tenant has now has ended; for ever where it has none, or cannot be watched.
    pub async fn ended(&self, name: &TenantName) {
        let pidfd = self.live(name).and_then(|live| live.pidfd.try_clone().ok());
        #[expect(deprecated, reason = "it owns the descriptor, which is the same until both are dropped")]
        let pidfd = pidfd.and_then(|pidfd| AsyncFd::new(pidfd).ok());
        match pidfd {
            // A pidfd is readable once its process has ended, see pidfd_open(2).
            Some(pidfd) => drop(pidfd.readable().await.map(|mut ready| ready.retain_ready())),
            None => std::future::pending().await,
        }
    }

    /// What the last supervisor of a tenant said.
    pub fn state(&self, name: &TenantName) -> Option<Arc<RunState>> {
        self.states.get(name)
    }

    /// Whether the processes of a running tenant are frozen.
    pub fn is_frozen(&self, name: &TenantName) -> bool {
        self.live(name).is_some_and(|live| live.frozen.read() == Some(1))
    }

    /// The memory a running tenant uses, bytes.
    pub fn memory(&self, name: &TenantName) -> Option<u64> {
        self.live(name)?.memory.read()
    }

    /// Tenants whose units have cgroups, whether they have a supervisor or not.
    pub fn existing(&self) -> Vec<TenantName> {
        let entries = fs::read_dir(SLICE).into_iter().flatten().flatten();
        entries.filter_map(|entry| bus::tenant(entry.file_name().to_str()?)).collect()
    }

    /// Whether a unit is down and has no job.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn is_down(&self, name: &TenantName) -> Result<bool, UnitError> {
        Ok(Bus::open().await?.unit(&unit(name)).await?.is_down())
    }

    /// Removes what a tenant without a supervisor has left, unless systemd is about to start it.
    pub async fn sweep(&self, name: &TenantName, plan: Option<Arc<Plan>>) {
        if self.is_running(name) {
            return;
        }
        match self.is_down(name).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return log::error!("{}", wire::chain(&error)),
        }
        let (layout, name, dir) = (self.layout.clone(), name.clone(), self.cgroups(name).v2);
        let swept = task::spawn_blocking(move || sweep::sweep(&layout, &name, &dir, plan.as_deref())).await;
        match swept {
            Ok(failures) => {
                failures.iter().for_each(|failure| log::error!("{}", wire::chain(failure)));
            }
            Err(error) => log::error!("cannot remove the leftovers of a tenant: {error}"),
        }
    }

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
    async fn finish_start(
        &self,
        name: &TenantName,
        timeout: Duration,
        before: Option<ProcessRef>,
    ) -> Result<(), UnitError> {
        let patience = timeout + GRACE + TURN;
        match job::run(Verb::Start, &unit(name), patience).await? {
            JobEnd::Done => Ok(()),
            JobEnd::Late => {
                let console = super::last_console_lines(&self.layout, name, 20);
                self.kill(name).await?;
                Err(UnitError::Timeout(patience.as_secs(), console))
            }
            JobEnd::Not(word) => Err(self.post_mortem(name, before, word).await),
        }
    }

    async fn reset_failed(&self, unit: &str) -> Result<(), UnitError> {
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
    async fn post_mortem(&self, name: &TenantName, before: Option<ProcessRef>, word: String) -> UnitError {
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

    /// Asks a supervisor for something, if there is one.
    async fn ask(
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
        self.kill_unit(&unit).await?;
        self.judge_stop(name, job::run(Verb::Stop, &unit, GRACE).await?)?;
        Ok(StopEnd::hung())
    }

    fn judge_stop(&self, name: &TenantName, end: JobEnd) -> Result<(), UnitError> {
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
            self.kill_unit(&unit).await
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
                self.kill_unit(&unit).await?;
                self.judge_stop(name, job::run(Verb::Stop, &unit, GRACE).await?)
            }
            end => self.judge_stop(name, end),
        }
    }

    async fn kill_unit(&self, unit: &str) -> Result<(), UnitError> {
        const SIGKILL: i32 = 9;
        match Bus::open().await?.manager("kill a unit", "KillUnit", &(unit, "all", SIGKILL)).await {
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

    /// Which limits this host cannot enforce: those that are set, and those of `tenant@.service`.
    pub fn unenforceable(&self, limits: &Limits) -> Vec<Unenforceable> {
        let lack = |limit: &Limit| {
            let is_set = limits.most(limit.key).is_some();
            let by_default = limits.get(limit.key).is_none();
            if !is_set && (!by_default || limit.template == Template::Nothing) {
                return None;
            }
            let controllers = self.controllers.iter().map(String::as_str);
            let reason = limits::lack(limit, controllers).or_else(|| {
                let weighs = limit.kind != Kind::IoWeight
                    || IoSchedulers::of_host(Path::new(SLICE)) != IoSchedulers::default();
                (!weighs).then(|| format!("the io controller (cgroup v2) {}", IoSchedulers::NEEDED))
            })?;
            Some(Unenforceable { key: limit.key, reason, by_default })
        };
        LIMITS.iter().filter_map(lack).collect()
    }

    /// Those of a tenant's limits that can be set on its unit.
    ///
    /// # Errors
    /// One cannot be enforced, unless that is to be passed over.
    pub fn enforceable(&self, limits: &Limits, enforce: Enforce) -> Result<Limits, UnitError> {
        let missing = self.unenforceable(limits);
        let keys: Vec<_> = missing.iter().map(|missing| missing.key).collect();
        enforce.judge(missing)?;
        Ok(limits.without(&keys))
    }

    /// Carries limits and restart policy to a tenant's unit, which need not run; `before` are the limits that it has of
    /// an earlier file.
    ///
    /// # Errors
    /// systemd refuses; the unit has then what it had.
    pub async fn apply_config(
        &self,
        name: &TenantName,
        before: &Limits,
        limits: &Limits,
        restart: Restart,
    ) -> Result<Had, UnitError> {
        let had = Had { limits: before.clone(), drop_in: self.drop_in(name) };
        let applied = async {
            self.set_limits(name, before, limits).await?;
            self.set_restart(name, restart).await
        };
        if let Err(error) = applied.await {
            self.give_back(name, limits, &had).await;
            return Err(error);
        }
        Ok(had)
    }

    /// Gives a tenant's unit what it had before these limits were carried. A failure is only logged: another is told.
    pub async fn give_back(&self, name: &TenantName, limits: &Limits, had: &Had) {
        let limits = self.set_limits(name, limits, &had.limits).await;
        let drop_in = self.put_drop_in(name, had.drop_in.as_deref()).await;
        for error in [limits, drop_in].into_iter().filter_map(Result::err) {
            log::error!(
                "cannot reset the properties of the unit of tenant \"{name}\": {}",
                wire::chain(&error)
            );
        }
    }

    /// Sets on a tenant's unit what its file has changed since `carried`; it need not run.
    ///
    /// # Errors
    /// systemd refuses.
    async fn set_limits(
        &self,
        name: &TenantName,
        applied: &Limits,
        limits: &Limits,
    ) -> Result<(), UnitError> {
        let changes = properties::changes(applied, limits, self.memory);
        if changes.is_empty() {
            return Ok(());
        }
        Ok(Bus::open().await?.set(&unit(name), &changes).await?)
    }

    /// The limits that a tenant's unit has, against those of its file, and how the unit is.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn report(
        &self,
        name: &TenantName,
        file: &Limits,
    ) -> Result<(UnitReport, Vec<EffectiveLimit>), UnitError> {
        let (unit, bus) = (unit(name), Bus::open().await?);
        let facts = bus.unit(&unit).await?;
        let service = bus.service(&unit).await?;
        let by_hand = |setting: &str| files::is_set_by_hand(&unit, setting);
        let limits = properties::effective(&service.numbers, file, self.memory, by_hand);
        let events = fs::read_to_string(self.cgroups(name).v2.join("memory.events")).ok();
        let oom_kills = events.and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        });
        let report = UnitReport {
            name: unit,
            active: facts.active,
            sub: facts.sub,
            result: service.result,
            status: Some(service.status).filter(|status| !status.is_empty()),
            restarts: service.restarts,
            enabled: facts.file,
            oom_kills,
        };
        Ok((report, limits))
    }

    /// The units of tenants that are being started or stopped.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn pending(&self) -> Result<HashMap<TenantName, Pending>, UnitError> {
        let what = "list units";
        let bus = Bus::open().await?;
        let body = (["activating", "deactivating"].as_slice(), ["tenant@*.service"].as_slice());
        let answer = bus.manager(what, "ListUnitsByPatterns", &body).await?;
        let units: Vec<bus::Listed> =
            answer.body().deserialize().map_err(|error| BusError::Call(what, error))?;
        let mut pending = HashMap::new();
        for (number, listed) in units.into_iter().enumerate() {
            let Some(name) = bus::tenant(&listed.0) else { continue };
            let status = if number < STATUS_LINES { bus.status_line(&listed.0).await.ok() } else { None };
            let status = status.filter(|status| !status.is_empty());
            pending.insert(name, Pending { starts: listed.3 == "activating", status });
        }
        Ok(pending)
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
