//! Tenants as a rollout sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenant::model::{ids::Digest, image::ChannelName};
use wire::TenantState;

/// By what it is told whether a tenant has rebooted or had processes killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Process id of its supervisor: boots are counted by each on its own.
    pub supervisor: i32,
    /// Its boots.
    pub boots: u32,
    /// Processes that were killed because its memory was used up, in this boot.
    pub oom_kills: u64,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name now.
    pub name: String,
    /// The version it boots next.
    pub pinned: Digest,
    /// The version it is running with; none where it is not up.
    pub running: Option<Digest>,
    /// What it does.
    pub state: TenantState,
    /// Why it has failed, where it has and that is known.
    pub why: Option<String>,
    /// The channel it follows.
    pub follow: Option<ChannelName>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What has happened to it.
    pub marks: Option<Marks>,
}

impl Seen {
    /// Whether it has this version, as far as this mode takes it there.
    pub fn has(&self, digest: Digest, mode: wire::RebaseMode) -> bool {
        let is_inside = self.running.is_none_or(|running| running == digest);
        self.pinned == digest && (mode == wire::RebaseMode::NextStart || is_inside)
    }

    /// Whether its gates can be asked.
    pub fn answers(&self) -> bool {
        self.state == TenantState::Running
    }

    /// Whether it is on its way up.
    pub fn is_coming(&self) -> bool {
        matches!(self.state, TenantState::Queued | TenantState::Starting | TenantState::Booting)
    }
}

/// All tenants of an image, by what they are known by.
pub type Tenants = BTreeMap<String, Seen>;
