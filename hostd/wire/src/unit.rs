//! A tenant's unit: its cgroups, and what systemd says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The directories of one unit; kept in `unit.json`, because a later hostd may be started elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitCgroups {
    /// The v2 directory.
    pub v2: PathBuf,
    /// Whether the limits are in the v2 directory.
    pub v2_controllers: BTreeSet<String>,
    /// The directory of each v1 controller.
    pub v1: BTreeMap<String, PathBuf>,
}

impl UnitCgroups {
    /// The v1 directories, each once: two controllers may share a hierarchy.
    pub fn v1_dirs(&self) -> BTreeSet<&Path> {
        self.v1.values().map(PathBuf::as_path).collect()
    }

    /// Where the supervisor is.
    pub fn supervisor(&self) -> PathBuf {
        self.v2.join("supervisor")
    }

    /// Where the tenant's own processes are.
    pub fn payload(&self) -> PathBuf {
        self.v2.join("payload")
    }

    /// The file that freezes the tenant's processes, see cgroups(7).
    pub fn freeze_file(&self) -> PathBuf {
        self.payload().join("cgroup.freeze")
    }
}

/// What systemd says of a tenant's unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitReport {
    /// Its name.
    pub name: String,
    /// `active`, `activating`, `deactivating`, `inactive`, `failed`, …, see systemctl(1).
    pub active: String,
    /// `running`, `dead`, `auto-restart`, ….
    pub sub: String,
    /// How its service ended last: `success`, `exit-code`, `timeout`, `oom-kill`, ….
    pub result: String,
    /// The status line of its supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How often systemd has restarted it since it was last started on request.
    pub restarts: u32,
    /// Whether it starts with the host: `enabled` or `disabled`.
    pub enabled: String,
    /// Number of its processes that the OOM killer has killed since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// A limit as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EffectiveLimit {
    /// The key of the tenant's file that stands for it.
    pub key: String,
    /// Its value as a tenant's file writes it; `none` for no limit.
    pub value: String,
    /// Where the value does not come from the tenant's file: who set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the file says, where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}
