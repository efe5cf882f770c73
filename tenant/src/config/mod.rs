//! The configuration of a tenant, in three types: a [`Fragment`] is what one file says, two of them
//! are merged, and a [`Tenant`] is what came out valid. After that no code checks again.

mod dirs;
mod error;
mod keys;
mod network;
mod nic;
mod nic_fragment;
mod parse;
mod policy;
mod process;
pub mod profile;
mod schema;
mod shown;
mod signal;
mod slot;
mod sysctl;
mod tenant;
mod validate;
mod words;

pub use error::ConfigError;
pub use keys::{Fragment, KEYS, Key, defaults, key, waiting};
pub use nic::{Attachment, Nic};
pub use nic_fragment::NicFragment;
pub use parse::{ParseError, parse_toml, set};
pub use policy::Policy;
pub use schema::{Absent, Bounds, Effect, Live, Range, Section};
pub use signal::{InvalidSignal, Signal};
pub use sysctl::HOST_SYSCTLS;
pub use tenant::{Features, Tenant};
pub use words::{Kind, MacvlanMode, NicMode, Restart, RootMode};
