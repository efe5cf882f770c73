//! The supervisor as a process: what it holds, and how it tells what its tenant does.

use std::{
    env,
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::DirBuilderExt as _, net::UnixListener},
    },
    path::PathBuf,
    time::{Instant, SystemTime},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{
    error::RunError,
    host::{
        machine::Machine,
        memory::{self, MemoryEvents},
        notify::{self, Manager},
        queue::Turn,
    },
    lock::lock,
    park::parked::Parking,
    resources::view::View,
    run::{
        conversation::Conversations,
        ending::Ending,
        lifecycle::{self, Goal, RebootGuard, StartLimit},
        retry::Retry,
        signals::Signals,
    },
    terminals::{console::Consoles, forward::Forward, rate::Budget},
};
use crate::{
    cause::chain,
    config::profile::LoadError,
    files::{
        layout::Layout,
        sources::{LoadPlanError, Sources},
        state::{Phase, ProcessRef, RunState},
    },
    kernel::{Kept, Linux},
    model::{facts::CgroupFacts, name::TenantName},
    plan::{OpenFiles, Plan},
    protocol::socket,
};

/// What `tenant run` is given.
#[derive(Debug)]
pub struct RunOptions {
    /// Where things lie.
    pub layout: Layout,
    /// Which tenant.
    pub name: TenantName,
    /// The unit's cgroup v2 directory; none is the supervisor's own.
    pub cgroup: Option<PathBuf>,
    /// The unit's cgroup v1 directories, one for each controller: this process enters them.
    pub v1_cgroups: Vec<PathBuf>,
    /// What becomes of each plan before it is applied: a test takes a protection out. The program `tenant` changes nothing.
    pub alter: fn(&mut Plan),
}

/// The running init.
#[derive(Debug)]
pub(in crate::supervisor) struct Init {
    pub(in crate::supervisor) pid: i32,
    pub(in crate::supervisor) pidfd: OwnedFd,
    pub(in crate::supervisor) notify: Option<OwnedFd>,
    /// What it may say per second.
    pub(in crate::supervisor) budget: Budget,
    /// Whether its notify socket is not polled until the budget has recovered.
    pub(in crate::supervisor) muted: bool,
    /// The files in which it sees its limits, if it has such.
    pub(in crate::supervisor) view: Option<View>,
    /// When it was executed.
    pub(in crate::supervisor) executed: Instant,
}

#[derive(Debug)]
pub(in crate::supervisor) struct Supervisor {
    pub(in crate::supervisor) layout: Layout,
    pub(in crate::supervisor) name: TenantName,
    pub(in crate::supervisor) kernel: Linux,
    /// The tenant's network namespace, if NICs of the host are in it: they outlive its processes.
    pub(in crate::supervisor) network: Option<OwnedFd>,
    /// By what another version of the image can be put beneath it.
    pub(in crate::supervisor) kept: Option<Kept<OwnedFd>>,
    /// What is to be let go of when no process waits for that.
    pub(in crate::supervisor) remains: Vec<OwnedFd>,
    pub(in crate::supervisor) unit: Option<PathBuf>,
    /// The unit's cgroup of the memory controller of version 1, where the host has that.
    pub(in crate::supervisor) memory_v1: Option<PathBuf>,
    /// The unit's cgroups of version 1, one for each hierarchy.
    pub(in crate::supervisor) v1_cgroups: Vec<PathBuf>,
    /// Whether hostd started this process, and has prepared everything.
    pub(in crate::supervisor) is_standalone: bool,
    /// What this process got by `LoadCredential=`, for the tenant, see systemd.exec(5).
    pub(in crate::supervisor) credentials: Option<PathBuf>,
    pub(in crate::supervisor) v2_mount: PathBuf,
    pub(in crate::supervisor) group: Option<u32>,
    pub(in crate::supervisor) signals: Signals,
    /// Whether it is to be stopped before there is a tenant that could be asked to end.
    pub(in crate::supervisor) is_called_off: bool,
    pub(in crate::supervisor) manager: Manager,
    /// This tenant's turn to boot, until it is ready.
    pub(in crate::supervisor) turn: Option<Turn>,
    pub(in crate::supervisor) machine: Machine,
    pub(in crate::supervisor) memory: Option<MemoryEvents>,
    pub(in crate::supervisor) console_listener: UnixListener,
    pub(in crate::supervisor) control_listener: UnixListener,
    /// Whether clients have to wait, because one could not be taken.
    pub(in crate::supervisor) accept_retry: Retry,
    pub(in crate::supervisor) consoles: Consoles,
    pub(in crate::supervisor) conversations: Conversations,
    /// What `state.json` says, or is to say.
    pub(in crate::supervisor) state: Option<RunState>,
    /// Whether it does not say that yet.
    pub(in crate::supervisor) unpublished: Retry,
    /// See [`RunOptions::alter`].
    pub(in crate::supervisor) alter: fn(&mut Plan),
    /// What it will boot with; none where its files make no sense, or while it is there.
    pub(in crate::supervisor) sources: Option<Sources>,
    pub(in crate::supervisor) plan: Option<Plan>,
    pub(in crate::supervisor) init: Option<Init>,
    pub(in crate::supervisor) boot_began: Instant,
    pub(in crate::supervisor) start_limit: StartLimit,
    pub(in crate::supervisor) goal: Goal,
    pub(in crate::supervisor) ending: Option<Ending>,
    /// When there is memory to be given back.
    pub(in crate::supervisor) rest_at: Option<Instant>,
    pub(in crate::supervisor) guard: RebootGuard,
    /// Whether it is idle, and what is kept of it while it is parked.
    pub(in crate::supervisor) parking: Parking,
    /// Held while this process lives: one supervisor for a tenant.
    _lock: File,
}

impl Supervisor {
    pub(in crate::supervisor) fn new(options: RunOptions) -> Result<Self, RunError> {
        let RunOptions { layout, name, cgroup, v1_cgroups, alter } = options;
        if !rustix::process::geteuid().is_root() {
            return Err(RunError::NotRoot);
        }
        set_file_limit();
        let kernel = Linux::of_supervisor();
        v1_cgroups.iter().try_for_each(|dir| kernel.cgroup_enter_v1(dir)).map_err(RunError::Unit)?;
        // A tenant that does not exist leaves no runtime directory behind.
        let sources = match Sources::read(&layout, &name) {
            Err(error @ LoadError::NoTenant(_)) => return Err(LoadPlanError::from(error).into()),
            read => read.ok(),
        };
        let runtime = layout.runtime(&name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&runtime)
            .map_err(RunError::io("create", runtime.display()))?;
        let lock = lock(&runtime.join("lock"))?;
        // Before any wait: from here on everybody finds this process, and not what an earlier one said last.
        let me =
            ProcessRef::of(std::process::id() as i32).map_err(RunError::io("read", "/proc/self/stat"))?;
        let unit = match &cgroup {
            Some(unit) => unit.clone(),
            None => CgroupFacts::gather().map_err(RunError::io("look at", "its cgroups"))?.v2_own,
        };
        let state = RunState::queued(me, &unit, wall_clock_ms());
        state.write(&layout.run_state(&name))?;
        let signals = Signals::block().map_err(RunError::io("block", "signals"))?;
        let group = socket::group();
        let listen =
            |path: PathBuf| socket::listen(&path, group).map_err(RunError::io("listen on", path.display()));
        Ok(Self {
            console_listener: listen(layout.console_socket(&name))?,
            control_listener: listen(layout.control_socket(&name))?,
            accept_retry: Retry::default(),
            consoles: Consoles::new(layout.log(&name), Forward::new(&layout, &name)),
            conversations: Conversations::default(),
            layout,
            name,
            kernel,
            network: None,
            kept: None,
            remains: Vec::new(),
            is_standalone: cgroup.is_some(),
            memory_v1: v1_cgroups.iter().find(|dir| dir.join(memory::V1_FILE).exists()).cloned(),
            v1_cgroups,
            unit: cgroup,
            credentials: env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            v2_mount: PathBuf::new(),
            group,
            signals,
            is_called_off: false,
            manager: Manager::from_environment(),
            turn: None,
            machine: Machine::default(),
            state: Some(state),
            unpublished: Retry::default(),
            alter,
            sources,
            plan: None,
            init: None,
            memory: None,
            boot_began: Instant::now(),
            start_limit: StartLimit::default(),
            goal: Goal::Run,
            ending: None,
            rest_at: Some(Instant::now()),
            guard: RebootGuard::default(),
            parking: Parking::default(),
            _lock: lock,
        })
    }

    pub(in crate::supervisor) fn phase(&self) -> Phase {
        self.state.as_ref().map_or(Phase::Starting, |state| state.phase)
    }

    /// Notes an event of the tenant's life and tells the world.
    pub(in crate::supervisor) fn enter(&mut self, event: lifecycle::Event) -> Result<(), RunError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        state.phase = lifecycle::next(state.phase, event)
            .map_err(|illegal| RunError::io("supervise", &self.name)(io::Error::other(illegal)))?;
        self.publish();
        Ok(())
    }

    /// Tells the unit manager in a line what the tenant does.
    pub(in crate::supervisor) fn tell_status(&mut self) {
        if let Some(state) = &self.state {
            let limit = self.ending.as_ref().map_or(0, Ending::seconds);
            self.manager.tell(&format!("STATUS={}", notify::status_line(state, limit)));
        }
    }

    /// Replaces `state.json`. Where that fails, because `/run` is full, it is tried again: the tenant must not
    /// pay for it, and a process that reads it must not take it for one that never got ready.
    pub(in crate::supervisor) fn publish(&mut self) {
        let Some(state) = &self.state else { return };
        match state.write(&self.layout.run_state(&self.name)) {
            Ok(()) => self.unpublished.done(),
            Err(error) => {
                if self.unpublished.failed(Instant::now()) {
                    ::log::warn!(
                        "cannot write the state of tenant {:?}, trying again: {}",
                        self.name.as_str(),
                        chain(&error)
                    );
                }
            }
        }
    }
}

/// Sets this process's limits of open files to those that every tenant is given, whatever started it. Where it
/// may not raise the hard one, its programs have what their host lets this process have: they work with less.
fn set_file_limit() {
    let OpenFiles { soft, hard } = OpenFiles::OF_TENANTS;
    let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, soft, hard) else { return };
    let kept = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, has)| setrlimit(Resource::RLIMIT_NOFILE, soft.min(has), has).map(|()| has));
    match kept {
        Ok(has) => ::log::info!("the tenant's limit of open files is {has} instead of {hard}: {error}"),
        Err(_) => ::log::info!("the tenant's limit of open files is that of its supervisor: {error}"),
    }
}

/// Milliseconds since 1970 UTC.
pub(super) fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
