//! Which processes of running tenants run code of an earlier version. Nothing of it is kept but how many units the last
//! look at a tenant found.
//!
//! A look reads what the kernel tells of processes. A tenant can make that take long (memory of a filesystem of its own
//! answers when it likes), so a look has a deadline, and one tenant has one look at a time.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use tenant::{
    TenantName,
    config::Kind,
    files::{record, state::ProcessRef},
    model::{allocation::Pinned, image::Manifest},
    stale::{Group, Holder, Remedy, Role, StaleProcess, Subject, Versions, groups, look},
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use wire::{
    Code, Failure, NotLooked, Stale, StaleCount, StaleFile, StaleKind, StaleList, StaleRemedy, StaleRole,
    StaleUnit,
};

use super::{Host, Result, blocking, events::now};
use crate::records::{guard::held, images};

/// How long a look at one tenant may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many tenants are looked at at once for each processor: a look seldom waits.
const FOR_EACH_PROCESSOR: usize = 2;

/// What is looked at, and what must be known to say what is to be done.
#[derive(Debug)]
struct Task {
    subject: Subject,
    is_one_program: bool,
}

fn cannot(name: &TenantName, why: impl std::fmt::Display) -> String {
    format!("cannot look at the processes of tenant {:?}: {why}", name.as_str())
}

impl Host {
    /// What is stale in a running tenant.
    ///
    /// # Errors
    /// It is not running, or does not let its processes be looked at in time.
    pub(crate) async fn stale(self: &Arc<Self>, name: &TenantName) -> Result<Stale> {
        let found = self.stale_by(name, &Arc::default()).await;
        self.forget_stale();
        found
    }

    /// Forgets what was found in tenants that are not there any more.
    fn forget_stale(&self) {
        let records = self.store.records();
        held(&self.stale_looks.found).retain(|name, _| records.contains_key(name));
    }

    /// What is stale in the running tenants that are wanted. Those that ended meanwhile are left out.
    pub(crate) async fn all_stale(self: &Arc<Self>, is_wanted: impl Fn(&str) -> bool) -> StaleList {
        let versions: Arc<Versions> = Arc::default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = Arc::new(Semaphore::new(processors * FOR_EACH_PROCESSOR));
        let mut looks = JoinSet::new();
        let records = self.store.records();
        let wanted = records.keys().filter(|name| is_wanted(name.as_str()));
        for name in wanted.filter(|name| self.units.is_running(name)) {
            let (host, name, versions, permits) =
                (self.clone(), name.clone(), versions.clone(), permits.clone());
            looks.spawn(async move {
                let _permit = permits.acquire_owned().await;
                (name.to_string(), host.stale_by(&name, &versions).await)
            });
        }
        self.forget_stale();
        let found: BTreeMap<_, _> = looks.join_all().await.into_iter().collect();
        let mut list = StaleList::default();
        for (name, result) in found {
            match result {
                Ok(stale) => list.tenants.push(stale),
                Err(failure) if matches!(failure.code, Code::NotRunning | Code::NoTenant) => {}
                Err(error) => list.failed.push(NotLooked { name, error }),
            }
        }
        list
    }

    /// What the last look at a running tenant found, where its init is still this one.
    pub(crate) fn stale_count(&self, name: &TenantName, init: Option<ProcessRef>) -> Option<StaleCount> {
        let found = held(&self.stale_looks.found).get(name).copied();
        found.filter(|(seen, _)| Some(*seen) == init).map(|(_, count)| count)
    }

    async fn stale_by(self: &Arc<Self>, name: &TenantName, versions: &Arc<Versions>) -> Result<Stale> {
        let task = self.stale_task(name).await?;
        let (init, version) = (task.subject.init, task.subject.present.to_string());
        let looking = async {
            let turn = self.stale_looks.under_way.take(name).await;
            let (host, versions) = (self.clone(), versions.clone());
            blocking(move || {
                // As long as the look takes, not as long as its client waits.
                let _turn = turn;
                host.groups(task, &versions)
            })
            .await
        };
        let Ok(looked) = timeout(DEADLINE, looking).await else {
            let why = format!("the kernel did not tell of all of them within {} s", DEADLINE.as_secs());
            return Err(Failure::new(Code::Timeout, cannot(name, why)).help(format!(
                "see whether one waits for a filesystem of the tenant's own: tenantctl ps {name}"
            )));
        };
        let groups = looked?.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::new(Code::NotRunning, cannot(name, "it is not running any more"))
            }
            _ => Failure::new(Code::Failed, cannot(name, error)),
        })?;
        let units: Vec<StaleUnit> = groups.into_iter().map(unit).collect();
        let (seen_ms, _) = now();
        let count = StaleCount { units: units.len(), seen_ms };
        held(&self.stale_looks.found).insert(name.clone(), (init, count));
        Ok(Stale { name: name.to_string(), version, units })
    }

    async fn stale_task(self: &Arc<Self>, name: &TenantName) -> Result<Task> {
        self.running(name)?;
        let record = self.store.record(name)?;
        let glances = self.glances(Some(name)).await?;
        let kind = glances.get(name).and_then(|glance| glance.of.as_ref()).map(|(kind, _)| *kind);
        let init = self.units.state(name).and_then(|said| said.init);
        let init =
            init.ok_or_else(|| Failure::new(Code::NotRunning, cannot(name, "its init is not running")))?;
        let present = self.present(name, &record);
        let mut earlier: Vec<Pinned> = Vec::new();
        for generation in record.history().iter().rev() {
            let pinned = generation.pinned();
            if pinned != present && !earlier.contains(&pinned) {
                earlier.push(pinned);
            }
        }
        let payload = self.units.cgroups(name).v2.join("payload");
        let is_one_program = matches!(kind, Some(Kind::App | Kind::AppPlus));
        Ok(Task { subject: Subject { init, payload, present, earlier }, is_one_program })
    }

    fn groups(&self, task: Task, versions: &Versions) -> io::Result<Vec<Group>> {
        let layout = self.store.layout();
        let found = look(layout, &task.subject, versions, images::sums)?;
        if found.processes.is_empty() {
            return Ok(Vec::new());
        }
        let Pinned { image, digest } = &task.subject.present;
        let manifest = record::read(&layout.manifest(image, digest)).ok();
        let init = manifest.and_then(|text| Manifest::parse(&text).ok()?.init_kind);
        Ok(groups(found, init, task.is_one_program))
    }
}

fn unit(group: Group) -> StaleUnit {
    let (unit, kind) = match group.holder {
        Holder::Init => (None, StaleKind::Init),
        Holder::Unit(unit) => (Some(unit), StaleKind::Unit),
        Holder::Service(name) => (Some(name), StaleKind::Unit),
        Holder::Session(unit) => (Some(unit), StaleKind::Session),
        Holder::Attached => (None, StaleKind::Command),
        Holder::Process(_) => (None, StaleKind::Process),
    };
    let remedy = match group.remedy {
        Remedy::RestartUnit => StaleRemedy::RestartUnit,
        Remedy::DaemonReexec => StaleRemedy::DaemonReexec,
        Remedy::TelinitU => StaleRemedy::TelinitU,
        Remedy::RcService => StaleRemedy::RcService,
        Remedy::Sv => StaleRemedy::Sv,
        Remedy::LogOut => StaleRemedy::LogOut,
        Remedy::RestartProcess => StaleRemedy::RestartProcess,
        Remedy::RestartTenant => StaleRemedy::RestartTenant,
    };
    StaleUnit { unit, kind, remedy, processes: group.processes.into_iter().map(process).collect() }
}

fn process(process: StaleProcess) -> wire::StaleProcess {
    let StaleProcess { pid, inside, command, files, .. } = process;
    let file = |file: tenant::stale::StaleFile| StaleFile {
        role: match file.role {
            Role::Program => StaleRole::Program,
            Role::Library => StaleRole::Library,
            Role::Script => StaleRole::Script,
        },
        path: file.path.display().to_string(),
        version: file.version,
    };
    wire::StaleProcess { pid, inside, command, files: files.into_iter().map(file).collect() }
}
