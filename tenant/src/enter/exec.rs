//! `tenant exec` and `tenant shell`: a process inside, with this process's own streams.

use std::{io, path::Path, time::Duration};

use rustix::{
    process::geteuid,
    stdio::{stdin, stdout},
    termios::isatty,
};

use super::{
    command::{Command, ParentProcess, Streams},
    context::ExecContext,
    error::{ExecError, JoinError},
    joining::join,
    session::{Session, Signals, terminal_size},
    target::Target,
};
use crate::{
    config::profile::{LoadError, load_fragment},
    files::{
        layout::Layout,
        sources::LoadPlanError,
        state::{Phase, ProcessRef, RunState},
    },
    kernel::raw,
    model::{facts::CgroupFacts, name::TenantName, park::WakeReason},
    protocol::control::{Client, ControlError, Request},
};

/// How long a supervisor may take to wake its tenant.
const WAKE_TIMEOUT: Duration = Duration::from_secs(15);

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
        env: environment(&context, is_terminal),
        asked: options.env.clone(),
        user: options.user.clone(),
        dir: options.dir.clone(),
    };
    let signals = Signals::block().map_err(host("block signals"))?;
    raw::reset_scheduling_on_fork().map_err(host("reset the scheduling policy"))?;
    let start = |streams: &Streams<'_>| {
        Session::start(join(&target, &command, &context, streams, ParentProcess::Caller)?, signals)
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
pub(super) fn find(layout: &Layout, name: &TenantName) -> Result<(Target, ExecContext), ExecError> {
    let host = |what| move |error: io::Error| ExecError::Host(what, error);
    let not_running = || match load_fragment(layout, name) {
        // A tenant that does not exist is told from one that does not run.
        Err(error @ LoadError::NoTenant(_)) => LoadPlanError::from(error).into(),
        _ => ExecError::NotRunning(name.to_string()),
    };
    let mut state = RunState::read(&layout.run_state(name))?;
    if let Some(said) = state.as_ref().filter(|said| said.parks || said.phase == Phase::Parked)
        && said.is_supervised()
    {
        // Asked for in any case: a tenant that was idle until now is not parked at this moment.
        wake(layout, name, said.supervisor)?;
        state = RunState::read(&layout.run_state(name))?;
    }
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

/// Has a tenant that may be parked run. One that ends meanwhile is told from its state.
fn wake(layout: &Layout, name: &TenantName, supervisor: ProcessRef) -> Result<(), ExecError> {
    let asked = Client::connect_to(&layout.control_socket(name), supervisor, WAKE_TIMEOUT)
        .and_then(|client| client.ask(Request::Wake { why: WakeReason::Exec }));
    match asked {
        Ok(_) | Err(ControlError::NotRunning | ControlError::Ended(_) | ControlError::Refused { .. }) => {
            Ok(())
        }
        Err(error) => Err(ExecError::Asleep(name.to_string(), error)),
    }
}

/// Init's environment but for what only init is told.
fn environment(context: &ExecContext, is_terminal: bool) -> Vec<(String, String)> {
    let only_init = ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "TERM"];
    let is_common = |(key, _): &(String, String)| !only_init.contains(&key.as_str());
    let mut env: Vec<_> = context.env.clone().into_iter().filter(is_common).collect();
    if is_terminal {
        let term = own_term().or_else(|| context.env.get("TERM").cloned());
        env.extend(term.map(|term| ("TERM".to_owned(), term)));
    }
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
