//! A tenant that is to be started.

use std::{sync::Arc, time::Duration};

use tenant::{Plan, TenantName};

use super::{PlanLater, limits::Enforce};

/// What a unit manager is told of a tenant that is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The tenant.
    pub name: TenantName,
    /// What the supervisor will do, and the limits.
    pub plan: Arc<Plan>,
    /// By what its leftovers are swept.
    pub later: PlanLater,
    /// Handling of limits that this host cannot enforce.
    pub enforce: Enforce,
    /// How long init has until it is ready.
    pub timeout: Duration,
}
