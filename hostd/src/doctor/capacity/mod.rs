//! Whether this host is large enough for N tenants: what they need against what there is, resource by
//! resource.
//!
//! [`table`] is pure: [`Demand`] says what N tenants take, after the files of those that exist, [`Limits`] what
//! this host has, read once. What one tenant takes is in [`figures`], with where each figure comes from; a
//! test measures it on running tenants.
//!
//! | file | what |
//! |---|---|
//! | `figures` | what one tenant takes |
//! | `demand` | what N tenants like those of this host take |
//! | `limits` | what this host has |
//! | `rows` | the table: one function for each kind of resource |

pub mod demand;
pub mod figures;
pub mod limits;
mod rows;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{demand::Demand, limits::Limits, rows::table};
use super::Health;

/// What an amount counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Pieces.
    #[default]
    Count,
    /// Bytes.
    Bytes,
}

/// Whether there is enough of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// There is.
    Enough,
    /// There is not.
    Short,
    /// This host does not tell.
    Unknown,
}

/// A key of sysctl(8) and the value that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// The key, with dots.
    pub key: String,
    /// The least value that will do, rounded up.
    pub value: u64,
}

/// One resource: what the tenants need of it and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// What it is.
    pub resource: String,
    /// What the amounts count.
    pub unit: Unit,
    /// What one tenant takes of it.
    pub each: u64,
    /// What is needed for all, together with what others use already; for a resource that every tenant has an
    /// amount of for itself, what one needs.
    pub need: u64,
    /// What there is; none where this host does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<u64>,
    /// Whether that is enough.
    pub verdict: Verdict,
    /// How bad it is.
    pub health: Health,
    /// What `--fix` sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysctl: Option<Setting>,
    /// What to do where it is short, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Row {
    /// By how much it is short; 0 where it is not, or nobody knows.
    pub fn short_by(&self) -> u64 {
        self.have.map_or(0, |have| self.need.saturating_sub(have))
    }
}

/// The capacity of this host for so many tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// For how many tenants in all, those that exist included.
    pub tenants: u32,
    /// Resource by resource.
    pub rows: Vec<Row>,
}

impl Capacity {
    /// What is short.
    pub fn short(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::Short)
    }

    /// What `--fix` can set.
    pub fn settings(&self) -> Vec<Setting> {
        self.short().filter_map(|row| row.sysctl.clone()).collect()
    }
}
