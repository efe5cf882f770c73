//! The steps of a tenant's root.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    files::credentials::Credential,
    model::{device::Driver, limits::ByteSize, path::TenantPath},
};

/// A directory of the skeleton.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopDir {
    /// Path relative to the root.
    pub path: String,
    /// Mode bits.
    pub mode: u32,
}

/// A device node in `/dev`, see the kernel's `Documentation/admin-guide/devices.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DevNode {
    /// Path relative to `/dev`.
    pub name: &'static str,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// The driver behind it, where a host may lack it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
}

impl DevNode {
    pub(super) const fn of_every_host(name: &'static str, major: u32, minor: u32) -> Self {
        Self { name, major, minor, driver: None }
    }
}

/// One step of putting the root together. The first group is made outside the tenant's namespaces and
/// handed over as file descriptors; the second is mounted by init itself, because those filesystems
/// belong to the namespaces it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub enum RootStep {
    /// A read-only tmpfs with a place for every mount and the image's top-level links.
    Skeleton {
        /// Directories, parents first.
        dirs: Vec<TopDir>,
        /// Links, as name and target.
        links: Vec<(String, String)>,
    },
    /// The image's directory, read-only, through an overlay of this tenant's own. One below the top level that the image
    /// lacks is left out.
    Shared {
        /// Where.
        at: TenantPath,
    },
    /// The image's directory under the tenant's changes.
    Overlay {
        /// Where.
        at: TenantPath,
        /// Directory below [`super::Plan::dirs`] with `upper` and `work`.
        store: String,
    },
    /// A file or directory of the image, read-only, out of one overlay of this tenant's own. Links in the
    /// path are followed inside the image.
    Path {
        /// Where.
        at: TenantPath,
    },
    /// A file or directory of the image that another step shows: only looked for.
    Present {
        /// Where.
        at: TenantPath,
    },
    /// The whole image under the tenant's changes, as `/`.
    Whole {
        /// Directory below [`super::Plan::dirs`] with `upper` and `work`.
        store: String,
    },
    /// A directory of the tenant alone.
    Private {
        /// Where.
        at: TenantPath,
        /// Directory below [`super::Plan::dirs`].
        store: String,
    },
    /// An empty directory.
    Tmpfs {
        /// Where.
        at: TenantPath,
        /// Most bytes.
        size: ByteSize,
        /// Mode bits of its root.
        mode: u32,
    },
    /// A directory of the host, idmapped.
    Bind {
        /// Where.
        at: TenantPath,
        /// Which.
        source: PathBuf,
        /// Whether it may be written.
        writable: bool,
    },
    /// A tmpfs with device nodes and links.
    Dev {
        /// The nodes, all mode 0666.
        nodes: Vec<DevNode>,
        /// Links, as name and target.
        links: Vec<(String, String)>,
        /// Empty directories to mount on.
        dirs: Vec<&'static str>,
    },
    /// devpts(5) at `/dev/pts`, an instance of the tenant's own.
    Devpts {
        /// Most pseudoterminals.
        max: u32,
    },
    /// proc(5) at `/proc`.
    Proc,
    /// sysfs(5) at `/sys`, read-only.
    Sysfs,
    /// cgroup2 at `/sys/fs/cgroup`.
    Cgroup,
    /// `/run/host`: what the tenant is told of its host.
    RunHost,
    /// A read-only tmpfs with a node of each type that no process may open: what systemd hides files behind, see
    /// `InaccessiblePaths=` in systemd.exec(5).
    Inaccessible,
    /// The files of [`crate::model::resource_file::ResourceFile`]: init lays each over the kernel's own.
    Limits,
    /// A read-only tmpfs with files that only root may read, see [`crate::files::credentials`].
    Credentials {
        /// The files.
        files: Vec<Credential>,
    },
}

impl RootStep {
    /// Where the step mounts something; none for the root itself, for `/run/host`, and for what is only
    /// looked for.
    pub fn at(&self) -> Option<&str> {
        match self {
            Self::Skeleton { .. } | Self::Whole { .. } | Self::Present { .. } | Self::RunHost => None,
            Self::Shared { at }
            | Self::Path { at }
            | Self::Overlay { at, .. }
            | Self::Private { at, .. }
            | Self::Tmpfs { at, .. }
            | Self::Bind { at, .. } => Some(at.relative()),
            Self::Dev { .. } => Some("dev"),
            Self::Devpts { .. } => Some("dev/pts"),
            Self::Proc => Some("proc"),
            Self::Sysfs => Some("sys"),
            Self::Cgroup => Some("sys/fs/cgroup"),
            Self::Inaccessible => Some(INACCESSIBLE),
            Self::Limits => Some(LIMITS),
            Self::Credentials { .. } => Some(CREDENTIALS),
        }
    }
}

impl RootStep {
    /// Whether an image may lack what the step shows: what is below its top level no manifest tells.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::Shared { at } if at.depth() > 1)
    }

    /// Whether what is mounted can never be unmounted inside. The kernel lets a system in the tenant (a container,
    /// `ip netns exec`) mount proc(5) and sysfs(5) only where the tenant's own are in full sight.
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::Proc | Self::Sysfs)
    }
}

/// Where a tenant's own `/etc` is stored: the name of a directory below [`super::Plan::dirs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEtc<'a> {
    /// Under the image's `/etc`.
    Overlay(&'a str),
    /// In place of it.
    Private(&'a str),
    /// In an overlay over the whole image.
    Whole(&'a str),
}

impl<'a> OwnEtc<'a> {
    pub(super) fn of(steps: &'a [RootStep]) -> Option<Self> {
        let is_etc = |at: &TenantPath| at.as_str() == "/etc";
        // What is mounted last hides what was there before.
        let last =
            steps.iter().rfind(|step| matches!(step, RootStep::Whole { .. }) || step.at() == Some("etc"));
        match last? {
            RootStep::Overlay { at, store } if is_etc(at) => Some(Self::Overlay(store)),
            RootStep::Private { at, store } if is_etc(at) => Some(Self::Private(store)),
            RootStep::Whole { store } => Some(Self::Whole(store)),
            _ => None,
        }
    }

    /// Where what the tenant has in its `/etc` lies, relative to [`super::Plan::dirs`].
    pub fn path(self) -> String {
        match self {
            Self::Overlay(store) => format!("{store}/upper"),
            Self::Private(store) => store.to_owned(),
            Self::Whole(store) => format!("{store}/upper/etc"),
        }
    }
}

/// Where the inaccessible nodes are, relative to the root.
pub const INACCESSIBLE: &str = "run/host/inaccessible";

/// Where the files are that tell the tenant's limits, relative to the root.
pub const LIMITS: &str = "run/host/limits";

/// Where the credentials are, relative to the root.
pub const CREDENTIALS: &str = "run/host/credentials";

/// Directories every system needs, whatever the image holds.
pub(super) const ALWAYS: [&str; 5] = ["dev", "proc", "sys", "run", "tmp"];

/// The name, below a tenant's `dirs/`, of what it stores for a top-level directory: `/etc` is `etc`,
/// and the whole root is `root-overlay`.
pub fn store_name(path: Option<&TenantPath>) -> String {
    path.map_or("root-overlay", TenantPath::relative).to_owned()
}
