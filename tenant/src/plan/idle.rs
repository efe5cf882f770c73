//! A tenant that is to be parked when it is idle.

use std::time::Duration;

use serde::Serialize;

use crate::{config::Tenant, model::park::Idle};

/// When a tenant is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdlePlan {
    /// When it has done nothing for so long.
    pub after: Duration,
}

pub(super) fn plan(tenant: &Tenant) -> Option<IdlePlan> {
    match tenant.idle {
        Idle::Run => None,
        Idle::Park => Some(IdlePlan { after: tenant.idle_after }),
    }
}
