//! The program that runs between a tenant's clone and the exec of its init.

pub(crate) mod assemble;
pub mod confine;
pub(crate) mod reaper;
