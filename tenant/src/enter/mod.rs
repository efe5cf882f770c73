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
mod command;
mod context;
mod error;
mod exec;
mod files;
mod guard;
mod joiner;
mod joining;
mod locale;
mod passwd;
mod program;
mod relay;
mod rlimits;
mod session;
mod step;
mod target;

pub use command::{Command, ParentProcess, Streams};
pub use context::ExecContext;
pub use error::{ExecError, JoinError};
pub use exec::{ExecOptions, TtyMode, exec, shell};
pub use files::{FilesError, Work, files};
pub use joining::{Joining, Progress, join};
pub use target::Target;
