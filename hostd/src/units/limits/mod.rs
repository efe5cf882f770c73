//! Limits of tenants: what this host can enforce, and how. Which limits there are: [`table`].

mod apply;
mod enforce;
mod knobs;
pub mod table;
#[cfg(test)]
mod tests;

pub use apply::{Applied, apply};
pub use enforce::{Enforce, LimitError, Unenforceable};
pub use knobs::{Knob, knobs};
pub use schedulers::IoSchedulers;

mod schedulers;

pub(super) use enforce::{lack, lacking};
