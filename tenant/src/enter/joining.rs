//! A process on its way in, seen from its caller.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{
    channel::{self, Channel},
    command::{Command, ParentProcess, Streams},
    context::ExecContext,
    error::JoinError,
    joiner::{self, Way},
    step::Step,
    target::Target,
};
use crate::kernel::raw::{self, Fork, Parent};

/// A process that is on its way in.
#[derive(Debug)]
pub struct Joining {
    /// The process that prepares it; a child of the caller, who reaps it.
    pub joiner: i32,
    channel: Channel,
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
    parent: ParentProcess,
) -> Result<Joining, JoinError> {
    let (ours, theirs) = channel::pair().map_err(|error| JoinError::Host("create a socket pair", error))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| JoinError::Host("open /dev/null", error))?;
    let cgroup = target.cgroup.as_ref().map(AsFd::as_fd);
    match raw::clone3(0, Parent::Caller, cgroup) {
        Ok(Fork::Child) => {
            drop(ours);
            let channel = &theirs;
            joiner::run(Way { target, command, context, streams, parent, channel, null: null.into() })
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

    fn failure(&self, step: Step, errno: i32) -> JoinError {
        let source = io::Error::from_raw_os_error(errno);
        match step {
            Step::FindUser => JoinError::NoUser(self.user.clone()),
            Step::EnterDirectory => JoinError::Directory { dir: self.dir.clone(), source },
            Step::Execute => JoinError::Execute { program: self.program.clone(), source },
            // clone(2) into a pid namespace whose init has ended.
            Step::Clone if errno == libc::ENOMEM => JoinError::Ended,
            step => JoinError::Inside { step: step.words(), source },
        }
    }
}

impl AsFd for Joining {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
