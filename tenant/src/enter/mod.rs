//! A new process in a running tenant: in all namespaces and the cgroup of its init, under the same
//! restrictions, with no way back.
//!
//! ```text
//! caller ──clone into init's cgroup──▶ joiner ──setns, switch to root inside, confine──clone──▶ process
//!    ▲                                   │ (not yet visible inside: another pid namespace)     │ exec
//!    └──────── pid, ends of streams ─────┴───────────────── errors, end of file on exec ───────┘
//! ```
//!
//! What it is left with is what init was started with, as the supervisor has recorded it ([`ExecContext`]), and
//! never more than init has at the moment.
//!
//! The joiner does everything that could be watched or disturbed before anything is visible inside:
//! only the process that is about to exec enters the tenant's pid namespace, and that one is not
//! dumpable, holds no descriptor of the host, and has given up its powers already. See nsenter(1),
//! and CVE-2019-5736 and CVE-2024-21626 for what happens otherwise.

mod ceiling;
mod channel;
mod context;
mod exec;
mod guard;
mod joiner;
mod passwd;
mod relay;
mod rlimits;
mod session;
mod target;

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

pub use context::ExecContext;
pub use exec::{ExecError, ExecOptions, TtyMode, exec, shell};
pub use target::Target;

use crate::kernel::raw::{self, Fork, Parent};

/// What the new process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Argument vector; the first element is looked up in `PATH` inside unless it has a slash. Empty
    /// stands for the user's own login shell.
    pub argv: Vec<String>,
    /// Environment, laid over `HOME`, `USER`, `LOGNAME` and `SHELL` of the user.
    pub env: Vec<(String, String)>,
    /// Name or number of the user inside; none is root.
    pub user: Option<String>,
    /// Working directory inside; none is `/`, or the home directory for a login shell.
    pub dir: Option<String>,
}

/// Whose child the new process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopter {
    /// The caller's, who learns its exit code.
    Caller,
    /// The tenant's init's, as if it had been started inside. An init that shuts down waits for the end
    /// of its children; for that of others it can only wait until its patience ends (10 s for systemd).
    Init,
}

/// What the new process has as its standard streams.
#[derive(Debug)]
pub enum Streams<'a> {
    /// A terminal inside, which becomes its controlling one.
    Tty(BorrowedFd<'a>),
    /// A new pseudoterminal of the tenant's devpts; its master comes back.
    NewTty {
        /// Height of its window.
        rows: u16,
        /// Width of its window.
        cols: u16,
    },
    /// Standard input, output and error as they are, which are the tenant's already. None of them becomes its
    /// controlling terminal.
    Given([BorrowedFd<'a>; 3]),
    /// New pipes of its own; their near ends come back: standard input, output and error.
    Pipes,
}

/// Why a process could not be started inside.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Something on the host's side.
    #[error("cannot {0}")]
    Host(&'static str, #[source] io::Error),
    /// A step inside the tenant.
    #[error("cannot {step} inside the tenant")]
    Inside {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is no such user.
    #[error("the tenant has no user {0:?}")]
    NoUser(String),
    /// The working directory cannot be entered.
    #[error("cannot enter the directory {dir:?} inside the tenant")]
    Directory {
        /// The directory.
        dir: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be executed.
    #[error("cannot execute {program:?} inside the tenant")]
    Execute {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its init ended, or the joiner was killed from inside through its cgroup.
    #[error("the tenant ended before the process could start")]
    Ended,
}

/// A process that is on its way in.
#[derive(Debug)]
pub struct Joining {
    /// The process that prepares it; a child of the caller, who reaps it.
    pub joiner: i32,
    channel: channel::Channel,
    program: String,
    user: String,
    dir: String,
    pid: Option<i32>,
}

/// How far a process has come.
#[derive(Debug)]
pub enum Progress {
    /// Not started yet; poll the channel for more.
    Pending,
    /// It exists, and will execute or fail.
    Born {
        /// Its process id.
        pid: i32,
        /// pidfd_open(2) of it, where init is its parent.
        pidfd: Option<OwnedFd>,
        /// The near ends of its new streams: the master of a pseudoterminal, or three of pipes.
        near: Vec<OwnedFd>,
    },
    /// It has executed.
    Executed {
        /// Its process id.
        pid: i32,
    },
}

/// Starts a process inside a tenant. Returns at once; [`Joining::advance`] tells how it goes.
///
/// The caller must have a single thread.
///
/// # Errors
/// What fails on the host's side.
pub fn join(
    target: &Target,
    command: &Command,
    context: &ExecContext,
    streams: &Streams<'_>,
    adopter: Adopter,
) -> Result<Joining, JoinError> {
    let (ours, theirs) = channel::pair().map_err(|error| JoinError::Host("create a socket pair", error))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| JoinError::Host("open /dev/null", error))?;
    let cgroup = target.cgroup.as_ref().map(AsFd::as_fd);
    match raw::clone3(0, Parent::Caller, cgroup) {
        Ok(Fork::Child) => {
            drop(ours);
            let channel = &theirs;
            joiner::run(joiner::Way {
                target,
                command,
                context,
                streams,
                adopter,
                channel,
                null: null.into(),
            })
        }
        Ok(Fork::Parent(joiner)) => Ok(Joining {
            joiner,
            channel: ours,
            program: command.argv.first().cloned().unwrap_or_else(|| "the login shell".to_owned()),
            user: command.user.clone().unwrap_or_else(|| "root".to_owned()),
            dir: command.dir.clone().unwrap_or_else(|| "/".to_owned()),
            pid: None,
        }),
        Err(error) => Err(JoinError::Host("clone into the tenant's cgroup", error)),
    }
}

impl Joining {
    /// Takes the next step, without blocking unless `wait` is set.
    ///
    /// # Errors
    /// Why there will be no process. One that was born already ends by itself and is still to be reaped.
    pub fn advance(&mut self, wait: bool) -> Result<Progress, JoinError> {
        let message = match self.channel.receive(wait) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Progress::Pending),
            Err(error) => return Err(JoinError::Host("receive from the new process", error)),
        };
        match message {
            channel::Message::Born { pid, near } => {
                self.pid = Some(pid);
                Ok(Progress::Born { pid, pidfd: None, near })
            }
            channel::Message::Here { pid } => {
                self.pid = Some(pid);
                let hold = || -> io::Result<OwnedFd> {
                    let number = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
                    let pidfd = pidfd_open(number, PidfdFlags::empty())?;
                    self.channel.send_held()?;
                    Ok(pidfd)
                };
                let pidfd =
                    Some(hold().map_err(|error| JoinError::Host("open a pidfd of the new process", error))?);
                Ok(Progress::Born { pid, pidfd, near: Vec::new() })
            }
            channel::Message::Closed => match self.pid {
                Some(pid) => Ok(Progress::Executed { pid }),
                None => Err(JoinError::Ended),
            },
            channel::Message::Failed { step, errno } => Err(self.failure(step, errno)),
        }
    }

    /// Kills the process that prepares the new one. What it was is still to be reaped.
    pub fn kill(&self) {
        if let Some(joiner) = Pid::from_raw(self.joiner) {
            // It may have ended already.
            let _ = kill_process(joiner, Signal::KILL);
        }
    }

    fn failure(&self, step: joiner::Step, errno: i32) -> JoinError {
        let source = io::Error::from_raw_os_error(errno);
        match step {
            joiner::Step::FindUser => JoinError::NoUser(self.user.clone()),
            joiner::Step::EnterDirectory => JoinError::Directory { dir: self.dir.clone(), source },
            joiner::Step::Execute => JoinError::Execute { program: self.program.clone(), source },
            // clone(2) into a pid namespace whose init has ended.
            joiner::Step::Clone if errno == libc::ENOMEM => JoinError::Ended,
            step => JoinError::Inside { step: step.words(), source },
        }
    }
}

impl AsFd for Joining {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
