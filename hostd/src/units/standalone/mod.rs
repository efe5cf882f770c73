//! The unit manager of a host whose PID 1 is not systemd: hostd starts the supervisors itself.
//!
//! They are in sessions of their own and outlive hostd. A hostd that starts finds them by `state.json`,
//! makes sure of each by its pidfd and start time, and watches it like one of its own. When one ends,
//! however it does, what it may have left is swept away.

mod manager;
mod unit;

pub use self::manager::Standalone;
