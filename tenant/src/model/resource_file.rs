//! Files of `/proc` and `/sys` that tell how large a machine is: a tenant sees its limits there.

/// Such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceFile {
    /// See proc_meminfo(5).
    Meminfo,
    /// See proc_swaps(5).
    Swaps,
    /// See proc_cpuinfo(5).
    Cpuinfo,
    /// See proc_stat(5).
    Stat,
    /// See proc_loadavg(5).
    Loadavg,
    /// The CPUs that are online, see `Documentation/ABI/testing/sysfs-devices-system-cpu` of Linux.
    Online,
}

impl ResourceFile {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Meminfo, Self::Swaps, Self::Cpuinfo, Self::Stat, Self::Loadavg, Self::Online];

    /// Its name in the directory of these files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meminfo => "meminfo",
            Self::Swaps => "swaps",
            Self::Cpuinfo => "cpuinfo",
            Self::Stat => "stat",
            Self::Loadavg => "loadavg",
            Self::Online => "cpu_online",
        }
    }

    /// The file of the kernel that it covers.
    pub const fn covers(self) -> &'static str {
        match self {
            Self::Meminfo => "/proc/meminfo",
            Self::Swaps => "/proc/swaps",
            Self::Cpuinfo => "/proc/cpuinfo",
            Self::Stat => "/proc/stat",
            Self::Loadavg => "/proc/loadavg",
            Self::Online => "/sys/devices/system/cpu/online",
        }
    }
}
