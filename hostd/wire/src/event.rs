//! What happens to tenants, as it is told while it happens.

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// hostd started: what happened before that is not told. Of no tenant.
    HostdStarted,
    /// Events were forgotten before this reader took them, `count` of them. Of no tenant.
    Lost,
    /// The tenant was made.
    Created,
    /// Its init was executed.
    Started,
    /// Its init is ready.
    Ready,
    /// It rebooted from inside; `count` is the number of boots since it was started.
    Reboot,
    /// Its init was asked to power off.
    Stopping,
    /// It is down; `reason` says how its init ended.
    Stopped,
    /// Its start, or the one program of an application, failed for this `reason`.
    Failed,
    /// Everything in it was killed: it did not end when it was asked to, or a client asked for that.
    Killed,
    /// The kernel killed processes of it because its memory was used up: `count` in this boot.
    OomKill,
    /// Its processes are frozen.
    Frozen,
    /// Its processes go on.
    Thawed,
    /// It is idle and was parked.
    Parked,
    /// It was parked and is running again; `reason` says what woke it: `packet`, `exec`, `attach`, `timer` or `admin`.
    Woken,
    /// Keys of its file have other values: `keys`.
    Set,
    /// It has another version: `from`, `to`. `reason` says whether it has it now (`live`, `restarted`) or from its next
    /// start on (`next-start`, `stopped`).
    ImageChanged,
    /// It has another name: `from`, `to`. It is told of both names.
    Renamed,
    /// It is gone, and its name is free.
    Destroyed,
    /// A rollout began: `rollout`, `to`; `count` tenants. Of no tenant, as those that follow, but for `gate-failed`.
    RolloutStarted,
    /// The wave of the number `count` is done.
    WaveDone,
    /// The tenant could not be moved, or a gate failed there, for this `reason`.
    GateFailed,
    /// All tenants of a rollout have its version.
    RolloutFinished,
    /// A wave was put back for this `reason`, and the rollout has stopped.
    RolloutUndone,
    /// A rollout was aborted.
    RolloutAborted,
}

impl EventKind {
    /// Whether it is told to all who read events, whichever tenants they have asked for.
    pub fn is_of_host(self) -> bool {
        matches!(
            self,
            Self::HostdStarted
                | Self::Lost
                | Self::RolloutStarted
                | Self::WaveDone
                | Self::RolloutFinished
                | Self::RolloutUndone
                | Self::RolloutAborted
        )
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its number: each event has a greater one than those before it, also where hostd was started in between.
    pub seq: u64,
    /// When hostd learned of it, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// The same, RFC 3339 in UTC.
    pub time: String,
    /// What happened.
    pub event: EventKind,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Why, or how; at most 512 bytes, without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The keys that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The number of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
}
