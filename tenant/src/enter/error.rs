//! Why a process is not run inside.

use std::io;

use crate::{
    config::profile::LoadError,
    files::{file_error::FileError, sources::LoadPlanError},
    protocol::control::ControlError,
};

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
    /// It may be parked, and cannot be woken.
    #[error("its supervisor does not wake it")]
    Asleep(String, #[source] ControlError),
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
            Self::Asleep(name, _) => Some(format!("show what it is doing: tenantctl show {name}")),
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
