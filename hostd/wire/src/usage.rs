//! What a tenant uses.

use serde::{Deserialize, Serialize};

/// What a running tenant uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Memory with the page cache it is charged for, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What that is made of, where the host accounts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryUse>,
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

/// What a tenant's memory is made of: what it is charged for, and what it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemoryUse {
    /// Memory of its own: `anonymous_bytes`, `shmem_bytes` and `kernel_bytes`.
    pub private_bytes: u64,
    /// Of its processes, without files.
    pub anonymous_bytes: u64,
    /// Files in memory (tmpfs), and shared memory.
    pub shmem_bytes: u64,
    /// What the kernel holds for it: stacks, page tables, slab, percpu.
    pub kernel_bytes: u64,
    /// Page cache that it is charged for, because it was the first to read or write it. Can be dropped.
    pub cache_bytes: u64,
    /// Pages of files that its init has mapped and that it is not charged for: those of its image. It would need at
    /// least so much more if it had a base of its own. Absent where it is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_bytes: Option<u64>,
}

/// Whose the memory of the host is: that of tenants and that of the host are all that is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostMemory {
    /// All of it.
    pub total_bytes: u64,
    /// What is not free: page cache is in it.
    pub used_bytes: u64,
    /// What the running tenants are charged for, private memory and page cache; absent where the host does not account
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants_bytes: Option<u64>,
    /// What is used and no tenant's: the host's processes, its kernel, its page cache, with that of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_bytes: Option<u64>,
    /// Page cache that no tenant is charged for: of images, and of the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_cache_bytes: Option<u64>,
    /// `shared_bytes` of all running tenants but one of each version of an image, the one that shares most: what is saved
    /// because they have one base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_bytes: Option<u64>,
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
