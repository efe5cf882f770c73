//! What a list says of each tenant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{stale::StaleCount, state::TenantState};

/// One tenant in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: TenantState,
    /// The IPv4 address it is reached by; empty without one.
    pub ipv4: String,
    /// The IPv6 address it is reached by; empty without one.
    pub ipv6: String,
    /// The addresses it is reached by: one of each family that it has.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The image it boots.
    pub image: String,
    /// First 12 hex digits of the version's digest.
    pub version: String,
    /// Its kind; absent when its configuration is invalid, as are the profile, the group, the labels and the limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The tenants of this group reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it may use at most.
    #[serde(default)]
    pub limits: StatLimits,
    /// Whether something of its file takes effect at its next start only, while it is up.
    #[serde(default)]
    pub pending: bool,
    /// When the present boot began, milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// From the beginning of that boot until init was ready, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_us: Option<u64>,
    /// From the beginning of that boot until init was executed, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_us: Option<u64>,
    /// Since when it is parked, milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_ms: Option<u64>,
    /// How it is parked: `frozen` or `stopped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_way: Option<String>,
    /// What woke it last in this boot, if it has been parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken: Option<Woken>,
    /// Memory it uses, page cache included, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What the last look at its processes found since it was started, by `tenantctl stale`; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<StaleCount>,
    /// What its unit is doing, while systemd starts or stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_status: Option<String>,
    /// What is wrong with the record of a broken tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

impl Summary {
    /// Whether it boots a version that begins with these digits; with every version where there are none.
    pub fn has_version(&self, digits: &str) -> bool {
        digits.starts_with(&self.version) || self.version.starts_with(digits)
    }
}

/// A parked tenant that was needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Woken {
    /// When it woke, milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// What woke it: `packet`, `exec`, `attach`, `timer` or `admin`.
    pub why: String,
}

/// A key whose value takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiting {
    /// The key as a file writes it, or `version` of the image.
    pub key: String,
    /// What the tenant is running with, as a file writes it; absent where neither its file nor its profile said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// What its next start takes; absent where neither says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The limits that a list and `stat` show; what is absent is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatLimits {
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max_bytes: Option<u64>,
    /// Percent of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota_percent: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u32>,
    /// Share of block I/O.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
}
