//! The client's side of hostd's socket, and what every program that people run does alike.

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

mod connection;
pub mod output;
pub mod programs;

pub use connection::{Client, Download, Lines, segment, tenant};
