//! What a check works with.

use std::sync::Arc;

use tokio::runtime::Handle;
use wire::doctor::{Capacity, Finding};

use crate::host::Host;

/// What a check works with.
pub(super) struct Examination<'a> {
    pub(super) host: &'a Arc<Host>,
    pub(super) repair: bool,
    pub(super) runtime: Handle,
    pub(super) capacity: &'a Capacity,
}

pub(super) type Check = fn(&Examination<'_>) -> Vec<Finding>;
