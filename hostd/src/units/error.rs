//! Why a unit could not be started or stopped.

use std::{io, sync::Arc};

use tenant::{
    files::{
        file_error::{FileError, full},
        state::Failure as TenantFailure,
    },
    kernel::KernelError,
    protocol::control::ControlError,
};
use wire::{Code, Failure, chain, programs::NoProgram};

use super::{
    cgroups::{CgroupError, NoCgroup2},
    limits::LimitError,
    systemd::BusError,
};

/// A job of systemd that did not end well.
#[derive(Debug)]
pub struct FailedJob {
    /// The unit.
    pub unit: String,
    /// systemd's word for the job's end.
    pub word: String,
    /// How the service ended, or `success`.
    pub result: String,
    /// The status line of its supervisor.
    pub status: String,
}

impl From<BusError> for UnitError {
    fn from(error: BusError) -> Self {
        Self::Bus(Box::new(error))
    }
}

/// A unit that could not be started, stopped or changed.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// There is no cgroup v2.
    #[error(transparent)]
    NoCgroup2(#[from] NoCgroup2),
    /// A cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The program is missing.
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    /// A step of starting the supervisor.
    #[error("cannot {0}")]
    Io(&'static str, #[source] io::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The supervisor gave up, and said why.
    #[error("{}", .0.message)]
    Tenant(TenantFailure),
    /// The supervisor ended before its tenant was ready, and left these last words.
    #[error("its supervisor ended before it was ready{}", words(.0))]
    Died(String),
    /// It was stopped, or powered itself off, before it was ready.
    #[error("it was stopped before it was ready")]
    CalledOff,
    /// It was not ready in time.
    #[error("it was not ready within {0} s")]
    Timeout(u64, Vec<String>),
    /// Its supervisor has been killed and does not end.
    #[error("its supervisor, process {0}, was killed but does not exit")]
    Stuck(i32),
    /// A job of systemd did not end well, and the supervisor left no word.
    #[error("{}", job(.0))]
    Job(Box<FailedJob>),
    /// systemd.
    #[error(transparent)]
    Bus(Box<BusError>),
    /// The supervisor, asked for something.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What is left.
    #[error("cannot remove its leftovers: {}", left(.0))]
    Leftovers(Arc<Vec<KernelError>>),
}

/// Code, remedy and console of a system call that failed: a full disk is told as such.
fn of_kind(kind: io::ErrorKind) -> (Code, Option<String>, Vec<String>) {
    match full(kind) {
        Some(help) => (Code::DiskFull, Some(help.to_owned()), Vec::new()),
        None => (Code::Failed, None, Vec::new()),
    }
}

fn words(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn job(FailedJob { unit, word, result, status }: &FailedJob) -> String {
    let mut text = match word.as_str() {
        "failed" => format!("{unit} failed"),
        "canceled" => format!("its start was canceled by another job of {unit}"),
        "timeout" => format!("{unit} was not ready in time"),
        "dependency" => format!("a dependency of {unit} failed"),
        "assert" => format!("an assertion of {unit} failed"),
        other => format!("the job of {unit} ended as {other:?}"),
    };
    if !matches!(result.as_str(), "" | "success") {
        text.push_str(&format!(" ({result})"));
    }
    // While it starts the line says no more than that.
    if !matches!(status.as_str(), "" | "Starting" | "Booting") {
        text.push_str(&format!(": {status}"));
    }
    text
}

fn left(errors: &[KernelError]) -> String {
    errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; ")
}

impl From<UnitError> for Failure {
    fn from(error: UnitError) -> Self {
        let message = chain(&error);
        let (code, help, console) = match error {
            UnitError::NoCgroup2(_) => {
                let help = "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified";
                (Code::Unenforceable, Some(help.to_owned()), Vec::new())
            }
            UnitError::Limit(LimitError::Unenforceable(_)) => {
                let help = "remove the limit, enable the controller, or pass --allow-unenforced";
                (Code::Unenforceable, Some(help.to_owned()), Vec::new())
            }
            UnitError::NoProgram(missing) => (Code::Failed, missing.help().map(str::to_owned), Vec::new()),
            UnitError::Tenant(failure) => (Code::StartFailed, failure.help, failure.console),
            UnitError::CalledOff => {
                (Code::StartFailed, Some("start it again: tenantctl start NAME".to_owned()), Vec::new())
            }
            UnitError::Stuck(pid) => {
                let help = format!("check where it hangs in the kernel: cat /proc/{pid}/stack");
                (Code::Failed, Some(help), Vec::new())
            }
            UnitError::Died(_) => {
                (Code::StartFailed, Some("read its console: tenantctl logs NAME".to_owned()), Vec::new())
            }
            UnitError::Job(_) => (
                Code::StartFailed,
                Some("read its journal: journalctl -u tenant@NAME".to_owned()),
                Vec::new(),
            ),
            UnitError::Bus(error) => {
                let help = match *error {
                    BusError::Unreachable(_) => "check that systemd responds: systemctl status",
                    BusError::Call(..) => "read the log of systemd: journalctl -b _PID=1",
                };
                (Code::Failed, Some(help.to_owned()), Vec::new())
            }
            UnitError::Control(ControlError::Refused { help, needs_restart, .. }) => {
                let code = if needs_restart { Code::NeedsRestart } else { Code::Failed };
                (code, help, Vec::new())
            }
            UnitError::Timeout(_, console) => {
                let help = "read its console, or raise start_timeout_sec: tenantctl logs NAME";
                (Code::Timeout, Some(help.to_owned()), console)
            }
            UnitError::Io(_, source) => of_kind(source.kind()),
            UnitError::File(source) => of_kind(source.kind()),
            UnitError::Cgroup(_)
            | UnitError::Control(_)
            | UnitError::Limit(LimitError::Refused { .. })
            | UnitError::Leftovers(_) => (Code::Failed, None, Vec::new()),
        };
        Self { code, message, help, console }
    }
}
