//! The supervisor and its host.
//!
//! | file | what it handles |
//! |---|---|
//! | `notify` | sd_notify(3) from init and to the unit manager |
//! | `queue` | which tenant boots first, of many |
//! | `machine` | systemd-machined(8) |
//! | `memory` | processes killed because the tenant's memory was used up |
//! | `prepare` | asking hostd to carry an edited file first |
//! | `sweep` | what a killed supervisor left |
//! | `report` | what the host's journal is told |

pub(super) mod machine;
pub(super) mod memory;
pub(super) mod notify;
pub(super) mod prepare;
pub(super) mod queue;
pub(super) mod report;
pub mod sweep;
