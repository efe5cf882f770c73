//! What the native tests and the bench share: a host of its own, tenants on it, and patience.
//!
//! Everything goes through the command line (`tenantctl --json …`), so that what is tested is what
//! people use.

pub mod busy;
pub mod command;
pub mod debian;
pub mod disk;
pub mod forgery;
pub mod frame;
pub mod guard;
pub mod handed;
pub mod host;
pub mod howto;
pub mod leaks;
pub mod machine;
pub mod namespace;
pub mod pages;
pub mod poll;
pub mod power_cut;
pub mod running;
pub mod tally;
pub mod tenant;
pub mod terminal;
pub mod throughput;
mod unprotected;
pub mod versions;
pub mod wire;

pub use command::{Output, Run};
pub use host::Host;
pub use namespace::{Elsewhere, Namespace};
pub use running::Running;
pub use tenant::Tenant;
pub use terminal::Terminal;
