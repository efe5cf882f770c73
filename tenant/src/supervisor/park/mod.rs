//! Tenants that are parked while they are idle: what idle is, and when one has to run for a moment.
//!
//! A tenant is looked at four times in the time after which it counts as idle, by what is cheap first. One that is
//! parked is frozen, its memory is given back, and a trap waits for packets ([`crate::kernel::packets`]). What its
//! processes wait for with a time limit is known to the kernel: when the first of that is due, it runs for a blink.
//!
//! | file | what it handles |
//! |---|---|
//! | `idle` | what is idle, pure |
//! | `look` | processes, connections, counters |
//! | `timers`, `waits` | what is due next: looking, and how a system call waits, pure |
//! | `reclaim` | giving memory back |
//! | `parked` | what is kept of a tenant that is parked |
//! | `away` | what is kept of one that is stopped, and until it is back |
//! | `packet` | packets for one that is stopped, pure |
//!
//! When all that is asked: [`super::run`].

pub(super) mod away;
pub(super) mod idle;
pub(super) mod look;
pub(super) mod packet;
pub(super) mod parked;
pub(super) mod reclaim;
pub(super) mod timers;
mod waits;
