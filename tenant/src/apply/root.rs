//! The detached mounts of a tenant's root.

use crate::{
    ids::UidRange,
    kernel::{Access, Entry, Kernel, Prepared, Result, TmpfsUse, Upper},
    limits::ByteSize,
    plan::{ImageSource, Plan, RootStep},
};

/// Room for the skeleton: directories and links only, no file is ever written there.
const SKELETON: ByteSize = ByteSize(1 << 20);
const DEV: ByteSize = ByteSize(64 << 10);

/// Makes every mount that does not belong to the tenant's own namespaces, in the order of the plan.
/// Dropping them takes them away.
pub(super) fn prepare<K: Kernel>(kernel: &K, plan: &Plan, user: &K::Fd) -> Result<Vec<Prepared<K::Fd>>> {
    let image = match &plan.image {
        ImageSource::Tree(tree) => tree,
        ImageSource::Erofs { file, mount } => {
            kernel.image_mount(file, mount)?;
            mount
        }
    };
    let trees = Trees {
        kernel,
        user,
        uids: plan.uids,
        image: kernel.tree_clone(image, user, Access::ReadOnly)?,
        dirs: kernel.tree_clone(&plan.dirs, user, Access::ReadWrite)?,
    };
    let mut mounts = Vec::new();
    for step in &plan.root {
        if let Some(tree) = trees.mount(step)? {
            mounts.push(Prepared { at: step.at().map(str::to_owned), tree });
        }
    }
    Ok(mounts)
}

struct Trees<'a, K: Kernel> {
    kernel: &'a K,
    user: &'a K::Fd,
    uids: UidRange,
    image: K::Fd,
    dirs: K::Fd,
}

impl<K: Kernel> Trees<'_, K> {
    /// The mount of one step; none for the steps that init takes itself.
    fn mount(&self, step: &RootStep) -> Result<Option<K::Fd>> {
        let owner = self.uids.base();
        let upper = |store| Some(Upper { tree: &self.dirs, store });
        let tree = match step {
            RootStep::Skeleton { dirs, links } => {
                let tree = self.kernel.tmpfs(TmpfsUse::Files, SKELETON.0, 0o755, owner)?;
                for dir in dirs {
                    self.kernel.tmpfs_entry(&tree, &dir.path, Entry::Dir(dir.mode), owner)?;
                }
                for (name, target) in links {
                    self.kernel.tmpfs_entry(&tree, name, Entry::Link(target), owner)?;
                }
                self.kernel.seal(&tree)?;
                tree
            }
            RootStep::Shared { at } => self.kernel.overlay(&self.image, Some(at.relative()), None, owner)?,
            RootStep::Overlay { at, store } => {
                self.kernel.overlay(&self.image, Some(at.relative()), upper(store), owner)?
            }
            RootStep::Whole { store } => self.kernel.overlay(&self.image, None, upper(store), owner)?,
            RootStep::Private { store, .. } => self.kernel.tree_subdir(&self.dirs, store)?,
            RootStep::Tmpfs { size, mode, .. } => self.kernel.tmpfs(TmpfsUse::Files, size.0, *mode, owner)?,
            RootStep::Bind { source, writable, .. } => {
                let access = if *writable { Access::ReadWrite } else { Access::ReadOnly };
                self.kernel.tree_clone(source, self.user, access)?
            }
            RootStep::Dev { nodes, links, dirs } => {
                let tree = self.kernel.tmpfs(TmpfsUse::Devices, DEV.0, 0o755, owner)?;
                for dir in dirs {
                    self.kernel.tmpfs_entry(&tree, dir, Entry::Dir(0o755), owner)?;
                }
                for node in nodes {
                    let device = Entry::Device(node.major, node.minor);
                    self.kernel.tmpfs_entry(&tree, node.name, device, owner)?;
                }
                for (name, target) in links {
                    self.kernel.tmpfs_entry(&tree, name, Entry::Link(target), owner)?;
                }
                tree
            }
            RootStep::Devpts { .. }
            | RootStep::Proc
            | RootStep::Sysfs
            | RootStep::Cgroup
            | RootStep::RunHost => return Ok(None),
        };
        Ok(Some(tree))
    }
}
