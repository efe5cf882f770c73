//! One unit: launched, watched, swept; and what is known of it.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use tenant::{
    Layout, TenantName,
    files::{
        record::{self, Durability},
        state::{Exit, Phase, ProcessRef, RunState},
    },
    kernel::KernelError,
};
use tokio::{io::unix::AsyncFd, sync::watch, task, time::sleep};
use wire::UnitCgroups;

use crate::units::{
    PlanLater, Start, UnitError,
    cgroups::{self, Cgroups},
    gauge::Gauge,
    limits::{self, IoSchedulers},
    spawn::{self, Spawned},
    states::{States, has_ended},
    sweep, usage,
};

/// A supervisor that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) process: ProcessRef,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) cgroups: UnitCgroups,
    pub(super) ended: Ended,
    pub(super) memory: Option<Gauge>,
    pub(super) frozen: Gauge,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) cgroups: Cgroups,
    pub(super) live: Mutex<HashMap<TenantName, Arc<Live>>>,
    pub(super) states: States,
}

impl Shared {
    /// Everything of a start that blocks: cgroups, limits, the process.
    pub(super) fn launch(
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
                report(self.sweep(name, &cgroups, &PlanLater::none()));
                return Err(error);
            }
        };
        self.watch(name, process, pidfd, cgroups, start.later.clone());
        Ok(process)
    }

    /// Where supervisors report to while they start.
    pub(super) fn notify_dir(&self) -> PathBuf {
        self.layout.run().join(NOTIFY)
    }

    pub(super) fn unit_file(&self, name: &TenantName) -> PathBuf {
        self.layout.runtime(name).join("unit.json")
    }

    /// Writes down where a unit's cgroups are.
    pub(super) fn note(&self, name: &TenantName, cgroups: &UnitCgroups) -> Result<(), UnitError> {
        let text = serde_json::to_vec(cgroups).unwrap_or_default();
        record::write(&self.unit_file(name), &text, Durability::Volatile).map_err(UnitError::File)
    }

    /// Where a unit's cgroups are, as an earlier hostd wrote down.
    pub(super) fn recorded(&self, name: &TenantName) -> Option<UnitCgroups> {
        serde_json::from_str(&record::read(&self.unit_file(name)).ok()?).ok()
    }

    /// Watches a supervisor until it ends, then sweeps.
    pub(super) fn watch(
        self: &Arc<Self>,
        name: &TenantName,
        process: ProcessRef,
        pidfd: OwnedFd,
        cgroups: UnitCgroups,
        plan: PlanLater,
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
            let swept = task::spawn_blocking(move || sweeper.sweep(&sweep_name, &cgroups, &plan)).await;
            let failures = or_none(swept);
            shared.tell_end(&name, process);
            held(&shared.live).remove(&name);
            tell.send_replace(Some(Arc::new(failures)));
        });
    }

    pub(super) fn tell_end(&self, name: &TenantName, process: ProcessRef) {
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
    pub(super) fn sweep(
        &self,
        name: &TenantName,
        cgroups: &UnitCgroups,
        plan: &PlanLater,
    ) -> Vec<KernelError> {
        let failures = sweep::sweep(&self.layout, name, &cgroups.v2, || plan.make());
        if let Err(error) = cgroups::remove_v1(cgroups) {
            log::error!("{}", wire::chain(&error));
        }
        // Where it stays, it says where cgroups were that are gone; the next start writes it again.
        let _ = fs::remove_file(self.unit_file(name));
        // That of a start which could not remove it; where it stays, the next start replaces it.
        let _ = fs::remove_file(self.notify_dir().join(name.as_str()));
        failures
    }
}

/// Sets the limits of a unit that is to be started.
pub(super) fn limit(start: &Start, cgroups: &UnitCgroups) -> Result<(), UnitError> {
    // The disks are looked at only for a tenant that has a weight on them.
    let weighs = start.plan.limits.get("io_weight").is_some();
    let schedulers = if weighs { IoSchedulers::of_host(&cgroups.v2) } else { IoSchedulers::default() };
    // If the start fails, the cgroups go, and the limits with them.
    limits::apply(&start.plan.limits, cgroups, schedulers, start.enforce)?;
    Ok(())
}

/// How a tenant ended, as its supervisor says.
pub(super) fn ended_how(state: &RunState) -> String {
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
pub(super) fn or_none(swept: Result<Vec<KernelError>, task::JoinError>) -> Vec<KernelError> {
    swept.unwrap_or_else(|error| {
        log::error!("cannot remove the leftovers of a tenant: {error}");
        Vec::new()
    })
}

pub(super) fn report(failures: Vec<KernelError>) {
    for failure in failures {
        log::error!("{}", wire::chain(&failure));
    }
}

/// Directory, in the runtime tree, of the sockets that starting supervisors report to.
pub(super) const NOTIFY: &str = "notify";

/// How often a supervisor is looked at that the kernel does not tell of.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// How a unit's end is told.
pub(super) type Ended = watch::Receiver<Option<Arc<Vec<KernelError>>>>;

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the end of a supervisor, and takes it where it is a child of this process: one of an earlier hostd was
/// inherited by init. Returns at no other moment: what follows is that everything of its tenant is taken away.
pub(super) async fn end_of(pidfd: &Arc<OwnedFd>, name: &TenantName) {
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

/// What of a tenant's life is to be found in the log afterwards.
pub(super) fn notable(state: &RunState) -> Option<String> {
    let killed = state.killed.as_ref().map(|reason| format!("it was killed: {reason}"));
    let kills = state.oom_kills.map(|kills| format!("the OOM killer killed {kills} of its processes"));
    let all: Vec<String> = killed.into_iter().chain(kills).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
