//! Units: the supervisors of tenants, and who starts them.
//!
//! [`UnitManager`] is the seam. [`standalone`] starts supervisors itself, where systemd is not PID 1;
//! systemd will be another variant. What is above the seam asks for a name to be started or stopped and
//! for what runs; what is below decides how.

pub mod cgroups;
mod error;
mod gauge;
pub mod limits;
mod notify;
mod spawn;
pub mod standalone;
pub mod usage;

use std::{sync::Arc, time::Duration};

use tenant::{
    Layout, Plan, TenantName,
    limits::Limits,
    state::RunState,
    supervisor::{escape, log, wire::Tty},
};

use self::{cgroups::UnitCgroups, limits::IoSchedulers, standalone::Standalone, usage::Usage};
pub use error::UnitError;
pub use spawn::{image_program, program};

/// What a unit manager is told of a tenant that is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The tenant.
    pub name: TenantName,
    /// What the supervisor will do; its leftovers are swept by it.
    pub plan: Arc<Plan>,
    /// Its limits.
    pub limits: Limits,
    /// Whether limits that this host cannot enforce are passed over.
    pub allow_unenforced: bool,
    /// How long init has until it is ready.
    pub timeout: Duration,
}

/// Who starts and stops supervisors.
#[derive(Debug)]
pub enum UnitManager {
    /// This process.
    Standalone(Standalone),
}

impl UnitManager {
    /// The directories of a tenant's unit, whether it runs or not.
    pub fn cgroups(&self, name: &TenantName) -> UnitCgroups {
        match self {
            Self::Standalone(units) => units.cgroups(name),
        }
    }

    /// Starts a supervisor and waits until the tenant is ready.
    ///
    /// # Errors
    /// See [`UnitError`]; nothing is left of the tenant then.
    pub async fn start(&self, start: Start) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => units.start(start).await,
        }
    }

    /// Asks a tenant to power off, kills it after `timeout`, and waits until everything is gone.
    ///
    /// # Errors
    /// What is left could not be removed.
    pub async fn stop(&self, name: &TenantName, timeout: Duration) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => units.stop(name, timeout).await,
        }
    }

    /// Kills a tenant and waits until everything is gone.
    ///
    /// # Errors
    /// What is left could not be removed.
    pub async fn kill(&self, name: &TenantName) -> Result<(), UnitError> {
        match self {
            Self::Standalone(units) => units.kill(name).await,
        }
    }

    /// Tenants that have cgroups, whether they have a supervisor or not.
    pub fn existing(&self) -> Vec<TenantName> {
        match self {
            Self::Standalone(units) => units.existing(),
        }
    }

    /// Takes away what this manager made for itself and no unit is left in.
    pub fn close(&self) {
        match self {
            Self::Standalone(units) => units.close(),
        }
    }

    /// Whether a tenant has a supervisor.
    pub fn is_running(&self, name: &TenantName) -> bool {
        match self {
            Self::Standalone(units) => units.is_running(name),
        }
    }

    /// What the supervisor of a tenant says, none where it has none.
    pub fn state(&self, name: &TenantName) -> Option<Arc<RunState>> {
        match self {
            Self::Standalone(units) => units.state(name),
        }
    }

    /// Freezes or thaws a running tenant.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn freeze(&self, name: &TenantName, on: bool) -> Result<(), UnitError> {
        Ok(self.cgroups(name).freeze(on)?)
    }

    /// Applies limits to a running tenant.
    ///
    /// # Errors
    /// One cannot be enforced, or the kernel refuses a value.
    pub fn limit(&self, name: &TenantName, limits: &Limits, allow_unenforced: bool) -> Result<(), UnitError> {
        let cgroups = self.cgroups(name);
        let schedulers = IoSchedulers::of_host(&cgroups.v2);
        Ok(limits::apply(limits, &cgroups, schedulers, allow_unenforced)?)
    }

    /// Whether the processes of a running tenant are frozen.
    pub fn is_frozen(&self, name: &TenantName) -> bool {
        match self {
            Self::Standalone(units) => units.is_frozen(name),
        }
    }

    /// The memory a running tenant uses, bytes.
    pub fn memory(&self, name: &TenantName) -> Option<u64> {
        match self {
            Self::Standalone(units) => units.memory(name),
        }
    }

    /// What a running tenant uses.
    pub fn usage(&self, name: &TenantName) -> Usage {
        usage::usage(&self.cgroups(name))
    }
}

/// The last lines that a tenant's console printed, escaped, oldest first.
pub fn last_console_lines(layout: &Layout, name: &TenantName, count: usize) -> Vec<String> {
    let bytes = log::tail(&layout.log(name), Tty::CONSOLE, 16 << 10).unwrap_or_default();
    escape::plain_lines(&bytes, count)
}
