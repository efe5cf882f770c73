//! The daemon of a Tenantry host.
//!
//! ```text
//! tenantctl ──HTTP/JSON over a Unix socket──▶ api ──▶ Host ──┬─▶ records  files of tenants ── assign, dirs
//!                                                            └─▶ units    supervisors, cgroups, limits
//! ```
//!
//! [`records`] is the only writer of records, [`units`] the only one that starts processes. [`host::Host`]
//! puts the two together, one operation on a tenant at a time; [`api`] translates it to HTTP. What goes over the
//! socket is the crate `wire`.

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

pub mod api;
pub mod assign;
pub mod dirs;
pub mod doctor;
pub mod drift;
pub mod explain;
pub mod filter;
pub mod host;
pub mod logging;
mod parts;
mod quiet;
pub mod records;
pub mod rollout;
pub mod service;
pub mod units;
