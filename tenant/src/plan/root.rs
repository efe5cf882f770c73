//! The tenant's root: an ordered table of mounts.

use std::path::Path;

use super::{
    devices::{DEV_NODES, feature_nodes},
    error::PlanError,
    step::{ALWAYS, DevNode, RootStep, TopDir, store_name},
};
use crate::{
    config::{Policy, RootMode, Tenant},
    files::{credentials::Credential, layout::Layout},
    model::{
        facts::HostFacts,
        image::{ErofsImage, HashTree, ImageFormat, ImageSource, Manifest, TopEntry},
        path::TenantPath,
    },
};

impl ImageSource {
    /// The directory in which the tree is, once it is mounted.
    pub fn dir(&self) -> &Path {
        match self {
            Self::Tree(dir) | Self::Erofs { mount: dir, .. } => dir,
        }
    }

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

const DEV_LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

const DEV_DIRS: [&str; 3] = ["pts", "shm", "mqueue"];

pub(super) fn plan(
    tenant: &Tenant,
    manifest: &Manifest,
    facts: &HostFacts,
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
        if *policy == Policy::Shared && tenant.root == RootMode::Skeleton {
            steps.extend(nested(tenant, manifest, at));
            continue;
        }
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
    // Of a host without FUSE a tenant sees the host's size.
    if tenant.show_limits && facts.fuse {
        steps.push(RootStep::Limits);
    }
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

/// A directory below the top level that belongs to the image, and covers what the tenant has there.
fn nested(tenant: &Tenant, manifest: &Manifest, at: &TenantPath) -> Option<RootStep> {
    let is_in_image = manifest.top.iter().any(|entry| entry.name == at.top() && entry.target.is_none());
    let top = tenant.dirs.iter().find(|(dir, _)| dir.depth() == 1 && dir.top() == at.top());
    // In a shared one it is shared already.
    let is_own = top.is_some_and(|(_, policy)| *policy != Policy::Shared);
    (at.depth() > 1 && is_in_image && is_own).then(|| RootStep::Shared { at: at.clone() })
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
