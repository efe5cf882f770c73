//! A kernel that keeps a table of what would exist and a record of what it was told, and fails at any step it is told to.

mod calls;
mod host;
mod mounts;
mod words;

pub use host::{Fake, FakeFd, Table};
