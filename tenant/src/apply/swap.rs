//! Another version of the image beneath a tenant that is running.
//!
//! ```text
//! mount namespace of the host:   peer of the tenant's root ── /usr: overlay of the new version
//!                                        │ propagates, with its flags locked
//! tenant:                        root ── /usr: new version ── old version on top, then detached
//! ```
//!
//! The kernel puts a mount that propagates beneath what is mounted at its place already. Until the old one is detached
//! no process sees the new one; from then on every path walk does, and what was open stays open.

use std::path::Path;

use super::fault::{leftovers, remedy};
use crate::{
    kernel::{Access, Kept, Kernel, KernelError, MountEntry, Place, TmpfsUse, Top},
    model::image::ImageSource,
    plan::swap::{RESTART_INTO_IT, SwapMount, SwapPlan, Version, is_source_name},
};

/// The layer of a read-only overlay that gives its root an owner.
const EMPTY: u64 = 4096;

/// A swap that failed. The tenant has the version that it had, but for what `cleanup` says.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The tenant has changed its own mounts so that nothing can be exchanged.
    #[error("{0}")]
    Refused(String),
    /// A step failed.
    #[error("cannot exchange its base{}", leftovers(.cleanup))]
    Failed {
        /// Why.
        #[source]
        source: KernelError,
        /// What could not be undone afterwards.
        cleanup: Vec<KernelError>,
    },
}

impl SwapError {
    fn of(source: KernelError) -> Self {
        Self::Failed { source, cleanup: Vec::new() }
    }

    /// The remedy; `NAME` stands for the tenant.
    pub fn help(&self) -> String {
        match self {
            Self::Refused(_) => {
                "unmount that inside, or restart it: tenantctl rebase NAME --restart".to_owned()
            }
            Self::Failed { source, .. } => remedy(source).unwrap_or_else(|| RESTART_INTO_IT.to_owned()),
        }
    }
}

type Result<T, E = SwapError> = std::result::Result<T, E>;

/// What is at the place of a mount.
enum Shown {
    /// The version alone.
    Done,
    /// Another version of an image.
    Other,
    /// The version, and another one on top: what an interrupted swap leaves.
    Half(MountEntry),
    /// Nothing: the image that it booted has no such directory.
    Absent,
}

/// The mounts at a place, from the bottom to the top.
fn stack<'a>(all: &'a [MountEntry], at: &str) -> Vec<&'a MountEntry> {
    let here: Vec<&MountEntry> = all.iter().filter(|mount| mount.at == Path::new(at)).collect();
    let is_here = |id: u64| here.iter().any(|mount| mount.id == id);
    let mut stack: Vec<&MountEntry> = here.iter().copied().filter(|mount| !is_here(mount.parent)).collect();
    while let Some(over) = stack.last().and_then(|top| here.iter().find(|mount| mount.parent == top.id)) {
        stack.push(over);
    }
    stack
}

fn is_image(mount: &MountEntry) -> bool {
    mount.kind == "overlay" && is_source_name(&mount.source)
}

fn shown(all: &[MountEntry], mount: &SwapMount, version: &Version) -> Result<Shown> {
    let name = version.source_name();
    match stack(all, mount.at.relative())[..] {
        [only] if is_image(only) && only.source == name => Ok(Shown::Done),
        [only] if is_image(only) => Ok(Shown::Other),
        [new, old] if is_image(new) && is_image(old) && new.source == name => Ok(Shown::Half(old.clone())),
        [] if mount.is_optional() => Ok(Shown::Absent),
        [] => Err(SwapError::Refused(format!("it has unmounted {}", mount.at))),
        [.., top] => Err(SwapError::Refused(format!(
            "something is mounted over {} inside: {} {:?}",
            mount.at, top.kind, top.source
        ))),
    }
}

/// Gives a tenant, whose init is the process `pid`, the version of a plan, and says which directories show it now that
/// did not before. Done again after it was interrupted, it finishes.
///
/// # Errors
/// [`SwapError`]; what was exchanged by then is exchanged back.
pub fn swap<K: Kernel>(
    kernel: &K,
    pid: i32,
    kept: &mut Kept<K::Fd>,
    plan: &SwapPlan,
) -> Result<(Vec<String>, Vec<K::Fd>)> {
    let seen = kernel.mounts(pid).map_err(SwapError::of)?;
    let (mut todo, mut half, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for mount in &plan.mounts {
        match shown(&seen, mount, &plan.to)? {
            Shown::Done | Shown::Absent => continue,
            Shown::Half(old) => half.push(old),
            Shown::Other => todo.push(mount),
        }
        changed.push(mount.at.to_string());
    }
    for old in half {
        kernel.mount_detach(pid, &old).map_err(SwapError::of)?;
    }
    if todo.is_empty() {
        return Ok((changed, Vec::new()));
    }
    let prepare = |version: &Version| match &version.image {
        ImageSource::Tree(_) => Ok(()),
        ImageSource::Erofs { image, mount } => kernel.image_mount(image, mount),
    };
    prepare(&plan.to).map_err(SwapError::of)?;
    let staging = kernel.staging(&plan.place).map_err(SwapError::of)?;
    let parents = std::mem::take(&mut kept.parents);
    let mut exchange = Exchange {
        kernel,
        pid,
        plan,
        user: &kept.user,
        staging: &staging,
        parents: &parents,
        layers: Vec::new(),
    };
    let result = exchange.all(&todo, &seen);
    let layers = exchange.layers;
    // For the next time: peers without what was mounted on these.
    let peers =
        parents.iter().map(|(at, parent)| Ok((at.clone(), kernel.mount_peer(&staging, parent, None)?)));
    let peers: Result<Vec<_>, KernelError> = peers.collect();
    drop(parents);
    let left = kernel.staging_leave(staging);
    // What fails here keeps it from being given another one without a restart.
    kept.parents = peers.unwrap_or_else(|error| {
        log::warn!("this tenant can get no other version before its next start: {error}: {}", error.source);
        Vec::new()
    });
    result?;
    let left = left.map_err(SwapError::of)?;
    Ok((changed, layers.into_iter().chain([left]).collect()))
}

/// The mounts that lie directly on the mount at a place, but for those that are exchanged themselves.
fn mounts_below<'a>(
    all: &'a [MountEntry],
    mount: &SwapMount,
    exchanged: &[SwapMount],
) -> Vec<&'a MountEntry> {
    let Some(top) = stack(all, mount.at.relative()).last().map(|top| top.id) else { return Vec::new() };
    let is_exchanged = |at: &Path| exchanged.iter().any(|other| Path::new(other.at.relative()) == at);
    all.iter().filter(|over| over.parent == top && !is_exchanged(&over.at)).collect()
}

struct Exchange<'a, K: Kernel> {
    kernel: &'a K,
    pid: i32,
    plan: &'a SwapPlan,
    user: &'a K::Fd,
    staging: &'a K::Staging,
    parents: &'a [(String, K::Fd)],
    /// What the overlays are made of; they have copies of their own.
    layers: Vec<K::Fd>,
}

impl<K: Kernel> Exchange<'_, K> {
    fn all(&mut self, todo: &[&SwapMount], seen: &[MountEntry]) -> Result<()> {
        for (_, parent) in self.parents {
            self.kernel.layer_attach(self.staging, parent).map_err(SwapError::of)?;
        }
        self.put_beneath(todo, &self.plan.to, seen)?;
        let seen = self.kernel.mounts(self.pid);
        let seen = seen.map_err(|source| SwapError::Failed { source, cleanup: self.withdraw(todo) })?;
        for (number, mount) in todo.iter().enumerate() {
            let Err(source) = self.uncover(mount, &self.plan.to, &seen) else { continue };
            let mut cleanup = self.withdraw(&todo[number..]);
            cleanup.extend(self.exchange_back(&todo[..number]));
            return Err(SwapError::Failed { source, cleanup });
        }
        Ok(())
    }

    /// Gives those the old version again that have the new one already.
    fn exchange_back(&mut self, mounts: &[&SwapMount]) -> Vec<KernelError> {
        if mounts.is_empty() {
            return Vec::new();
        }
        let beneath = self.kernel.mounts(self.pid).map_err(SwapError::of);
        let beneath = beneath.and_then(|seen| {
            self.put_beneath(mounts, &self.plan.from, &seen)?;
            self.kernel.mounts(self.pid).map_err(SwapError::of)
        });
        match beneath {
            Ok(seen) => {
                let uncover = |mount: &&SwapMount| self.uncover(mount, &self.plan.from, &seen).err();
                mounts.iter().filter_map(uncover).collect()
            }
            Err(SwapError::Failed { source, cleanup }) => std::iter::once(source).chain(cleanup).collect(),
            Err(SwapError::Refused(_)) => Vec::new(),
        }
    }

    /// Attaches a version beneath what is shown, or nothing of it.
    fn put_beneath(&mut self, mounts: &[&SwapMount], version: &Version, seen: &[MountEntry]) -> Result<()> {
        let trees = self.trees(mounts, version).map_err(SwapError::of)?;
        for (number, (mount, tree)) in mounts.iter().zip(&trees).enumerate() {
            let attached = self.attach(mount, tree);
            let there = if attached.is_ok() { number + 1 } else { number };
            if let Err(source) = attached.and_then(|()| self.transfer(mount, tree, seen)) {
                let cleanup = self.withdraw(&mounts[..there]);
                return Err(SwapError::Failed { source, cleanup });
            }
        }
        self.layers.extend(trees);
        Ok(())
    }

    fn attach(&self, mount: &SwapMount, tree: &K::Fd) -> Result<(), KernelError> {
        let parent = self.parent(mount)?;
        self.kernel.mount_attach(self.staging, parent, mount.below_parent().as_ref(), Place::Made, tree)
    }

    /// Copies what lies on the mount that is shown onto the one that takes its place.
    fn transfer(&self, mount: &SwapMount, tree: &K::Fd, seen: &[MountEntry]) -> Result<(), KernelError> {
        for over in mounts_below(seen, mount, &self.plan.mounts) {
            let copy = self.kernel.mount_copy(self.pid, over)?;
            let below = over.at.strip_prefix(mount.at.relative()).unwrap_or(&over.at);
            let attached = self.kernel.mount_attach(self.staging, tree, below, Place::Made, &copy);
            attached.map_err(|error| KernelError {
                object: format!("/{}, a mount of the tenant", over.at.display()),
                ..error
            })?;
        }
        Ok(())
    }

    fn parent(&self, mount: &SwapMount) -> Result<&K::Fd, KernelError> {
        let found = self.parents.iter().find(|(at, _)| *at == mount.parent).map(|(_, parent)| parent);
        found.ok_or_else(|| {
            let cause = std::io::Error::other("it was given up by an earlier swap");
            KernelError::new("reach", format!("/{} of the tenant", mount.parent), cause)
        })
    }

    /// An overlay for each mount.
    fn trees(&mut self, mounts: &[&SwapMount], version: &Version) -> Result<Vec<K::Fd>, KernelError> {
        let image = match &version.image {
            ImageSource::Tree(tree) => tree,
            ImageSource::Erofs { mount, .. } => mount,
        };
        let (owner, name) = (self.plan.uids.base(), version.source_name());
        let image = self.kernel.tree_clone(image, self.user, Access::ReadOnly)?;
        let empty = self.kernel.tmpfs(TmpfsUse::Files, EMPTY, 0o755, owner)?;
        if self.plan.attach_layers {
            self.kernel.layer_attach(self.staging, &image)?;
            self.kernel.layer_attach(self.staging, &empty)?;
        }
        let whole = match mounts.iter().any(|mount| mount.is_path) {
            true => {
                let whole = self.kernel.overlay(&image, None, Top::Empty(&empty), owner, &name)?;
                if self.plan.attach_layers {
                    self.kernel.layer_attach(self.staging, &whole)?;
                }
                Some(whole)
            }
            false => None,
        };
        let mut trees = Vec::new();
        for mount in mounts {
            let at = mount.at.relative();
            trees.push(match &whole {
                Some(whole) if mount.is_path => self.kernel.tree_path(whole, at)?.0,
                _ => self.kernel.overlay(&image, Some(at), Top::Empty(&empty), owner, &name)?,
            });
        }
        self.layers.extend([image, empty].into_iter().chain(whole));
        Ok(trees)
    }

    /// Detaches what covers a version.
    fn uncover(&self, mount: &SwapMount, version: &Version, seen: &[MountEntry]) -> Result<(), KernelError> {
        match shown(seen, mount, version) {
            Ok(Shown::Half(old)) => self.kernel.mount_detach(self.pid, &old).map_err(explain),
            // The tenant has unmounted the old one itself, which it may.
            Ok(Shown::Done) => Ok(()),
            _ => {
                let cause = "it has made its mounts private, or has mounted something else there";
                Err(KernelError::new("reach", mount.at.as_str(), std::io::Error::other(cause)))
            }
        }
    }

    /// Takes away what [`Self::put_beneath`] has attached.
    fn withdraw(&self, mounts: &[&SwapMount]) -> Vec<KernelError> {
        let withdraw = |mount: &&&SwapMount| {
            let parent = self.parent(mount)?;
            self.kernel.mount_withdraw(self.staging, parent, mount.below_parent())
        };
        mounts.iter().rev().filter_map(|mount| withdraw(&mount).err()).collect()
    }
}

/// The kernel's refusal of an unmount, in words.
fn explain(error: KernelError) -> KernelError {
    if error.source.raw_os_error() != Some(libc::EINVAL) {
        return error;
    }
    let cause = "this kernel locks a mount that another one was put beneath (mended in Linux 6.16 and in stable releases)";
    KernelError { source: std::io::Error::other(cause).into(), ..error }
}
