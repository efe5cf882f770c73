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
pub mod host;
pub mod logging;
pub mod lxc;
pub mod service;
pub mod store;
pub mod units;

use std::path::PathBuf;

use tenant::Layout;

pub use error::{Code, Failure};

/// The layout below the root that was asked for, else below the one that [`Layout::ENV`] names, else that of the
/// machine. Not by clap, which would repeat the variable's value in every usage line.
pub fn layout(root: Option<PathBuf>) -> Layout {
    let named = std::env::var_os(Layout::ENV).filter(|root| !root.is_empty()).map(PathBuf::from);
    let root = root.or(named).unwrap_or_else(|| PathBuf::from("/"));
    Layout::new(std::path::absolute(&root).unwrap_or(root))
}
