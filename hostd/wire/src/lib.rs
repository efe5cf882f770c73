//! What goes over hostd's socket, and what hostd and its clients must both know.
//!
//! | file | what |
//! |---|---|
//! | `types` | requests and answers, one pair for each verb |
//! | `rebase` | a tenant that gets another version |
//! | `drift` | files of a tenant that hide files of its image |
//! | `copies` | clones, exports, snapshots |
//! | `summary` | a row of a list |
//! | `event` | what happens to tenants |
//! | `rollout` | many tenants that get another version |
//! | `state`, `usage`, `unit`, `explain`, `doctor` | what answers are made of |
//! | `stale` | what runs code of an earlier version |
//! | `failure` | the one error that a client sees, its code and its exit code |
//! | `pattern`, `label` | what a filter may be made of |
//! | `programs` | where the other programs of Tenantry are |
//! | `feature` | what the kernel must have, as one table |

mod copies;
pub mod doctor;
mod drift;
mod event;
mod explain;
mod failure;
pub mod feature;
mod label;
mod pattern;
pub mod programs;
mod rebase;
mod rollout;
mod stale;
mod state;
mod summary;
mod types;
mod unit;
mod usage;

use std::path::PathBuf;

use tenant::Layout;

pub use copies::{
    CloneRequest, Copied, ExportEnd, ExportHead, ResetRequest, RestoreRequest, SnapshotInfo, SnapshotRequest,
};
pub use drift::{
    Drift, DriftFile, DriftFix, DriftKind, DriftMerge, DriftMergeRequest, DriftMerged, DriftNode, DriftSide,
    DriftSource, DriftView, FileChange,
};
pub use event::{Event, EventKind};
pub use explain::{Explained, Source};
pub use failure::{Code, Failure, chain, one_line, tenant_name};
pub use label::LabelRule;
pub use pattern::{MOST_PARAMETERS, Pattern, image_and_digits};
pub use rebase::{
    Applied, FileDifference, PackageDifference, RebaseMode, RebasePlan, RebaseRequest, Rebased, Verdict,
};
pub use rollout::{MemberState, Rollout, RolloutMember, RolloutRequest, RolloutState, RolloutWave};
pub use stale::{
    NotLooked, Stale, StaleCount, StaleFile, StaleKind, StaleList, StaleProcess, StaleRemedy, StaleRole,
    StaleUnit,
};
pub use state::{Goal, TenantState, Waited};
pub use summary::{StatLimits, Summary, Waiting, Woken};
pub use types::*;
pub use unit::{EffectiveLimit, UnitCgroups, UnitReport};
pub use usage::{DiskUsage, HostMemory, MemoryUse, Traffic, Usage};

/// The layout below the root that was asked for, else below the one that [`Layout::ENV`] names, else that of the
/// machine. Not by clap, which would repeat the variable's value in every usage line.
pub fn layout(root: Option<PathBuf>) -> Layout {
    let named = std::env::var_os(Layout::ENV).filter(|root| !root.is_empty()).map(PathBuf::from);
    let root = root.or(named).unwrap_or_else(|| PathBuf::from("/"));
    Layout::new(std::path::absolute(&root).unwrap_or(root))
}
