//! What is said of copies of tenants: clones, exports, snapshots, files.

use serde::{Deserialize, Serialize};

use crate::Changed;

/// A tenant that is to be made of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CloneRequest {
    /// The name of the new one.
    pub name: String,
    /// `key=value` pairs that are different in its file.
    #[serde(default)]
    pub set: Vec<String>,
    /// Keys that its file does not have.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Copy while the tenant is running, each file at a moment of its own, and do not freeze it meanwhile.
    #[serde(default)]
    pub live: bool,
}

/// A snapshot that is to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Its name; the moment, as `20260102-030405`, if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub comment: Option<String>,
    /// Copy while the tenant is running, each file at a moment of its own, and do not freeze it meanwhile.
    #[serde(default)]
    pub live: bool,
}

/// A snapshot of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was taken, RFC 3339 in UTC.
    pub taken: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The version of its image that the tenant had, `IMAGE@VERSION`.
    pub base: String,
    /// Whether that is the version it has now.
    pub is_present_base: bool,
    /// Files, directories and links in it.
    pub entries: u64,
    /// Bytes of its files, holes not counted; those that share their blocks with others count as well.
    pub bytes: u64,
    /// Whether the tenant was running and was not frozen meanwhile.
    pub live: bool,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a tenant's directories are to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The snapshot.
    pub snapshot: String,
    /// Put its files over the version of the image that the tenant has now, and not over the one they were taken from.
    #[serde(default)]
    pub keep_base: bool,
}

/// Directories of a tenant's own that are to be as its image has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// Their paths in the tenant, as `/var`; all of them if empty.
    #[serde(default)]
    pub dirs: Vec<String>,
}

/// What became of a request that copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Copied {
    /// The tenant, or its snapshot.
    pub name: String,
    /// What it changed.
    pub result: Changed,
    /// Files, directories and links that were copied.
    pub entries: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Sockets and devices that stay behind, and files that were gone when they were to be read.
    #[serde(default)]
    pub left_out: u64,
    /// What is worth knowing of the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// From the request to the answer, microseconds.
    pub took_us: u64,
}

/// The first member of an exported tenant, [`ExportHead::NAME`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExportHead {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// The release that wrote it.
    pub release: String,
    /// The tenant's name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// When it was made, RFC 3339 in UTC.
    pub created: String,
    /// When it was exported, RFC 3339 in UTC.
    pub exported: String,
    /// Its image.
    pub image: String,
    /// The version of that, `sha256:HEX`.
    pub digest: String,
    /// Whether it was running and was not frozen meanwhile.
    #[serde(default)]
    pub live: bool,
}

impl ExportHead {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;
    /// Name of the member.
    pub const NAME: &str = "tenantry-export.json";
    /// Name of the member with the tenant's file.
    pub const CONFIG: &str = "tenant.toml";
    /// Name of the member with the tenant's directories.
    pub const DIRS: &str = "dirs";
    /// Name of the last member; an archive without it is not whole.
    pub const END: &str = "tenantry-end.json";
}

/// The last member of an exported tenant, [`ExportHead::END`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportEnd {
    /// Entries of its directories.
    pub entries: u64,
    /// Bytes of its files, holes not counted.
    pub bytes: u64,
}
