//! Why there is no plan for a tenant.

use crate::model::{allocation::RecordState, facts::KernelVersion, ids::Digest};

/// Why there is no plan for a tenant.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The record is half made or half removed.
    #[error("its record is {0}")]
    NotReady(RecordState),
    /// The kernel lacks something the design rests on.
    #[error("{feature} needs Linux {need}, but this kernel is {have}")]
    Kernel {
        /// What is missing.
        feature: &'static str,
        /// The first release that has it.
        need: KernelVersion,
        /// The running release.
        have: KernelVersion,
    },
    /// There is no cgroup v2 hierarchy.
    #[error("the cgroup v2 hierarchy is not mounted on this host")]
    NoCgroup2,
    /// No process has made a cgroup for the unit.
    #[error("its supervisor is in the root cgroup, not in a unit")]
    RootCgroup,
    /// Manifest and allocation speak of different versions.
    #[error("it is pinned to {pinned}, but the manifest is for {found}")]
    WrongVersion {
        /// What the allocation pins.
        pinned: Digest,
        /// What the manifest describes.
        found: Digest,
    },
    /// A directory's policy is not available with this image.
    #[error("directory \"{path}\": {reason}")]
    Directory {
        /// The directory.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// An interface is not available as it is written down.
    #[error("interface \"{nic}\": {reason}")]
    Nic {
        /// Its name inside.
        nic: String,
        /// Why not.
        reason: String,
    },
    /// An interface for which nothing can stand while the tenant is stopped.
    #[error(
        "key `park`: interface \"{nic}\" is not routed, so a stopped tenant would not see packets for it"
    )]
    Park {
        /// Its name inside.
        nic: String,
    },
    /// The packet filter cannot do what a key asks for.
    #[error("key `{key}`: {reason}")]
    Filter {
        /// The key.
        key: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The host has no such AppArmor profile.
    #[error("key `apparmor`: this host has loaded no AppArmor profile {0:?}")]
    AppArmor(String),
    /// A listed path of the image cannot be shown.
    #[error("path \"{path}\": {reason}")]
    Path {
        /// The path.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A tenant that runs one program does not say which.
    #[error("a tenant of this kind runs one program, but its key `init` is not set")]
    NoProgram,
    /// A tenant that boots a system has an image without one.
    #[error("the image {0:?} has no init, and a tenant of this kind needs one")]
    NoInit(String),
    /// The manifest names a signal that does not exist.
    #[error("cannot use the manifest of the image: {0}")]
    Manifest(String),
}

impl PlanError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "finish or remove it: tenantctl destroy NAME",
            Self::Kernel { .. } => "boot a newer kernel",
            Self::NoCgroup2 => "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
            Self::RootCgroup => "start it through a unit manager: tenantctl start NAME",
            Self::WrongVersion { .. } => "check the image: rootfsctl verify IMAGE",
            Self::Directory { .. } => "correct the [dirs] table: tenantctl edit NAME",
            Self::Nic { .. } => {
                "correct the [[nic]] tables: tenantctl edit NAME; addresses from a pool are assigned by tenantctl restart NAME"
            }
            Self::Park { .. } => "have it frozen instead: tenantctl set NAME park=freeze",
            Self::Filter { .. } => "remove the key, or change its [[nic]] tables: tenantctl edit NAME",
            Self::AppArmor(_) => {
                "load it: apparmor_parser --replace FILE; or do without: tenantctl set NAME --unset apparmor"
            }
            Self::Path { .. } => "correct its paths: tenantctl edit NAME",
            Self::NoProgram => {
                "set the program and its arguments: tenantctl set NAME 'init=[\"/bin/program\"]'"
            }
            Self::NoInit(_) => {
                "run a single program: tenantctl create NAME --profile app --set 'init=[\"/bin/program\"]'; or choose another \
                 image: rootfsctl list"
            }
            Self::Manifest(_) => "build the image again: rootfsctl build",
        }
    }
}
