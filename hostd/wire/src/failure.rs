//! The one error that leaves this crate: what went wrong, the remedy, and a code that the HTTP status
//! and the exit code follow from.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};
pub use tenant::cause::chain;
use tenant::{TenantName, cause::without_numbers, model::name::InvalidName};

/// Machine-readable kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request itself is malformed: a bad name, an unknown key, a value out of range.
    Invalid,
    /// The caller may not do this.
    Forbidden,
    /// There is no such tenant.
    NoTenant,
    /// There is no such image, channel or version.
    NoImage,
    /// There is no such profile.
    NoProfile,
    /// There is no such thing of another kind.
    NotFound,
    /// The name belongs to a tenant with another configuration.
    NameTaken,
    /// The tenant runs and the request needs it stopped.
    Running,
    /// The tenant does not run and the request needs it running.
    NotRunning,
    /// The record is half removed, another change is under way, or something of the host is in the way.
    Busy,
    /// The tenant's record is damaged.
    Broken,
    /// The configuration changed since the caller read it.
    Conflict,
    /// The tenant would get a version of another image.
    OtherImage,
    /// The tenant has an install of its own, which no version of an image can replace.
    OwnInstall,
    /// It cannot be done while the tenant is running: a restart does it.
    NeedsRestart,
    /// An address, a port or a NIC of the host belongs to another tenant.
    Taken,
    /// A pool of indices, uid ranges or addresses is used up.
    PoolFull,
    /// This host lacks the controller or feature that a setting needs.
    Unenforceable,
    /// The image is not signed by a key that this host trusts, and the host requires it.
    Untrusted,
    /// Another hostd has the store.
    Locked,
    /// The filesystem is full.
    DiskFull,
    /// The tenant's init did not come up.
    StartFailed,
    /// It took longer than allowed.
    Timeout,
    /// hostd does not answer.
    NoHostd,
    /// Everything else.
    Failed,
}

impl Code {
    /// The HTTP status of an answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::NoTenant | Self::NoImage | Self::NoProfile | Self::NotFound => 404,
            Self::NameTaken
            | Self::Running
            | Self::NotRunning
            | Self::Busy
            | Self::Broken
            | Self::Conflict
            | Self::OtherImage
            | Self::NeedsRestart
            | Self::OwnInstall
            | Self::Taken
            | Self::PoolFull
            | Self::Unenforceable
            | Self::Untrusted
            | Self::Locked => 409,
            Self::Timeout => 504,
            Self::DiskFull => 507,
            Self::NoHostd => 503,
            Self::StartFailed | Self::Failed => 500,
        }
    }

    /// The exit code of a command that ended with this code: 1 failed, 2 usage, 3 not found, 4 refused
    /// in this state.
    pub fn exit_code(self) -> u8 {
        match self.status() {
            400 => 2,
            404 => 3,
            409 => 4,
            _ => 1,
        }
    }
}

/// A failed operation as it is told to the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// What failed, on which object, and why: causes joined by `: `.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The tenant's last console lines, escaped, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
}

impl Failure {
    /// A failure with a message and no remedy.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: without_numbers(&message.into()), help: None, console: Vec::new() }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A failure whose message is an error with all its causes.
    pub fn of(code: Code, error: &(dyn Error + 'static)) -> Self {
        Self::new(code, chain(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Parses a tenant's name.
///
/// # Errors
/// [`Code::Invalid`] with what a name looks like.
pub fn tenant_name(text: &str) -> Result<TenantName, Failure> {
    text.parse().map_err(|error: InvalidName| Failure::of(Code::Invalid, &error).help(InvalidName::HELP))
}

/// A text of several lines as one: without the picture that the parser of TOML draws of a fault's place.
pub fn one_line(text: &str) -> String {
    let is_picture = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        !rest.starts_with('|') && !rest.is_empty()
    };
    text.lines().filter(is_picture).map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_of_a_fault_is_left_out() {
        let text = "malformed: TOML parse error at line 1, column 9\n  |\n1 | nonsense\n  |         ^\nkey with no value\n";
        assert_eq!(one_line(text), "malformed: TOML parse error at line 1, column 9; key with no value");
    }

    #[test]
    fn exit_codes_follow_from_the_kind_of_failure() {
        for (code, status, exit) in [
            (Code::Invalid, 400, 2),
            (Code::NoTenant, 404, 3),
            (Code::NoImage, 404, 3),
            (Code::NameTaken, 409, 4),
            (Code::Running, 409, 4),
            (Code::PoolFull, 409, 4),
            (Code::DiskFull, 507, 1),
            (Code::StartFailed, 500, 1),
            (Code::Forbidden, 403, 1),
        ] {
            assert_eq!((code.status(), code.exit_code()), (status, exit), "{code:?}");
        }
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no space"));
        assert_eq!(chain(&error), "cannot start: no space");
    }
}
