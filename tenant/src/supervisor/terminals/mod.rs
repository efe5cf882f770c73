//! The terminals of a running tenant.
//!
//! | file | what it handles |
//! |---|---|
//! | `console` | all of them |
//! | `tty` | one, seen from its master |
//! | `viewer` | a connection to `console.sock` |
//! | `getty` | logins on demand |
//! | `log` | what was printed, on disk |
//! | `lines` | its lines, from a position on |
//! | `forward` | console lines on their way to the host's journal |
//! | `rate` | what a tenant may make its supervisor do per second |

pub(super) mod console;
pub(super) mod forward;
pub(super) mod getty;
pub mod lines;
pub mod log;
pub(super) mod rate;
pub(super) mod tty;
pub(super) mod viewer;
