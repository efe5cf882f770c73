//! Files of a tenant's own that hide files of its image, and what becomes of them.

use serde::{Deserialize, Serialize};

use crate::types::Changed;

/// The files of a tenant that hide files of its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Drift {
    /// The tenant.
    pub name: String,
    /// The version that it has, or has from its next start on, `debian@0123456789ab`.
    pub version: String,
    /// Those that hide a fix first, then by path.
    pub files: Vec<DriftFile>,
    /// What was not looked at, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A file of a tenant that hides one of its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftFile {
    /// Its path.
    pub path: String,
    /// How it differs.
    pub kind: DriftKind,
    /// Whether it hides a fix.
    pub fix: DriftFix,
    /// How the image's file has changed since the version that the tenant's own comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<FileChange>,
    /// Of a changed file, in what: `type`, `content`, `target`, `mode`, `owner`, `attributes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<String>,
    /// The version that the tenant's own comes from, `debian@0123456789ab`.
    pub from: String,
    /// How that is known.
    pub known_by: DriftSource,
    /// Of a directory that is hidden whole: how many files of the image are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hides: Option<u64>,
}

/// How a file differs between two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum FileChange {
    /// Only the new version has it.
    Added,
    /// Only the old version has it.
    Removed,
    /// Both have it.
    Changed,
}

/// How a file of a tenant's own differs from the one that it hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriftKind {
    /// By its content, by where it leads, or by what it is.
    Changed,
    /// By owner, mode or extended attributes alone.
    Metadata,
    /// Not at all: it is a copy.
    Same,
    /// It is a copy of the file as the version has it that it comes from.
    Outdated,
    /// The tenant has removed it.
    Removed,
    /// It is a directory of the tenant's own in place of one of the image: the tenant has removed it and made another.
    Replaced,
}

impl std::fmt::Display for DriftKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Metadata => "metadata",
            Self::Same => "same",
            Self::Outdated => "outdated",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        })
    }
}

/// Whether a file of a tenant's own hides a fix: the image's file has changed since the version that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriftFix {
    /// It does.
    Shadowed,
    /// The version that it comes from is not in the store any more.
    Unknown,
    /// It does not.
    None,
}

/// How it is known from which version a file of a tenant's own comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriftSource {
    /// A merge has said so.
    Merge,
    /// It was there when the tenant got another version, and was noted.
    Rebase,
    /// The kernel has noted of which file it is a copy.
    Copy,
    /// By the time at which it was made.
    Time,
}

/// Three views of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftView {
    /// The tenant.
    pub name: String,
    /// What is said of it in a list.
    pub file: DriftFile,
    /// The image's file as the version has it that the tenant's own comes from; absent where that version is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DriftSide>,
    /// The image's file as it is now.
    pub now: DriftSide,
    /// The tenant's own.
    pub own: DriftSide,
}

/// One view of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftSide {
    /// Of a version: which, `debian@0123456789ab`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is there.
    pub what: DriftNode,
    /// Permission bits, of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Owner and group inside, of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<[u32; 2]>,
    /// Whether it has extended attributes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_attributes: bool,
    /// Of a file: its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a file: SHA-256 of its content, in hex; absent where it is too large to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a link: where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of a text file that is not too long: its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Of a file without `text`: why it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_text: Option<String>,
}

impl DriftSide {
    /// Longest text that is shown, bytes.
    pub const MAX_TEXT: u64 = 256 << 10;

    /// Something without content.
    pub fn of(what: DriftNode) -> Self {
        Self {
            version: None,
            what,
            mode: None,
            owner: None,
            has_attributes: false,
            size: None,
            sha256: None,
            target: None,
            text: None,
            no_text: None,
        }
    }
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriftNode {
    /// Nothing.
    Nothing,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
    /// Something else: a FIFO, a socket, a device.
    Other,
}

/// What is to become of a file of a tenant's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DriftMergeRequest {
    /// Its path.
    pub path: String,
    /// What.
    pub how: DriftMerge,
    /// SHA-256 of the tenant's own content that the request was made for, in hex: where it has another by now, nothing is
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_sha256: Option<String>,
    /// The version that the request was made for, `debian@0123456789ab`: where the tenant has another by now, nothing is
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is to become of a file of a tenant's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriftMerge {
    /// It stays, and hides no fix any more until the image's file changes again.
    Mine,
    /// It goes, and the image's file is seen as it is now.
    Theirs,
    /// It gets the content of the image's file as it is now, and keeps its owner, mode and extended attributes.
    Content,
    /// It gets this text, and keeps its owner, mode and extended attributes.
    Text(String),
}

/// What became of a merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftMerged {
    /// The tenant.
    pub name: String,
    /// The path.
    pub path: String,
    /// What it changed.
    #[serde(rename = "result")]
    pub change: Changed,
    /// The version whose file is taken into account from now on.
    pub version: String,
    /// Where the file that was replaced is kept, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}
