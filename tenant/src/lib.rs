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

pub mod allocation;
pub mod apply;
pub mod attach;
pub mod carried;
pub mod cause;
pub mod claim;
pub mod config;
pub mod credentials;
pub mod device;
pub mod facts;
pub mod file_error;
pub mod host;
pub mod identity;
pub mod ids;
pub mod image;
pub mod join;
pub mod journal;
pub mod kernel;
pub mod layout;
pub mod limits;
pub mod load;
pub mod name;
pub mod net;
pub mod path;
pub mod plan;
pub mod pool;
pub mod ports;
pub mod profile;
pub mod record;
pub mod shelter;
pub mod state;
pub mod supervisor;
pub mod syscall;

pub use allocation::Allocation;
pub use config::Tenant;
pub use facts::HostFacts;
pub use layout::Layout;
pub use name::TenantName;
pub use plan::Plan;
