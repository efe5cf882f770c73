//! `tenant run NAME`: the small, synchronous process that keeps one tenant alive.
//!
//! One thread, one poll(2). The supervisor starts the tenant, holds the masters of its terminals, hears
//! its init, answers on two sockets, and takes everything down at the end. It keeps nothing that
//! another process would need to know but `state.json`.
//!
//! | room | what it handles |
//! |---|---|
//! | [`mod@run`] | its life: boot, the loop, requests, how it ends |
//! | [`terminals`] | terminals, who looks at them, what they printed, logins |
//! | `park` | what it is to be idle, and what is due in a tenant that is parked |
//! | [`host`] | the unit manager, machined, hostd, the journal, whose turn it is to boot, killed processes |
//!
//! What others speak with it is in [`crate::protocol`].

mod error;
pub mod host;
mod lock;
mod park;
mod process;
mod resources;
pub mod run;
pub mod terminals;

pub use error::{Failed, RunError};
pub use process::RunOptions;
pub use run::life::run;
