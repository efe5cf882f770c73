//! System calls that every tenant is refused and one tenant may be allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A refused system call that `allow_syscalls` can give back, by its name in syscalls(2).
///
/// The others of the table in [`crate::plan`] cannot be had: they would reach the host or its other tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
