//! What a tenant uses.

use serde::{Deserialize, Serialize};

/// What a running tenant uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Memory with the page cache it is charged for, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPU time since it started, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Bytes read from block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
}

/// What a tenant has stored, and may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskUsage {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Most bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Most inodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_inodes: Option<u64>,
    /// Seconds since it was measured, where the filesystem does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_sec_ago: Option<u64>,
    /// Whether there is more than was looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_partial: bool,
}

/// What went over a tenant's ports since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Traffic {
    /// Packets it sent that were let through.
    pub sent_packets: u64,
    /// Their bytes, without Ethernet headers.
    pub sent_bytes: u64,
    /// Packets that were delivered to it.
    pub received_packets: u64,
    /// Their bytes, without Ethernet headers.
    pub received_bytes: u64,
    /// Packets it sent that were refused: forged, for a tenant of another group, too many connections.
    pub refused_packets: u64,
    /// Packets above its rate, in either direction.
    pub limited_packets: u64,
}
