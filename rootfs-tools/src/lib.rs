//! Root filesystems for tenants: how they are built, checked, stored and named.
//!
//! ```text
//! debian::build ┐                                             ┌─ versions/sha256-…/{tree,files.mtree,manifest.toml}
//! busybox::build├─▶ a tree in the staging directory ─▶ publish┤
//! import::import┘      tuning::apply, lint::fix               └─ channels/stable
//! ```
//!
//! A published version never changes: its name is the digest of its content ([`digest`]). What moves is
//! a channel ([`store`]). A partial version is never visible: it appears by one rename(2).

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

pub mod busybox;
pub mod debian;
pub mod diff;
pub mod digest;
pub mod erofs;
pub mod explain;
pub mod first_boot;
pub mod given;
pub mod import;
pub mod inspect;
pub mod installed;
pub mod inventory;
pub mod lint;
pub mod packages;
pub mod progress;
pub mod publish;
pub mod recipe;
pub mod registry;
pub mod rootdir;
pub mod sets;
pub mod share;
pub mod sources;
pub mod staging;
pub mod store;
pub mod tool;
pub mod tree;
pub mod tuning;
pub mod verity;

pub use diff::{Changes, Content, changes};
pub use explain::{Explain, Outcome};
pub use store::Store;
