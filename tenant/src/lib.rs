//! One tenant of a shared-OS host.
//!
//! The data flows in one direction:
//!
//! ```text
//! tenant TOML + profile TOML ─▶ config::Tenant ┐
//! hostd's record             ─▶ Allocation     ├─▶ plan::plan() ─▶ Plan ─▶ apply::start() ─▶ init runs
//! image store                ─▶ image::Manifest│    (pure)
//! this machine               ─▶ HostFacts      ┘
//! ```
//!
//! [`plan`] decides and does no I/O, [`apply`] obeys and decides nothing, [`supervisor`] keeps the
//! result alive. Every system call goes through [`kernel`].

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

pub mod apply;
pub mod attach;
pub mod cause;
pub mod config;
pub mod enter;
pub mod files;
pub mod init;
pub mod journal;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod protocol;
pub mod stale;
pub mod supervisor;

pub use config::Tenant;
pub use files::layout::Layout;
pub use model::{allocation::Allocation, facts::HostFacts, name::TenantName};
pub use plan::Plan;
