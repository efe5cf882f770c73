//! Another version of the image beneath a tenant that is running.
//!
//! ```text
//! mount namespace of the host:   peer of the tenant's root ── /usr: overlay of the new version
//!                                        │ propagates, with its flags locked
//! tenant:                        root ── /usr: new version ── old version on top, then detached
//! ```
//!
//! The kernel puts a mount that propagates beneath what is mounted at its place already. Until the old ones are taken
//! away no process sees the new ones; from then on every path walk does, and what was open stays open. The old ones of all
//! directories go at one moment, but for those in which the tenant has mounts of its own: these follow one by one.

use super::{
    base::{self, Base},
    fault::{leftovers, remedy},
    shown::{Shown, mounts_below, shown},
};
use crate::{
    kernel::{Kept, Kernel, KernelError, MountEntry, Place},
    plan::swap::{RESTART_INTO_IT, SwapMount, SwapPlan, Version},
};

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
        match shown(&seen, mount, &plan.to) {
            Shown::Done | Shown::Absent => continue,
            Shown::Half(over) => half.push((mount, over.len())),
            Shown::Other => todo.push(mount),
            Shown::Changed(how) => return Err(SwapError::Refused(how)),
        }
        changed.push(mount.at.to_string());
    }
    for (mount, most) in half {
        uncover(kernel, pid, mount, &plan.to, most).map_err(SwapError::of)?;
    }
    if todo.is_empty() {
        return Ok((changed, Vec::new()));
    }
    base::mounted(kernel, &plan.to.image).map_err(SwapError::of)?;
    let staging = kernel.staging(&plan.place).map_err(SwapError::of)?;
    let mut exchange = Exchange {
        kernel,
        pid,
        plan,
        user: &kept.user,
        staging: &staging,
        parents: std::mem::take(&mut kept.parents),
        layers: Vec::new(),
    };
    let result = exchange.all(&todo, &seen);
    // For the next time.
    let peers = exchange.peers();
    let layers = exchange.layers;
    drop(exchange.parents);
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

/// Detaches what lies over a version, of which there is so much: one after the other, for one may take others along.
fn uncover<K: Kernel>(
    kernel: &K,
    pid: i32,
    mount: &SwapMount,
    version: &Version,
    most: usize,
) -> Result<(), KernelError> {
    for _ in 0..most {
        let Shown::Half(over) = shown(&kernel.mounts(pid)?, mount, version) else { break };
        over.first().map_or(Ok(()), |top| kernel.mount_detach(pid, top).map_err(explain))?;
    }
    Ok(())
}

struct Exchange<'a, K: Kernel> {
    kernel: &'a K,
    pid: i32,
    plan: &'a SwapPlan,
    user: &'a K::Fd,
    staging: &'a K::Staging,
    parents: Vec<(String, K::Fd)>,
    /// What the overlays are made of; they have copies of their own.
    layers: Vec<K::Fd>,
}

impl<K: Kernel> Exchange<'_, K> {
    fn all(&mut self, todo: &[&SwapMount], seen: &[MountEntry]) -> Result<()> {
        self.attach_parents().map_err(SwapError::of)?;
        let trees = self.put_beneath(todo, &self.plan.to, seen)?;
        let Err(source) = self.reveal(todo, &trees, &self.plan.to) else { return Ok(()) };
        // What is seen by now decides how it is undone.
        let cleanup = match self.kernel.mounts(self.pid) {
            Ok(seen) => {
                let is_done = |mount: &&SwapMount| shown(&seen, mount, &self.plan.to) == Shown::Done;
                let (exchanged, covered): (Vec<_>, Vec<_>) = todo.iter().copied().partition(is_done);
                let mut cleanup = self.withdraw(&covered);
                cleanup.extend(self.exchange_back(&exchanged));
                cleanup
            }
            Err(error) => vec![error],
        };
        Err(SwapError::Failed { source, cleanup })
    }

    fn attach_parents(&self) -> Result<(), KernelError> {
        self.parents.iter().try_for_each(|(_, parent)| self.kernel.layer_attach(self.staging, parent))
    }

    /// Peers of the parents, without what is mounted on these.
    fn peers(&self) -> Result<Vec<(String, K::Fd)>, KernelError> {
        let peer = |(at, parent): &(String, K::Fd)| {
            Ok((at.clone(), self.kernel.mount_peer(self.staging, parent, None)?))
        };
        self.parents.iter().map(peer).collect()
    }

    /// Lets a version be seen that was put beneath what is shown.
    fn reveal(&self, mounts: &[&SwapMount], trees: &[K::Fd], version: &Version) -> Result<(), KernelError> {
        // Where it has not come to the tenant's init it is to be seen by no other process either.
        let seen = self.kernel.mounts(self.pid)?;
        let is_there =
            |mount: &SwapMount| matches!(shown(&seen, mount, version), Shown::Half(_) | Shown::Done);
        if let Some(missed) = mounts.iter().find(|mount| !is_there(mount)) {
            let cause = "it has made its mounts private, or has mounted something else there";
            return Err(KernelError::new("reach", missed.at.as_str(), std::io::Error::other(cause)));
        }
        let revealed = self.kernel.mounts_reveal(self.staging, &trees.iter().collect::<Vec<_>>());
        if let Err(error) = revealed {
            log::warn!(
                "the directories of a base are exchanged one after the other: {error}: {}",
                error.source
            );
        }
        let seen = self.kernel.mounts(self.pid)?;
        for mount in mounts {
            if let Shown::Half(over) = shown(&seen, mount, version) {
                uncover(self.kernel, self.pid, mount, version, over.len())?;
            }
        }
        Ok(())
    }

    /// Gives those the old version again that have the new one already.
    fn exchange_back(&mut self, mounts: &[&SwapMount]) -> Vec<KernelError> {
        if mounts.is_empty() {
            return Vec::new();
        }
        match self.put_back(mounts) {
            Err(SwapError::Failed { source, cleanup }) => std::iter::once(source).chain(cleanup).collect(),
            Ok(()) | Err(SwapError::Refused(_)) => Vec::new(),
        }
    }

    fn put_back(&mut self, mounts: &[&SwapMount]) -> Result<()> {
        // On those that are attached lies the new version: what is mounted there now would come over it.
        self.parents = self.peers().map_err(SwapError::of)?;
        self.attach_parents().map_err(SwapError::of)?;
        let seen = self.kernel.mounts(self.pid).map_err(SwapError::of)?;
        let trees = self.put_beneath(mounts, &self.plan.from, &seen)?;
        self.reveal(mounts, &trees, &self.plan.from).map_err(SwapError::of)
    }

    /// Attaches a version beneath what is shown, or nothing of it.
    fn put_beneath(
        &mut self,
        mounts: &[&SwapMount],
        version: &Version,
        seen: &[MountEntry],
    ) -> Result<Vec<K::Fd>> {
        let trees = self.trees(mounts, version).map_err(SwapError::of)?;
        for (number, (mount, tree)) in mounts.iter().zip(&trees).enumerate() {
            let attached = self.attach(mount, tree);
            let there = if attached.is_ok() { number + 1 } else { number };
            if let Err(source) = attached.and_then(|()| self.transfer(mount, tree, seen)) {
                let cleanup = self.withdraw(&mounts[..there]);
                return Err(SwapError::Failed { source, cleanup });
            }
        }
        Ok(trees)
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
        // A layer that is attached goes with the namespace; of one that is not, letting go is another wait for the
        // kernel's readers of mounts.
        let attach_to = Some(self.staging);
        let (owner, source) = (self.plan.uids.base(), version.source_name());
        let base = Base::new(self.kernel, version.image.dir(), self.user, owner, source, attach_to)?;
        let tree = |mount: &&SwapMount| match mount.is_path {
            true => base.path(mount.at.relative()).map(|(tree, _)| tree),
            false => base.shared(Some(mount.at.relative())),
        };
        let trees = mounts.iter().map(tree).collect();
        self.layers.extend(base.into_layers());
        trees
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
