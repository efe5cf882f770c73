//! The client's side of hostd's socket, and what every program that people run does alike.

mod connection;
pub mod output;
pub mod programs;

pub use connection::{Client, Download, Lines, segment, tenant};
