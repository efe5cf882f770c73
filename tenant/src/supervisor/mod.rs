//! `tenant run NAME`: the small, synchronous process that keeps one tenant alive.
//!
//! One thread, one poll(2). The supervisor starts the tenant, holds the masters of its terminals, hears
//! its init, answers on two sockets, and takes everything down at the end. It keeps nothing that
//! another process would need to know but `state.json`.
//!
//! | room | what it handles |
//! |---|---|
//! | [`mod@run`] | its life: boot, the loop, requests, how it ends |
//! | [`terminals`] | terminals, who looks at them, what they printed, logins |
//! | [`host`] | the unit manager, machined, hostd, the journal, whose turn it is to boot, killed processes |
//!
//! What others speak with it is in [`crate::protocol`].

pub mod host;
pub mod run;
pub mod terminals;

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, OpenOptionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::{FlockOperation, flock};

use crate::{
    apply::{StartError, remedy},
    cause::chain,
    config::profile::LoadError,
    files::{
        file_error::{FileError, full},
        layout::Layout,
        sources::{LoadPlanError, Sources},
        state::{Exit, Phase, ProcessRef, RunState},
    },
    kernel::{KernelError, Linux},
    model::{facts::CgroupFacts, name::TenantName},
    plan::{OpenFiles, Plan},
    protocol::socket,
    supervisor::{
        host::{
            machine::Machine,
            memory::{self, MemoryEvents},
            notify::{self, Manager},
            queue::Turn,
            report,
        },
        run::{
            conversation::Conversations,
            lifecycle::{self, RebootGuard, StartLimit, Wish},
            retry::Retry,
            signals::Signals,
            stop::Ending,
        },
        terminals::{console::Consoles, forward::Forward, rate::Budget},
    },
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
}

/// Why a tenant does not run, or runs no more.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Only root can do this.
    #[error("it requires root")]
    NotRoot,
    /// Another supervisor has it.
    #[error("it already has a supervisor, process {0}")]
    Busy(String),
    /// Its files.
    #[error(transparent)]
    Load(#[from] LoadPlanError),
    /// Its state file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something of this process.
    #[error("cannot {operation} {object}")]
    Io {
        /// What was asked for.
        operation: &'static str,
        /// Of what.
        object: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// hostd was asked to carry its edited file, and cannot.
    #[error("{message}")]
    Unprepared {
        /// What hostd said.
        message: String,
        /// The remedy.
        help: Option<String>,
    },
    /// The cgroups it was told to enter.
    #[error(transparent)]
    Unit(KernelError),
    /// What a supervisor that was killed left behind cannot be removed.
    #[error("cannot remove the leftovers of an earlier run")]
    Sweep(#[source] KernelError),
    /// The start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its init ended before it had started.
    #[error("its init {}", how(.0))]
    Died(Exit),
    /// The one program it is for ended with an error, or was killed.
    #[error("its program {}", how(.0))]
    ProgramFailed(Exit),
    /// Its init does not get ready.
    #[error("its init was not ready within {0} s")]
    NotReady(u64),
    /// It reboots and reboots.
    #[error("it rebooted {} times in a row, each time within {} s", RebootGuard::MOST, RebootGuard::SHORT.as_secs())]
    RebootLoop,
}

fn how(exit: &Exit) -> String {
    match exit {
        Exit::Code(code @ 129..=192) => format!("was killed by signal {}", code - 128),
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Poweroff => "powered off".to_owned(),
        Exit::Signal(signal) => format!("was killed by signal {signal}"),
    }
}

impl RunError {
    fn io(operation: &'static str, object: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let object = object.to_string();
        move |source| Self::Io { operation, object, source }
    }

    /// The remedy, if one is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotRoot => Some("run it as root".to_owned()),
            Self::Busy(_) => Some("stop it first: tenantctl stop NAME".to_owned()),
            Self::Load(error) => error.help().map(str::to_owned),
            Self::Sweep(error) => Some(
                remedy(error)
                    .unwrap_or_else(|| "end the processes listed in cgroup.procs of that cgroup".to_owned()),
            ),
            Self::Unit(_) => Some("start it through its unit manager: tenantctl start NAME".to_owned()),
            Self::Died(_) | Self::ProgramFailed(_) | Self::NotReady(_) | Self::RebootLoop => {
                Some("read its console log: tenantctl logs NAME".to_owned())
            }
            Self::Start(error) => Some(error.help().unwrap_or_else(|| start_help(error.step).to_owned())),
            Self::Unprepared { help, .. } => help.clone(),
            Self::File(error) => full(error.kind()).map(str::to_owned),
            Self::Io { source, .. } => full(source.kind()).map(str::to_owned),
        }
    }

    /// `EX_CONFIG` of sysexits.h: it does not get better by trying again. `tenant@.service` does not.
    pub const CONFIG: u8 = 78;

    /// The exit code: 3 for a tenant that does not exist, 4 for one that is supervised already,
    /// [`Self::CONFIG`] for one whose files cannot work and for one that only reboots, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Load(LoadPlanError::Config(LoadError::NoTenant(_))) => 3,
            Self::Load(_) | Self::Unprepared { .. } | Self::RebootLoop => Self::CONFIG,
            Self::Busy(_) => 4,
            Self::Died(Exit::Code(code @ 1..=255)) | Self::ProgramFailed(Exit::Code(code @ 1..=255)) => {
                *code as u8
            }
            _ => 1,
        }
    }
}

/// What to do about a step of the start that failed.
fn start_help(step: &str) -> &'static str {
    match step {
        "init" => "check its `init` and its image: tenantctl plan NAME",
        "root" => "check its image and its directories: tenantctl plan NAME",
        "network" => "compare its interfaces with those of the host: tenantctl plan NAME; ip link",
        "filter" => "check and repair the packet filter: tenantctl doctor --repair",
        "devices" => "check that the kernel has CONFIG_CGROUP_BPF, and the devices: tenantctl plan NAME",
        "cgroup" => "start it through its unit manager: tenantctl start NAME",
        _ => "show the steps of the start: tenantctl plan NAME",
    }
}

/// A tenant that could not be kept running, with what helps to understand it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why.
    pub error: Box<RunError>,
    /// The last lines of its console, escaped.
    pub console: Vec<String>,
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        Self { error: Box::new(error), console: Vec::new() }
    }
}

/// Runs a tenant from its start to its end. Returns the exit code that stands for that end.
///
/// # Errors
/// Why it could not be started, or started again; everything has been taken down.
pub fn run(options: RunOptions) -> Result<u8, Failed> {
    let name = options.name.clone();
    let mut supervisor = Supervisor::new(options)
        .map_err(Failed::from)
        .inspect_err(|failed| report::report_refusal(&name, failed))?;
    let result = supervisor.begin();
    supervisor.finish(result)
}

/// The running init.
#[derive(Debug)]
struct Init {
    pid: i32,
    pidfd: OwnedFd,
    notify: Option<OwnedFd>,
    /// What it may say per second.
    budget: Budget,
    /// Whether its notify socket is not polled until the budget has recovered.
    muted: bool,
    /// When it was executed.
    executed: Instant,
}

#[derive(Debug)]
struct Supervisor {
    layout: Layout,
    name: TenantName,
    kernel: Linux,
    /// The tenant's network namespace, if NICs of the host are in it: they outlive its processes.
    network: Option<OwnedFd>,
    unit: Option<PathBuf>,
    /// The unit's cgroup of the memory controller of version 1, where the host has that.
    memory_v1: Option<PathBuf>,
    /// Whether hostd started this process, and has prepared everything.
    is_standalone: bool,
    /// What this process got by `LoadCredential=`, for the tenant, see systemd.exec(5).
    credentials: Option<PathBuf>,
    v2_mount: PathBuf,
    group: Option<u32>,
    signals: Signals,
    /// Whether it is to be stopped before there is a tenant that could be asked to end.
    is_called_off: bool,
    manager: Manager,
    /// This tenant's turn to boot, until it is ready.
    turn: Option<Turn>,
    machine: Machine,
    memory: Option<MemoryEvents>,
    console_listener: UnixListener,
    control_listener: UnixListener,
    /// Whether clients have to wait, because one could not be taken.
    deaf: Retry,
    consoles: Consoles,
    conversations: Conversations,
    /// What `state.json` says, or is to say.
    state: Option<RunState>,
    /// Whether it does not say that yet.
    unpublished: Retry,
    /// What it will boot with; none where its files make no sense, or while it is there.
    sources: Option<Sources>,
    plan: Option<Plan>,
    init: Option<Init>,
    boot_began: Instant,
    start_limit: StartLimit,
    wish: Wish,
    ending: Option<Ending>,
    /// When there is memory to be given back.
    rest_at: Option<Instant>,
    guard: RebootGuard,
    /// Held while this process lives: one supervisor for a tenant.
    _lock: File,
}

impl Supervisor {
    fn new(options: RunOptions) -> Result<Self, RunError> {
        let RunOptions { layout, name, cgroup, v1_cgroups } = options;
        if !rustix::process::geteuid().is_root() {
            return Err(RunError::NotRoot);
        }
        set_file_limit();
        let kernel = Linux::new();
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
            deaf: Retry::default(),
            consoles: Consoles::new(layout.log(&name), Forward::new(&layout, &name)),
            conversations: Conversations::default(),
            layout,
            name,
            kernel,
            network: None,
            is_standalone: cgroup.is_some(),
            memory_v1: v1_cgroups.into_iter().find(|dir| dir.join(memory::V1_FILE).exists()),
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
            sources,
            plan: None,
            init: None,
            memory: None,
            boot_began: Instant::now(),
            start_limit: StartLimit::default(),
            wish: Wish::Run,
            ending: None,
            rest_at: Some(Instant::now()),
            guard: RebootGuard::default(),
            _lock: lock,
        })
    }

    /// Boots when it is this tenant's turn and keeps it until its end; returns the exit code that stands for it.
    fn begin(&mut self) -> Result<u8, RunError> {
        if self.take_turn()? && self.boot()? { self.supervise() } else { self.call_off() }
    }

    fn phase(&self) -> Phase {
        self.state.as_ref().map_or(Phase::Starting, |state| state.phase)
    }

    /// Notes an event of the tenant's life and tells the world.
    fn enter(&mut self, event: lifecycle::Event) -> Result<(), RunError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        state.phase = lifecycle::next(state.phase, event)
            .map_err(|illegal| RunError::io("supervise", &self.name)(io::Error::other(illegal)))?;
        self.publish();
        Ok(())
    }

    /// Tells the unit manager in a line what the tenant does.
    fn tell_status(&mut self) {
        if let Some(state) = &self.state {
            let limit = self.ending.as_ref().map_or(0, Ending::seconds);
            self.manager.tell(&format!("STATUS={}", notify::status_line(state, limit)));
        }
    }

    /// Replaces `state.json`. Where that fails, because `/run` is full, it is tried again: the tenant must not
    /// pay for it, and whoever reads it must not take it for one that never got ready.
    fn publish(&mut self) {
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

/// Takes the lock of a tenant, which says who has it.
fn lock(path: &Path) -> Result<File, RunError> {
    let open = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path);
    let mut file = open.map_err(RunError::io("open", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // One that cannot be read is named by nothing.
            let _ = file.take(16).read_to_string(&mut holder);
            return Err(RunError::Busy(holder.trim().to_owned()));
        }
        Err(error) => return Err(RunError::io("lock", path.display())(error.into())),
    }
    let name = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(name.as_bytes()))
        .map_err(RunError::io("write", path.display()))?;
    Ok(file)
}

/// Milliseconds since 1970 UTC.
fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = lock(&path).unwrap();
        let error = lock(&path).unwrap_err();
        let me = std::process::id().to_string();
        assert!(matches!(&error, RunError::Busy(pid) if *pid == me), "{error}");
        assert_eq!(error.exit_code(), 4);
        drop(first);
        lock(&path).unwrap();
    }
}
