//! A tenant's file in the making, and how a key changes it.

use tenant::config::Fragment;

use super::{
    parse::{Line, Look, Probe},
    report::Verdict,
};

/// How a key is translated.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// By itself.
    Each(fn(&mut Draft<'_>, &Pair<'_>) -> Verdict),
    /// With the other keys of its interface.
    Network,
    /// With the other rules for devices.
    Devices,
    /// With the quota or its period.
    CpuQuota,
    /// With the memory limit.
    Swap,
    /// With the other capabilities.
    Capabilities,
    /// Not at all, and nothing is lost.
    Notice(&'static str),
    /// Not at all, and something is missing.
    Never(&'static str),
}

/// A pair under its present name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    /// Position among all lines.
    pub(super) at: usize,
    /// Present name of the key.
    pub(super) name: &'a str,
    /// Its value, never blank.
    pub(super) value: &'a str,
    /// Whether it stands in a file that others include as well.
    pub(super) is_shared: bool,
}

/// Where a configuration stands.
#[derive(Clone, Copy)]
pub(super) struct Host<'a> {
    /// The path of the configuration.
    pub(super) file: &'a str,
    /// This machine, as `uname -m` prints it.
    pub(super) arch: &'a str,
    pub(super) look: Look<'a>,
    pub(super) probe: Probe<'a>,
}

/// A tenant's file in the making.
pub(super) struct Draft<'a> {
    pub(super) fragment: Fragment,
    /// The root filesystem of the container, a directory of the host.
    pub(super) rootfs: Option<String>,
    /// Whether the configuration has a root filesystem at all.
    pub(super) has_rootfs: bool,
    /// What absolute targets of mounts may begin with.
    pub(super) roots: Vec<String>,
    /// Ranges of lxc.idmap, `u:0:100000:65536`.
    pub(super) idmap: Vec<String>,
    /// The memory limit of cgroup v1, bytes.
    pub(super) memory_limit: Option<u64>,
    pub(super) host: Host<'a>,
    /// Lines of other files, behind the line that named them.
    pub(super) extra: Vec<(usize, Line, Verdict)>,
    /// Values that stood under `lxc.uts.name`, valid or not.
    pub(super) hostname: Option<String>,
}
