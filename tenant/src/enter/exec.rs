//! `tenant exec` and `tenant shell`: a process inside, with this process's own streams.

use std::{io, path::Path};

use rustix::{
    process::geteuid,
    stdio::{stdin, stdout},
    termios::isatty,
};

use super::{
    Adopter, Command, ExecContext, JoinError, Streams, Target, join,
    session::{Session, Signals, terminal_size},
};
use crate::{
    config::profile::{LoadError, load_fragment},
    files::{
        file_error::FileError,
        layout::Layout,
        sources::LoadPlanError,
        state::{ProcessRef, RunState},
    },
    kernel::raw,
    model::{facts::CgroupFacts, name::TenantName},
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
    /// Only root may.
    #[error("only root can enter a tenant")]
    NotRoot(String),
    /// There is no such tenant.
    #[error(transparent)]
    Load(#[from] LoadPlanError),
    /// Its state cannot be read.
    #[error(transparent)]
    State(#[from] FileError),
    /// What its processes are started with is not known.
    #[error("the record of its supervisor (exec.json) is missing")]
    NoContext(String),
    /// It does not run.
    #[error("it is not running")]
    NotRunning(String),
    /// Its processes are frozen, and a new one would be too.
    #[error("it is frozen")]
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
            Self::NotRoot(name) => Some(format!(
                "run it as root, or use the console, which the group tenantry may open: tenantctl console {name}"
            )),
            Self::Load(error) => error.help().map(str::to_owned),
            Self::NoContext(name) => Some(format!(
                "use the console or restart the tenant: tenantctl console {name}; tenantctl restart {name}"
            )),
            Self::NotRunning(name) => Some(format!("start it: tenantctl start {name}")),
            Self::Frozen(name) => Some(format!("thaw it: tenantctl thaw {name}")),
            Self::Join(JoinError::NoUser(_)) => {
                Some("list the tenant's users: tenantctl exec NAME -- getent passwd".into())
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
/// signal that killed it. It has no more power than the tenant's init, and ends when this process is killed.
///
/// The caller must have a single thread.
///
/// # Errors
/// Why it was not run.
pub fn exec(layout: &Layout, name: &TenantName, options: &ExecOptions) -> Result<u8, ExecError> {
    let host = |what| move |error: io::Error| ExecError::Host(what, error);
    if !geteuid().is_root() {
        return Err(ExecError::NotRoot(name.to_string()));
    }
    let (target, context) = find(layout, name)?;
    let is_terminal = match options.tty {
        TtyMode::Always => true,
        TtyMode::Never => false,
        TtyMode::Auto => isatty(stdin()) && isatty(stdout()),
    };
    let command = Command {
        argv: options.argv.clone(),
        env: environment(&context, options, is_terminal),
        user: options.user.clone(),
        dir: options.dir.clone(),
    };
    let signals = Signals::block().map_err(host("block signals"))?;
    raw::reset_scheduling_on_fork().map_err(host("reset the scheduling policy"))?;
    let start = |streams: &Streams<'_>| {
        Session::start(join(&target, &command, &context, streams, Adopter::Caller)?, signals)
    };
    if is_terminal {
        let (rows, cols) = terminal_size();
        let (session, near) = start(&Streams::NewTty { rows, cols })?;
        let [master] = near.try_into().map_err(|_| JoinError::Ended)?;
        session.relay_tty(master)
    } else {
        let (session, near) = start(&Streams::Pipes)?;
        session.relay_pipes(near.try_into().map_err(|_| JoinError::Ended)?)
    }
}

/// The running tenant, and what a process that joins it is started with. It runs on whatever has become of its
/// files since its start.
fn find(layout: &Layout, name: &TenantName) -> Result<(Target, ExecContext), ExecError> {
    let host = |what| move |error: io::Error| ExecError::Host(what, error);
    let not_running = || match load_fragment(layout, name) {
        // A tenant that does not exist is told from one that does not run.
        Err(error @ LoadError::NoTenant(_)) => LoadPlanError::from(error).into(),
        _ => ExecError::NotRunning(name.to_string()),
    };
    let state = RunState::read(&layout.run_state(name))?;
    let init = state.and_then(|state| state.init).filter(ProcessRef::is_alive).ok_or_else(not_running)?;
    let context = ExecContext::read(layout, name)?;
    // Looked at last: if this init is alive now, the record was that of its boot.
    let cgroups = CgroupFacts::gather().map_err(host("inspect the host's cgroups"))?;
    let target = Target::of(init, &cgroups).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_running(),
        _ => ExecError::Host("inspect the tenant's init", error),
    })?;
    let context = context.ok_or_else(|| ExecError::NoContext(name.to_string()))?;
    if is_frozen(&context.cgroup) {
        return Err(ExecError::Frozen(name.to_string()));
    }
    Ok((target, context))
}

/// Init's environment but for what only init is told, and what was asked for.
fn environment(context: &ExecContext, options: &ExecOptions, is_terminal: bool) -> Vec<(String, String)> {
    let only_init = ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "TERM"];
    let is_common = |(key, _): &(String, String)| !only_init.contains(&key.as_str());
    let mut env: Vec<_> = context.env.clone().into_iter().filter(is_common).collect();
    if is_terminal {
        let term = own_term().or_else(|| context.env.get("TERM").cloned());
        env.extend(term.map(|term| ("TERM".to_owned(), term)));
    }
    env.extend(options.env.iter().cloned());
    env
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
