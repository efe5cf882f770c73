//! The host's side of Tenantry: the daemon `hostd` and its client `tenantctl`.
//!
//! ```text
//! cli ──HTTP/JSON over a Unix socket──▶ api ──▶ Host ──┬─▶ store   records and directories on disk
//!                                                      └─▶ units   supervisors, cgroups, limits
//! ```
//!
//! [`store`] is the only writer of records, [`units`] the only one that starts processes. [`host::Host`]
//! puts the two together, one operation on a tenant at a time; [`api`] translates it to HTTP.

pub mod api;
pub mod cli;
pub mod doctor;
pub mod error;
pub mod explain;
pub mod filter;
pub mod forwarding;
pub mod host;
pub mod logging;
pub mod lxc;
pub mod service;
pub mod store;
pub mod units;

pub use error::{Code, Failure};
