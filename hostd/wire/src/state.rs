//! What a tenant is doing.

use serde::{Deserialize, Serialize};

/// The state of a tenant as it is told to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TenantState {
    /// Its record is damaged.
    Broken,
    /// Its record is not whole.
    Destroying,
    /// It does not run.
    Stopped,
    /// Its last start failed.
    Failed,
    /// It waits for its turn to boot.
    Queued,
    /// Its namespaces and mounts are being made.
    Starting,
    /// Its init runs and is not ready.
    Booting,
    /// Its init is ready.
    Running,
    /// It is idle, and stands still until it is needed.
    Parked,
    /// Its processes are frozen.
    Frozen,
    /// Its init was asked to power off.
    Stopping,
}

impl TenantState {
    /// All of them, in the order of a tenant's life.
    pub const ALL: [Self; 11] = [
        Self::Broken,
        Self::Destroying,
        Self::Stopped,
        Self::Failed,
        Self::Queued,
        Self::Starting,
        Self::Booting,
        Self::Running,
        Self::Parked,
        Self::Frozen,
        Self::Stopping,
    ];

    /// Whether it has a supervisor.
    pub fn is_up(self) -> bool {
        !matches!(self, Self::Broken | Self::Destroying | Self::Stopped | Self::Failed)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Destroying => "destroying",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Frozen => "frozen",
            Self::Stopping => "stopping",
        }
    }
}

/// What a tenant is waited for to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Ready.
    #[default]
    Running,
    /// Down, however that came.
    Stopped,
}

/// The state that ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waited {
    /// What the tenant does.
    pub state: TenantState,
    /// The code that its init, or its one program, ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}
