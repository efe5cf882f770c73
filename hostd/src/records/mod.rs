//! Configuration and allocations on disk. hostd is the only writer; a lock sees to it.
//!
//! A tenant exists when `tenants/NAME/allocation.toml` does. [`create`] and [`destroy`] are lists of
//! steps; a crash between any two is finished or undone by [`recover`] when hostd starts again.
//!
//! Everything here blocks on the disk. What two tenants could both want is decided under one lock, which is held over
//! nothing but that decision: what will be a tenant's is reserved, and the disk is written without the lock. A process that
//! calls sees to it that one change of a tenant goes on at a time.

pub(crate) mod broken;
mod compared;
mod configure;
pub mod copies;
pub mod create;
pub mod destroy;
pub mod differences;
mod drift;
mod drift_merge;
mod drift_view;
pub mod edit;
mod error;
mod file;
pub(crate) mod guard;
pub mod images;
mod inventories;
mod lifecycle;
pub mod lock;
mod mend;
pub mod pending;
mod rebase;
pub mod recover;
pub mod rename;
pub(crate) mod resolver;
mod rest;
pub(crate) mod stamp;
mod store;
#[cfg(test)]
pub(crate) mod tests;
pub mod traces;
pub(crate) mod unchanged;
mod upper;

pub(crate) use self::stamp::{date_ms, now};
pub use self::{
    broken::Broken,
    configure::Adopted,
    drift_merge::{Merge, Placement, Placing},
    error::StoreError,
    rebase::Repinned,
    store::{AllBroken, AllClaims, Change, NewTenant, Records, Store, make_runtime_dir},
};
