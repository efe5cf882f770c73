//! Who on this host weighs block I/O.

use std::{fs, path::Path};

/// What shares out block I/O on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoSchedulers {
    /// A disk is under the bfq scheduler.
    pub bfq: bool,
    /// A disk has a cost model, see `io.cost.qos` in the kernel's cgroup-v2 document.
    pub cost: bool,
}

impl IoSchedulers {
    /// Looks at the disks of this host, and at the root of the cgroup v2 hierarchy above `cgroup`.
    pub fn of_host(cgroup: &Path) -> Self {
        let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let bfq = |disk: fs::DirEntry| {
            fs::read_to_string(disk.path().join("queue/scheduler")).is_ok_and(|text| text.contains("[bfq]"))
        };
        let models = cgroup.ancestors().find_map(|dir| fs::read_to_string(dir.join("io.cost.qos")).ok());
        Self { bfq: disks.into_iter().any(bfq), cost: models.is_some_and(|text| text.contains("enable=1")) }
    }
}

impl IoSchedulers {
    /// The scheduler that a weight needs.
    pub const NEEDED: &str = "needs a disk with the bfq scheduler";
}
