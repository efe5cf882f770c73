//! A plan that is made when it is needed: at the end of a tenant whose supervisor did not take it down.

use std::{fmt, sync::Arc};

use tenant::Plan;

type Make = dyn Fn() -> Option<Plan> + Send + Sync;

/// How to get what a tenant was started with. A plan takes some 10 KB, and few supervisors leave something to sweep:
/// with a thousand tenants none is kept.
#[derive(Clone)]
pub struct PlanLater(Arc<Make>);

impl PlanLater {
    /// Asks `make` when it is needed.
    pub fn new(make: impl Fn() -> Option<Plan> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// Of a tenant that has no record.
    pub fn none() -> Self {
        Self::new(|| None)
    }

    /// The plan, if there is such a thing. Reads files.
    pub(super) fn make(&self) -> Option<Plan> {
        (self.0)()
    }
}

impl fmt::Debug for PlanLater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanLater")
    }
}
