//! Rollouts: many tenants get another version, in waves.

use serde::{Deserialize, Serialize};

use crate::rebase::RebaseMode;

/// A rollout that is asked for; the same keys make a policy file. What is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RolloutRequest {
    /// The image whose tenants are moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The version: `:CHANNEL`, or leading hex digits of a digest; `:candidate` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The channel whose followers are moved, and which points at the version in the end; `stable` if absent. Where
    /// tenants are selected, no channel is moved unless one is named here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Only these tenants: names, or patterns of names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Only tenants with these labels, `KEY` or `KEY=VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<String>,
    /// How many tenants have the version after each wave: `5`, `10%`, or `label:KEY=VALUE`, the last one `100%`; if
    /// absent `1`, `10%`, `50%`, `100%`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<String>,
    /// How a tenant gets the version; `live` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RebaseMode>,
    /// What must hold after each wave: `systemd`, `exec:COMMAND`, `tcp:PORT`, `http:PORT/PATH`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gate: Vec<String>,
    /// How long a gate may take until it counts as failed: `500ms`, `30s`, `5m`; 30s if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_timeout: Option<String>,
    /// How long each wave is watched before the next one begins; not at all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<String>,
    /// How many tenants must fail until the rollout stops and its wave is undone; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// How many tenants are moved at the same time; 32 if absent, 4 where they are restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u32>,
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RolloutState {
    /// It is about to move the tenants of its wave.
    Preparing,
    /// It moves them.
    Moving,
    /// It asks the gates.
    Gating,
    /// It watches the tenants of its wave.
    Baking,
    /// It is paused.
    Paused,
    /// It puts its wave back.
    Undoing,
    /// All tenants have the version.
    Finished,
    /// A gate failed: its wave was put back.
    Failed,
    /// It was aborted; tenants that had been moved have the version.
    Aborted,
}

impl RolloutState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Moving => "moving",
            Self::Gating => "gating",
            Self::Baking => "baking",
            Self::Paused => "paused",
            Self::Undoing => "undoing",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Aborted)
    }
}

/// What became of a tenant in a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// It has not been moved.
    Waiting,
    /// It has the version.
    Moved,
    /// It has the version, and its gates held.
    Passed,
    /// It could not be moved, or a gate failed.
    Failed,
    /// It has its previous version again.
    Undone,
    /// It could not be put back.
    Stuck,
    /// It was destroyed, or was given another version meanwhile.
    Gone,
}

impl MemberState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Moved => "moved",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
            Self::Gone => "gone",
        }
    }
}

/// A tenant in a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutMember {
    /// Its name.
    pub name: String,
    /// Its wave, from 1.
    pub wave: usize,
    /// What became of it.
    pub state: MemberState,
    /// The version it had, 12 hex digits.
    pub from: String,
    /// The version it gets, 12 hex digits.
    pub to: String,
    /// What is to be known of it: why it failed, or why its gates were not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A wave of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutWave {
    /// As the policy says it.
    pub size: String,
    /// Its tenants.
    pub tenants: usize,
    /// How many of them have the version.
    pub moved: usize,
    /// How many of those have passed their gates.
    #[serde(default)]
    pub passed: usize,
    /// How many of them have failed.
    pub failed: usize,
    /// When it was done, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Its number.
    pub id: u64,
    /// The image; empty where the record is damaged.
    pub image: String,
    /// The version, 12 hex digits; for one that goes back the word `previous`.
    pub to: String,
    /// Where it is; absent where the record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RolloutState>,
    /// The rollout that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_of: Option<u64>,
    /// The channel that points at the version in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// When it was started, RFC 3339 in UTC.
    pub created: String,
    /// When it ended, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The number of its present wave, from 1.
    pub wave: usize,
    /// Its waves.
    pub waves: Vec<RolloutWave>,
    /// What it was asked for.
    pub policy: RolloutRequest,
    /// How much of the bake of this wave is left, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_left_ms: Option<u64>,
    /// Why it failed, or what is wrong with its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its tenants; absent in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<RolloutMember>,
}
