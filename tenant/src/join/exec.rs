//! `tenant exec` and `tenant shell`: a process inside, with this process's own streams.

use std::{io, os::fd::OwnedFd, path::Path};

use nix::{
    sys::{
        signal::{SigSet, Signal, kill, killpg},
        signalfd::{SfdFlags, SignalFd},
        wait::waitpid,
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    stdio::{stderr, stdin, stdout},
    termios::{Winsize, isatty, tcsetwinsize},
};

use super::{
    Adopter, Command, JoinError, Progress, Streams, Target, join,
    relay::{Pump, Stream, unblock},
};
use crate::{
    attach::{RawMode, window_size},
    config::Fragment,
    facts::HostFacts,
    layout::Layout,
    load::{LoadPlanError, load_allocation, load_manifest, load_plan},
    name::TenantName,
    plan::{Inputs, Plan, plan},
    profile::{LoadError, load_fragment, resolve},
    record::RecordError,
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
    State(#[from] RecordError),
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
    match load_plan(layout, name, facts, Some(unit)) {
        Err(LoadPlanError::Config(_)) => {}
        result => return result,
    }
    let allocation = load_allocation(layout, name)?;
    let manifest = load_manifest(layout, &allocation)?;
    let tenant = resolve(layout, name, Fragment::default())?;
    let inputs = Inputs {
        layout,
        tenant: &tenant,
        allocation: &allocation,
        manifest: &manifest,
        facts,
        unit_cgroup: Some(unit),
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

/// What is passed on to the process inside.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

struct Signals(SignalFd);

impl Signals {
    fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in PASSED_ON.into_iter().chain([Signal::SIGCHLD, Signal::SIGWINCH]) {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for news of a process that is on its way; returns a signal that says to give it up.
    fn wait_for(&self, joining: &super::Joining) -> io::Result<Option<u8>> {
        let mut fds = [PollFd::new(joining, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() || fds[1].revents().is_empty() {
            return Ok(None);
        }
        let info = self.0.read_signal()?;
        let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        let signal = info.map(|info| info.ssi_signo as u8);
        Ok(signal.filter(|signal| ends.contains(&i32::from(*signal))))
    }
}

/// A process inside, from its birth to its end.
struct Session {
    pid: Pid,
    signals: Signals,
    ended: Option<u8>,
}

impl Session {
    /// Waits until the process has executed. Until then a signal that would end a command gives it up: a
    /// tenant can keep a process from starting as long as it likes.
    fn start(mut joining: super::Joining, signals: Signals) -> Result<(Self, Option<OwnedFd>), ExecError> {
        let mut terminal = None;
        let mut born = None;
        let mut given_up = None;
        let result = loop {
            match joining.advance(false) {
                Ok(Progress::Pending) => {
                    let signal =
                        signals.wait_for(&joining).map_err(|error| ExecError::Host("wait", error))?;
                    if signal.is_some() {
                        given_up = signal;
                        joining.kill();
                        if let Some(pid) = born {
                            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                        }
                    }
                }
                Ok(Progress::Born { pid, master, .. }) => {
                    terminal = master;
                    born = Some(pid);
                }
                Ok(Progress::Executed { pid }) => break Ok(pid),
                Err(error) => break Err(error),
            }
        };
        for child in [Some(joining.joiner), born.filter(|_| result.is_err())].into_iter().flatten() {
            let _ = waitpid(Pid::from_raw(child), None);
        }
        if let Some(signal) = given_up {
            return Err(ExecError::Interrupted(signal));
        }
        let mut session = Self { pid: Pid::from_raw(result?), signals, ended: None };
        // Its SIGCHLD may be among the signals that were taken meanwhile.
        session.reap().map_err(|error| ExecError::Host("wait", error))?;
        Ok((session, terminal))
    }

    /// Carries a terminal until the process has ended.
    fn relay_tty(&mut self, master: &OwnedFd) -> io::Result<u8> {
        let (stdin, stdout) = (stdin(), stdout());
        unblock(master)?;
        let raw = RawMode::enter(stdin)?;
        let mut inward = Pump::inward(stdin, master.try_clone()?);
        let mut outward = Pump::outward(master.try_clone()?, stdout);
        let code = loop {
            if let Some(code) = self.ended {
                break code;
            }
            let open_before = inward.is_open();
            self.wait_and_carry(&mut [&mut inward, &mut outward], Some(master))?;
            if open_before && !inward.is_open() {
                // The end of a script on standard input is an end of file typed inside.
                let _ = rustix::io::write(master, b"\x04");
            }
        };
        outward.drain()?;
        drop(raw);
        Ok(code)
    }

    /// Carries pipes until the process has ended.
    fn relay_pipes(&mut self, pumps: Vec<Option<Pump<'_>>>) -> io::Result<u8> {
        let mut pumps: Vec<Pump<'_>> = pumps.into_iter().flatten().collect();
        let code = loop {
            if let Some(code) = self.ended {
                break code;
            }
            let mut all: Vec<&mut Pump<'_>> = pumps.iter_mut().collect();
            self.wait_and_carry(&mut all, None)?;
        };
        for pump in pumps.iter_mut().filter(|pump| pump.is_outward()) {
            pump.drain()?;
        }
        Ok(code)
    }

    fn wait_and_carry(&mut self, pumps: &mut [&mut Pump<'_>], master: Option<&OwnedFd>) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.signals.0, PollFlags::IN)];
        let mut which = Vec::new();
        for (number, pump) in pumps.iter().enumerate() {
            if let Some(interest) = pump.interest() {
                fds.push(interest);
                which.push(number);
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for (number, _) in which.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            pumps[*number].carry()?;
        }
        if ready[0] {
            self.take_signals(master)?;
        }
        Ok(())
    }

    fn take_signals(&mut self, master: Option<&OwnedFd>) -> io::Result<()> {
        while let Some(info) = self.signals.0.read_signal()? {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGWINCH) => {
                    if let (Some(master), (rows @ 1.., cols @ 1..)) = (master, window_size(stdin())) {
                        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
                        let _ = tcsetwinsize(master, size);
                    }
                }
                Ok(signal) => self.pass_on(signal),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The process leads a session and a group of its own, so a terminal's Ctrl-C reaches only us.
    fn pass_on(&self, signal: Signal) {
        if self.ended.is_none() && killpg(self.pid, signal).is_err() {
            let _ = kill(self.pid, signal);
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw());
        match rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG) {
            Ok(Some((_, status))) => {
                let killed = status.terminating_signal().map(|signal| 128 + signal);
                self.ended = status.exit_status().or(killed).map(|code| code as u8);
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
