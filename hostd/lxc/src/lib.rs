//! Containers of LXC as tenants.
//!
//! | part | what |
//! |---|---|
//! | `conf` | an lxc.conf as a tenant's file; pure |
//! | `import` | a configuration of this host as a tenant of it |
//! | `commands` | the lxc-* commands: `tenantctl` called by their names |

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

pub mod commands;
pub mod conf;
pub mod import;

pub use commands::{LxcLinks, called};
