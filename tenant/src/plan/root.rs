//! The tenant's root: an ordered table of mounts.

use std::path::PathBuf;

use serde::Serialize;

use super::PlanError;
use crate::{
    config::{Features, Policy, RootMode, Tenant},
    files::{credentials::Credential, layout::Layout},
    model::{
        device::Driver,
        image::{ErofsImage, HashTree, ImageFormat, ImageSource, Manifest, TopEntry},
        limits::ByteSize,
        path::TenantPath,
    },
};

impl ImageSource {
    /// How a version is stored.
    pub fn of(layout: &Layout, manifest: &Manifest) -> Self {
        let Manifest { image, digest, .. } = manifest;
        match manifest.format {
            ImageFormat::Tree => Self::Tree(layout.tree(image, digest)),
            ImageFormat::Erofs => Self::Erofs {
                image: ErofsImage {
                    file: layout.erofs(image, digest),
                    verity: manifest
                        .verity
                        .map(|root_hash| HashTree { file: layout.hash_tree(image, digest), root_hash }),
                },
                mount: layout.image_mount(digest),
            },
        }
    }
}

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
    const fn of_every_host(name: &'static str, major: u32, minor: u32) -> Self {
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
    /// The image's directory, read-only, through an overlay of this tenant's own.
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
    /// A read-only tmpfs with a node of each type that nobody may open: what systemd hides files behind, see
    /// `InaccessiblePaths=` in systemd.exec(5).
    Inaccessible,
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
            Self::Credentials { .. } => Some(CREDENTIALS),
        }
    }
}

impl RootStep {
    /// Whether init makes the filesystem: it belongs to a namespace that init is born into.
    pub fn is_made_inside(&self) -> bool {
        matches!(self, Self::Devpts { .. } | Self::Proc | Self::Sysfs | Self::Cgroup)
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

pub(super) const DEV_NODES: [DevNode; 6] = [
    DevNode::of_every_host("null", 1, 3),
    DevNode::of_every_host("zero", 1, 5),
    DevNode::of_every_host("full", 1, 7),
    DevNode::of_every_host("random", 1, 8),
    DevNode::of_every_host("urandom", 1, 9),
    DevNode::of_every_host("tty", 5, 0),
];

/// The nodes of the features that a tenant asks for.
pub(super) fn feature_nodes(features: Features) -> impl Iterator<Item = DevNode> {
    let tun = DevNode { name: "net/tun", major: 10, minor: 200, driver: Some(Driver::Tun) };
    let fuse = DevNode { name: "fuse", major: 10, minor: 229, driver: Some(Driver::Fuse) };
    [(features.tun, tun), (features.fuse, fuse)]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, node)| node)
}

const DEV_LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

const DEV_DIRS: [&str; 3] = ["pts", "shm", "mqueue"];

/// Where the inaccessible nodes are, relative to the root.
pub const INACCESSIBLE: &str = "run/host/inaccessible";
/// Where the credentials are, relative to the root.
pub const CREDENTIALS: &str = "run/host/credentials";

/// Directories every system needs, whatever the image holds.
pub(super) const ALWAYS: [&str; 5] = ["dev", "proc", "sys", "run", "tmp"];

/// The name, below a tenant's `dirs/`, of what it stores for a top-level directory: `/etc` is `etc`,
/// and the whole root is `root-overlay`.
pub fn store_name(path: Option<&TenantPath>) -> String {
    path.map_or("root-overlay", TenantPath::relative).to_owned()
}

pub(super) fn plan(
    tenant: &Tenant,
    manifest: &Manifest,
    credentials: &[Credential],
) -> Result<Vec<RootStep>, PlanError> {
    let mut steps = match tenant.root {
        RootMode::Skeleton => skeleton(tenant, manifest)?,
        RootMode::Paths => super::paths::plan(tenant, manifest)?,
        RootMode::Overlay => vec![RootStep::Whole { store: store_name(None) }],
    };
    let mut dirs = tenant.dirs.clone();
    // Nothing to lay changes over.
    if !manifest.top.iter().any(|entry| entry.name == "tmp") {
        dirs.retain(|at, policy| at.as_str() != "/tmp" || *policy != Policy::Overlay);
    }
    for name in ["/tmp", "/run"] {
        dirs.entry(fixed(name)).or_insert(Policy::Tmpfs { size: Policy::TMPFS_SIZE });
    }
    // Sorted by path: a parent is mounted before what lies in it.
    for (at, policy) in &dirs {
        steps.extend(own_step(at, policy));
    }
    steps.extend([
        dev(tenant),
        RootStep::Devpts { max: tenant.pts_max },
        RootStep::Tmpfs { at: fixed("/dev/shm"), size: tenant.shm_max, mode: 0o1777 },
        RootStep::Proc,
        RootStep::Sysfs,
        RootStep::Cgroup,
        RootStep::RunHost,
        RootStep::Inaccessible,
    ]);
    if !credentials.is_empty() {
        steps.push(RootStep::Credentials { files: credentials.to_vec() });
    }
    Ok(steps)
}

fn fixed(path: &str) -> TenantPath {
    path.parse().expect("a fixed path is valid")
}

fn dev(tenant: &Tenant) -> RootStep {
    let nodes: Vec<DevNode> = DEV_NODES.into_iter().chain(feature_nodes(tenant.features)).collect();
    let mut dirs = DEV_DIRS.to_vec();
    dirs.extend(nodes.iter().filter_map(|node| node.name.split_once('/')).map(|(dir, _)| dir));
    RootStep::Dev { nodes, links: dev_links(tenant.ttys), dirs }
}

/// The fixed links, and `ttyN` to the pseudoterminal that init opens as number N.
fn dev_links(ttys: u8) -> Vec<(String, String)> {
    let fixed = DEV_LINKS.iter().map(|(name, target)| (name.to_string(), target.to_string()));
    fixed.chain((1..=ttys).map(|tty| (format!("tty{tty}"), format!("pts/{tty}")))).collect()
}

/// The step of a policy that does not look at the image.
fn own_step(at: &TenantPath, policy: &Policy) -> Option<RootStep> {
    let at = at.clone();
    match policy {
        Policy::Tmpfs { size } => {
            let mode = if matches!(at.as_str(), "/tmp" | "/var/tmp") { 0o1777 } else { 0o755 };
            Some(RootStep::Tmpfs { at, size: *size, mode })
        }
        Policy::Bind { source, writable } => {
            Some(RootStep::Bind { at, source: source.clone(), writable: *writable })
        }
        Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty => None,
    }
}

/// The skeleton and the mounts of the top-level directories that come from the image or the store.
fn skeleton(tenant: &Tenant, manifest: &Manifest) -> Result<Vec<RootStep>, PlanError> {
    let mut dirs: Vec<TopDir> = Vec::new();
    let mut links = Vec::new();
    let mut mounts = Vec::new();
    for TopEntry { name, mode, target } in &manifest.top {
        let at: TenantPath = match format!("/{name}").parse() {
            Ok(at) => at,
            Err(_) => return Err(PlanError::Manifest(format!("its top level has an entry {name:?}"))),
        };
        if let Some(target) = target {
            if tenant.dirs.contains_key(&at) {
                let reason = "it is a link in the image and cannot have a policy";
                return Err(PlanError::Directory { path: at.to_string(), reason });
            }
            links.push((name.clone(), target.clone()));
            continue;
        }
        dirs.push(TopDir { path: name.clone(), mode: mode.unwrap_or(0o755) & 0o7777 });
        let policy = tenant.dirs.get(&at).unwrap_or(&Policy::Shared);
        let is_kept = name == "tmp" && matches!(policy, Policy::Overlay | Policy::Private);
        if ALWAYS.contains(&name.as_str()) && !is_kept {
            continue;
        }
        let store = store_name(Some(&at));
        match policy {
            Policy::Shared => mounts.push(RootStep::Shared { at }),
            Policy::Overlay => mounts.push(RootStep::Overlay { at, store }),
            Policy::Private => mounts.push(RootStep::Private { at, store }),
            Policy::Empty | Policy::Tmpfs { .. } | Policy::Bind { .. } => {}
        }
    }
    let mut add = |path: &str, mode| {
        if !dirs.iter().any(|dir| dir.path == path) {
            dirs.push(TopDir { path: path.to_owned(), mode });
        }
    };
    ALWAYS.iter().for_each(|name| add(name, 0o755));
    for (at, policy) in tenant.dirs.iter().filter(|(at, _)| at.depth() == 1) {
        match policy {
            Policy::Shared | Policy::Overlay if !manifest.top.iter().any(|entry| entry.name == at.top()) => {
                // The policy table is written for every image; what an image lacks is left out.
            }
            Policy::Private if !manifest.top.iter().any(|entry| entry.name == at.top()) => {
                add(at.relative(), 0o755);
                mounts.push(RootStep::Private { at: at.clone(), store: store_name(Some(at)) });
            }
            _ => add(at.relative(), 0o755),
        }
    }
    let mut steps = vec![RootStep::Skeleton { dirs, links }];
    steps.extend(mounts);
    Ok(steps)
}
