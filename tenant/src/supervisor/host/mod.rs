//! The supervisor and its host.
//!
//! | file | what it handles |
//! |---|---|
//! | `notify` | sd_notify(3) from init and to the unit manager |
//! | `turn`, `queue` | waiting for the turn to boot; which tenant boots first, of many |
//! | `registration`, `machine` | the tenant as a machine of systemd-machined(8), and the calls for it |
//! | `oom`, `memory` | processes killed because the tenant's memory was used up, and their number |
//! | `prepare` | asking hostd to carry an edited file first |
//! | `sweep` | what a killed supervisor left |
//! | `report` | what the host's journal is told |

pub(super) mod machine;
pub(super) mod memory;
pub(super) mod notify;
mod oom;
mod prepare;
pub(super) mod queue;
mod registration;
pub(super) mod report;
pub mod sweep;
mod turn;
