//! A tenant that gets another version of its image.

use serde::{Deserialize, Serialize};

use crate::{
    drift::{DriftFile, FileChange},
    types::Changed,
};

/// When a tenant has the version that it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RebaseMode {
    /// At once, beneath what is running in it; a tenant that is down has it from its next start on.
    #[default]
    Live,
    /// After a restart; a tenant that is down has it from its next start on.
    Restart,
    /// From its next start on.
    NextStart,
}

/// Which version a tenant gets, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RebaseRequest {
    /// `:CHANNEL` of the image that it has, `IMAGE:CHANNEL`, `IMAGE@DIGITS`, at least 6 leading hex digits of a
    /// version, or [`Self::PREVIOUS`]; what the `image` of its file means now if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When.
    pub mode: RebaseMode,
    /// Whether it may be a version of another image.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cross_image: bool,
}

impl RebaseRequest {
    /// The version that the tenant had before.
    pub const PREVIOUS: &str = "@previous";
}

/// How a version came to a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// Beneath what is running in it.
    Live,
    /// By a restart.
    Restarted,
    /// It is running with the one it had, until its next start.
    NextStart,
    /// It is down.
    Stopped,
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Restarted => "restarted",
            Self::NextStart => "next-start",
            Self::Stopped => "stopped",
        })
    }
}

/// What became of a rebase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rebased {
    /// The tenant.
    pub name: String,
    /// What it changed.
    #[serde(rename = "result")]
    pub change: Changed,
    /// The version that it had, `debian@0123456789ab`.
    pub from: String,
    /// The version that it has, or will have.
    pub to: String,
    /// How it came to that.
    pub applied: Applied,
    /// The directories that show the new version now, where it came live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swapped: Vec<String>,
    /// What has the new version only from the next start on, one directory or setting each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<String>,
    /// Why everything in the tenant was killed, where it was restarted and did not end when it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<String>,
    /// The work of the swap alone, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_us: Option<u64>,
    /// From the request to the answer, microseconds.
    pub took_us: u64,
}

/// What it takes to give a tenant another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has it already.
    Unchanged,
    /// All of it comes live.
    Live,
    /// It comes live, but for files that have the new version only from the next start on.
    LiveWithRest,
    /// A restart.
    Restart,
}

/// What a rebase would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebasePlan {
    /// The tenant.
    pub name: String,
    /// The version that it has.
    pub from: String,
    /// The version that it would have.
    pub to: String,
    /// What it takes.
    pub verdict: Verdict,
    /// Why it takes a restart, one reason each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The directories that would show the new version at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swapped: Vec<String>,
    /// The directories that would show it only from the next start on: the tenant's changes lie over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<String>,
    /// Debian packages that differ, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageDifference>,
    /// Files of the tenant that hide a fix of the version, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<DriftFile>,
    /// What was not looked at for `shadowed`, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Files of the directories in `rest` that differ between the versions, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileDifference>,
}

/// A Debian package of two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageDifference {
    /// The package.
    pub package: String,
    /// Its version in the one that the tenant has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its version in the one that it would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A file of two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileDifference {
    /// Its path.
    pub path: String,
    /// How it differs.
    pub change: FileChange,
    /// Whether the tenant has a file of its own there, or has removed it: it will not see the new one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}
