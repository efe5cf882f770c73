//! Why a tenant cannot be run, or runs no more.

use std::io;

use super::run::lifecycle::RebootGuard;
use crate::{
    apply::{StartError, remedy},
    config::profile::LoadError,
    files::{
        file_error::{FileError, full},
        sources::LoadPlanError,
        state::Exit,
    },
    kernel::KernelError,
};

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

pub(super) fn how(exit: &Exit) -> String {
    match exit {
        Exit::Code(code @ 129..=192) => format!("was killed by signal {}", code - 128),
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Poweroff => "powered off".to_owned(),
        Exit::Signal(signal) => format!("was killed by signal {signal}"),
    }
}

impl RunError {
    pub(super) fn io(
        operation: &'static str,
        object: impl std::fmt::Display,
    ) -> impl FnOnce(io::Error) -> Self {
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
