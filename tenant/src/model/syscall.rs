//! System calls that every tenant is refused and one tenant may be allowed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A refused system call that `allow_syscalls` can give back, by its name in syscalls(2).
///
/// The others of the table in [`crate::plan`] is not available: they would reach the host or its other tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AllowedCall {
    /// add_key(2), with `keyctl` for programs that keep secrets in the kernel.
    AddKey,
    /// io_setup(2): asynchronous I/O without threads.
    IoSetup,
    /// keyctl(2).
    Keyctl,
    /// perf_event_open(2), as far as `kernel.perf_event_paranoid` of the host lets it.
    PerfEventOpen,
    /// socketcall(2): the sockets of 32-bit x86 programs.
    Socketcall,
    /// sync(2) that reaches the disks.
    Sync,
    /// userfaultfd(2), as far as `vm.unprivileged_userfaultfd` of the host lets it.
    Userfaultfd,
    /// vmsplice(2).
    Vmsplice,
}

impl AllowedCall {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::AddKey,
        Self::IoSetup,
        Self::Keyctl,
        Self::PerfEventOpen,
        Self::Socketcall,
        Self::Sync,
        Self::Userfaultfd,
        Self::Vmsplice,
    ];

    /// The system call.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddKey => "add_key",
            Self::IoSetup => "io_setup",
            Self::Keyctl => "keyctl",
            Self::PerfEventOpen => "perf_event_open",
            Self::Socketcall => "socketcall",
            Self::Sync => "sync",
            Self::Userfaultfd => "userfaultfd",
            Self::Vmsplice => "vmsplice",
        }
    }
}

impl fmt::Display for AllowedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a system call that no tenant can be allowed, or of none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a system call that can be allowed; use one of: {names}", names = names())]
pub struct NotAllowed(String);

fn names() -> String {
    AllowedCall::ALL.map(AllowedCall::name).join(", ")
}

impl FromStr for AllowedCall {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let found = Self::ALL.into_iter().find(|call| call.name() == text);
        found.ok_or_else(|| NotAllowed(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for AllowedCall {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}

impl From<AllowedCall> for String {
    fn from(call: AllowedCall) -> Self {
        call.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_cannot_be_allowed_is_told_those_that_can() {
        for call in AllowedCall::ALL {
            assert_eq!(call.name().parse(), Ok(call));
        }
        let error = "bpf".parse::<AllowedCall>().unwrap_err().to_string();
        assert!(error.starts_with("\"bpf\" is not a system call") && error.contains("io_setup"), "{error}");
        let fragment = crate::config::parse_toml::<crate::config::Fragment>(
            "allow_syscalls = [\"keyctl\", \"kexec_load\"]",
        );
        assert!(fragment.unwrap_err().to_string().contains("kexec_load"));
    }
}
