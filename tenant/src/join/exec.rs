//! `tenant exec` and `tenant shell`: a process inside, with this process's own streams.

use std::{io, path::Path};

use rustix::{
    stdio::{stderr, stdin, stdout},
    termios::isatty,
};

use super::{
    Adopter, Command, JoinError, Streams, Target, join,
    relay::Stream,
    session::{Session, Signals},
};
use crate::{
    attach::window_size,
    config::Fragment,
    facts::HostFacts,
    file_error::FileError,
    layout::Layout,
    load::{LoadPlanError, load_allocation, load_manifest, load_plan},
    name::TenantName,
    plan::{Inputs, Plan, PlanError, plan},
    profile::{LoadError, load_fragment, load_host, resolve},
    state::{ProcessRef, RunState},
};

/// Whether the process gets a pseudoterminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtyMode {
    /// If standard input and output are terminals.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to run and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Argument vector; empty for a login shell.
    pub argv: Vec<String>,
    /// Whether it gets a pseudoterminal.
    pub tty: TtyMode,
    /// Name or number of the user inside; none is root.
    pub user: Option<String>,
    /// Working directory inside.
    pub dir: Option<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Its files cannot be used; among them that there is no such tenant.
    #[error(transparent)]
    Load(#[from] LoadPlanError),
    /// Its state cannot be read.
    #[error(transparent)]
    State(#[from] FileError),
    /// It does not run.
    #[error("tenant {0:?} is not running")]
    NotRunning(String),
    /// Its processes are frozen, and a new one would be too.
    #[error("tenant {0:?} is frozen")]
    Frozen(String),
    /// This host.
    #[error("cannot {0}")]
    Host(&'static str, #[source] io::Error),
    /// A signal came before the command had started.
    #[error("interrupted before the command had started")]
    Interrupted(u8),
    /// The way in.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl ExecError {
    /// The remedy, if one is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Load(error) => error.help().map(str::to_owned),
            Self::NotRunning(name) => Some(format!("start it: tenantctl start {name}")),
            Self::Frozen(name) => Some(format!("thaw it: tenantctl thaw {name}")),
            Self::Join(JoinError::NoUser(_)) => {
                Some("users are those of the tenant's own /etc/passwd".into())
            }
            Self::Host(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root".into())
            }
            Self::State(_) | Self::Host(..) | Self::Interrupted(_) | Self::Join(_) => None,
        }
    }

    /// The exit code: 3 not found, 4 refused in this state, 126 and 127 as in a shell, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted(signal) => 128 + signal,
            Self::Load(LoadPlanError::Config(LoadError::NoTenant(_))) => 3,
            Self::NotRunning(_) | Self::Frozen(_) | Self::Join(JoinError::Ended) => 4,
            Self::Join(JoinError::Execute { source, .. }) if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Join(JoinError::Execute { .. }) => 126,
            _ => 1,
        }
    }
}

/// Runs a command in a running tenant and returns its exit code: its own, or 128 and the number of the
/// signal that killed it.
///
/// # Errors
/// Why it was not run.
pub fn exec(layout: &Layout, name: &TenantName, options: &ExecOptions) -> Result<u8, ExecError> {
    let host = |what| move |error: io::Error| ExecError::Host(what, error);
    // A tenant that does not exist is told from one that does not run.
    if let Err(error @ LoadError::NoTenant(_)) = load_fragment(layout, name) {
        return Err(LoadPlanError::from(error).into());
    }
    let not_running = || ExecError::NotRunning(name.to_string());
    let state = RunState::read(&layout.run_state(name))?.ok_or_else(not_running)?;
    let init = state.init.filter(ProcessRef::is_alive).ok_or_else(not_running)?;
    let facts = HostFacts::gather().map_err(host("look at this host"))?;
    let plan = plan_inside(layout, name, &facts, Path::new(&state.cgroup))?;
    if is_frozen(&plan.cgroup.payload) {
        return Err(ExecError::Frozen(name.to_string()));
    }
    let target = Target::of(init, &facts.cgroup).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_running(),
        _ => ExecError::Host("open the tenant's cgroups", error),
    })?;
    let (stdin, stdout) = (stdin(), stdout());
    let tty = match options.tty {
        TtyMode::Always => true,
        TtyMode::Never => false,
        TtyMode::Auto => isatty(stdin) && isatty(stdout),
    };
    let mut env: Vec<_> = plan.init.env.into_iter().filter(|(key, _)| key != "NOTIFY_SOCKET").collect();
    env.retain(|(key, _)| key != "TERM" || tty);
    if let (true, Some(term)) = (tty, own_term()) {
        env.push(("TERM".to_owned(), term));
    }
    env.extend(options.env.iter().cloned());
    let command =
        Command { argv: options.argv.clone(), env, user: options.user.clone(), dir: options.dir.clone() };
    let signals = Signals::block().map_err(host("block signals"))?;
    if tty {
        let (rows, cols) = window_size(stdin);
        let (mut session, joining) = Session::start(
            join(&target, &command, &plan.security, &Streams::NewTty { rows, cols }, Adopter::Caller)?,
            signals,
        )?;
        let master = joining.ok_or(JoinError::Ended)?;
        session.relay_tty(&master).map_err(host("carry the terminal"))
    } else {
        let streams = || -> io::Result<_> {
            Ok([Stream::input(stdin)?, Stream::output(stdout)?, Stream::output(stderr())?])
        };
        let streams = streams().map_err(host("make pipes"))?;
        let far = [streams[0].far(), streams[1].far(), streams[2].far()];
        let joining = join(&target, &command, &plan.security, &Streams::Pipes(far), Adopter::Caller)?;
        let (mut session, _) = Session::start(joining, signals)?;
        let pumps = streams.into_iter().map(Stream::pump);
        session.relay_pipes(pumps.collect()).map_err(host("carry the streams"))
    }
}

/// The plan of a running tenant. A tenant file that was broken since its start must not keep anybody
/// out: then the plan is that of a tenant which asks for nothing special.
fn plan_inside(
    layout: &Layout,
    name: &TenantName,
    facts: &HostFacts,
    unit: &Path,
) -> Result<Plan, LoadPlanError> {
    match load_plan(layout, name, facts, Some(unit), &[]) {
        Err(LoadPlanError::Config(_) | LoadPlanError::Plan { source: PlanError::Nic { .. }, .. }) => {}
        result => return result,
    }
    let allocation = load_allocation(layout, name)?;
    let manifest = load_manifest(layout, &allocation)?;
    let tenant = resolve(layout, name, Fragment::default())?;
    let host = load_host(layout).unwrap_or_default();
    let inputs = Inputs {
        layout,
        tenant: &tenant,
        allocation: &allocation,
        manifest: &manifest,
        host: &host,
        facts,
        unit_cgroup: Some(unit),
        credentials: &[],
    };
    plan(&inputs).map_err(|source| LoadPlanError::Plan { name: name.to_string(), source })
}

/// Runs the login shell of a user of the tenant.
///
/// # Errors
/// Why it was not run.
pub fn shell(
    layout: &Layout,
    name: &TenantName,
    user: Option<String>,
    tty: TtyMode,
) -> Result<u8, ExecError> {
    exec(layout, name, &ExecOptions { user, tty, ..ExecOptions::default() })
}

fn is_frozen(payload: &Path) -> bool {
    std::fs::read_to_string(payload.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
}

/// The kind of the caller's terminal, if it is the plain word it should be.
fn own_term() -> Option<String> {
    let term = std::env::var("TERM").ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    (!term.is_empty() && term.len() <= 64 && term.bytes().all(plain)).then_some(term)
}
