//! The unit manager: what is known of the units of tenants.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenant::{
    HostFacts, Layout, TenantName,
    files::state::{ProcessRef, RunState},
};
use tokio::io::unix::AsyncFd;
use wire::UnitCgroups;

use super::bus::{self, Bus, unit};
use crate::{
    quiet::Now,
    units::{
        UnitError,
        gauge::Gauge,
        look::Look,
        states::{States, find},
    },
};

/// Where an admin's and our own unit files are.
pub(super) const SYSTEM: &str = "/etc/systemd/system";
/// Where the units of tenants have their cgroups.
pub(super) const SLICE: &str = "/sys/fs/cgroup/tenants.slice";
/// What a supervisor and systemd need beyond a tenant's own deadlines.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// A supervisor that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) process: ProcessRef,
    pub(super) pidfd: OwnedFd,
    pub(super) cgroup: PathBuf,
    pub(super) memory: Gauge,
    pub(super) frozen: Gauge,
}

impl Live {
    pub(super) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // A pidfd is readable once its process has ended, see pidfd_open(2).
        !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }
}

/// The unit manager that asks systemd.
#[derive(Debug)]
pub struct Systemd {
    /// Where our own unit files are.
    pub(super) unit_files: PathBuf,
    pub(super) layout: Layout,
    pub(super) states: States,
    pub(super) live: Mutex<HashMap<TenantName, Arc<Live>>>,
    pub(super) controllers: BTreeSet<String>,
    /// The host's memory, bytes.
    pub(super) memory: u64,
}

impl Systemd {
    /// A unit manager on this host.
    pub fn new(layout: Layout, facts: &HostFacts) -> Self {
        // Those of the root: systemd passes down whatever a unit needs of them.
        let root = facts.cgroup.v2_mount.as_deref().unwrap_or(Path::new("/sys/fs/cgroup"));
        let all = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let controllers = all.split_ascii_whitespace().map(str::to_owned).collect();
        Self {
            unit_files: PathBuf::from(SYSTEM),
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
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn held(&self) -> MutexGuard<'_, HashMap<TenantName, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor of a tenant, if it runs.
    pub(super) fn live(&self, name: &TenantName) -> Option<Arc<Live>> {
        self.live_of(name, self.states.get(name).as_deref())
    }

    /// The supervisor of a tenant that was last told of by this state, if it runs.
    fn live_of(&self, name: &TenantName, state: Option<&RunState>) -> Option<Arc<Live>> {
        let Some(state) = state else {
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
        let (process, pidfd) = find(state).ok().flatten()?;
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

    /// What a tenant does.
    pub(in crate::units) fn look(&self, name: &TenantName, now: Now<'_>) -> Look {
        let said = self.states.get_at(name, now);
        let live = self.live_of(name, said.as_deref());
        Look::new(said, live.as_deref().map(|live| (&live.frozen, Some(&live.memory))))
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
}
