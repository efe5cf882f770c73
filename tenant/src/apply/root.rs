//! The detached mounts of a tenant's root.

use std::{
    cell::{OnceCell, RefCell},
    collections::VecDeque,
};

use crate::{
    kernel::{Access, Entry, Kernel, KernelError, Node, Prepared, Result, Shape, TmpfsUse, Top, Upper},
    model::{ids::UidRange, limits::ByteSize, path::TenantPath},
    plan::{ImageSource, Plan, RootStep},
};

/// Room for the skeleton: directories and links only, no file is ever written there.
const SKELETON: ByteSize = ByteSize(1 << 20);
/// The layer of a read-only overlay that gives its root an owner.
const EMPTY: ByteSize = ByteSize(4096);
/// The names that systemd's container interface gives to inaccessible nodes.
const NODES: [(&str, Node); 6] = [
    ("reg", Node::File),
    ("dir", Node::Dir),
    ("fifo", Node::Fifo),
    ("sock", Node::Socket),
    ("chr", Node::Character),
    ("blk", Node::Block),
];
const DEV: ByteSize = ByteSize(64 << 10);

/// What a root is put together from.
pub(super) struct Parts<K: Kernel> {
    /// Where that is done.
    pub(super) staging: K::Staging,
    /// Every mount that does not belong to the tenant's own namespaces, in the order of the plan.
    pub(super) mounts: Vec<Prepared<K::Fd>>,
    /// What the overlays were made of; they have copies of their own.
    pub(super) layers: Vec<K::Fd>,
}

/// Makes the parts of the root. Dropping them takes them away.
pub(super) fn prepare<K: Kernel>(kernel: &K, plan: &Plan, user: &K::Fd) -> Result<Parts<K>> {
    let image = match &plan.image {
        ImageSource::Tree(tree) => tree,
        ImageSource::Erofs { image, mount } => {
            kernel.image_mount(image, mount)?;
            mount
        }
    };
    // Not sooner: an image is mounted for all. Not later: a copy belongs to the namespace it was made in.
    let staging = kernel.staging(&plan.dirs)?;
    let image = kernel.tree_clone(image, user, Access::ReadOnly)?;
    let dirs = kernel.tree_clone(&plan.dirs, user, Access::ReadWrite)?;
    let binds = plan.root.iter().filter_map(|step| bind(kernel, user, step)).collect::<Result<_>>()?;
    let empty = kernel.tmpfs(TmpfsUse::Files, EMPTY.0, 0o755, plan.uids.base())?;
    let trees = Trees {
        kernel,
        uids: plan.uids,
        image,
        dirs,
        binds: RefCell::new(binds),
        empty,
        whole: OnceCell::new(),
        attach_to: plan.attach_layers.then_some(&staging),
    };
    for tree in [&trees.image, &trees.dirs, &trees.empty] {
        trees.attach(tree)?;
    }
    let mut mounts: Vec<Prepared<K::Fd>> = Vec::new();
    for step in &plan.root {
        let tree = match (step, mounts.first()) {
            (RootStep::Path { at }, Some(skeleton)) => Some(trees.show(plan, at, &skeleton.tree)?),
            (RootStep::Present { at }, _) => trees.find(plan, at).map(|_| None)?,
            _ => trees.mount(step)?,
        };
        mounts.extend(tree.map(|tree| Prepared { at: step.at().map(str::to_owned), tree }));
    }
    // Not sooner: listed paths get their places in it.
    if let (Some(RootStep::Skeleton { .. }), Some(skeleton)) = (plan.root.first(), mounts.first()) {
        kernel.seal(&skeleton.tree)?;
    }
    let Trees { image, dirs, empty, whole, .. } = trees;
    let layers = [image, dirs, empty].into_iter().chain(whole.into_inner()).collect();
    Ok(Parts { staging, mounts, layers })
}

/// A directory of the host.
fn bind<K: Kernel>(kernel: &K, user: &K::Fd, step: &RootStep) -> Option<Result<K::Fd>> {
    let RootStep::Bind { source, writable, .. } = step else { return None };
    Some(kernel.bind_clone(source, user, Access::of(*writable)))
}

struct Trees<'a, K: Kernel> {
    kernel: &'a K,
    uids: UidRange,
    image: K::Fd,
    dirs: K::Fd,
    /// The host's directories, in the order of the plan.
    binds: RefCell<VecDeque<K::Fd>>,
    /// An empty directory of the tenant's.
    empty: K::Fd,
    /// One overlay over the whole image, for the paths that are shown of it.
    whole: OnceCell<K::Fd>,
    /// Where the kernel wants layers to be mounted.
    attach_to: Option<&'a K::Staging>,
}

impl<K: Kernel> Trees<'_, K> {
    fn attach(&self, tree: &K::Fd) -> Result<()> {
        self.attach_to.map_or(Ok(()), |staging| self.kernel.layer_attach(staging, tree))
    }

    /// A detached copy of a listed path of the image. Never of the image itself: through an overlay of its
    /// own a tenant shares no inode with others.
    fn find(&self, plan: &Plan, at: &TenantPath) -> Result<(K::Fd, Shape)> {
        let whole = match self.whole.get() {
            Some(whole) => whole,
            None => {
                let top = Top::Empty(&self.empty);
                let whole = self.kernel.overlay(&self.image, None, top, self.uids.base())?;
                self.attach(&whole)?;
                self.whole.get_or_init(|| whole)
            }
        };
        self.kernel.tree_path(whole, at.relative()).map_err(|error| KernelError {
            object: format!("{at} in image {:?}, version {}", plan.image_name.as_str(), plan.digest),
            ..error
        })
    }

    /// A listed path, and its place in the skeleton.
    fn show(&self, plan: &Plan, at: &TenantPath, skeleton: &K::Fd) -> Result<K::Fd> {
        let (tree, shape) = self.find(plan, at)?;
        let place = match shape {
            Shape::Dir => Entry::Dir(0o755),
            Shape::File => Entry::File,
        };
        self.kernel.tmpfs_entry(skeleton, at.relative(), place, self.uids.base())?;
        Ok(tree)
    }

    /// The mount of one step; none for the steps that init takes itself.
    fn mount(&self, step: &RootStep) -> Result<Option<K::Fd>> {
        let owner = self.uids.base();
        let upper = |store| Top::Upper(Upper { tree: &self.dirs, store });
        let tree = match step {
            RootStep::Skeleton { dirs, links } => {
                let tree = self.kernel.tmpfs(TmpfsUse::Files, SKELETON.0, 0o755, owner)?;
                for dir in dirs {
                    self.kernel.tmpfs_entry(&tree, &dir.path, Entry::Dir(dir.mode), owner)?;
                }
                for (name, target) in links {
                    self.kernel.tmpfs_entry(&tree, name, Entry::Link(target), owner)?;
                }
                tree
            }
            RootStep::Shared { at } => {
                let top = Top::Empty(&self.empty);
                self.kernel.overlay(&self.image, Some(at.relative()), top, owner)?
            }
            RootStep::Overlay { at, store } => {
                self.kernel.overlay(&self.image, Some(at.relative()), upper(store), owner)?
            }
            RootStep::Whole { store } => self.kernel.overlay(&self.image, None, upper(store), owner)?,
            RootStep::Private { store, .. } => self.kernel.tree_subdir(&self.dirs, store)?,
            RootStep::Tmpfs { size, mode, .. } => self.kernel.tmpfs(TmpfsUse::Files, size.0, *mode, owner)?,
            RootStep::Bind { .. } => return Ok(self.binds.borrow_mut().pop_front()),
            RootStep::Dev { nodes, links, dirs } => {
                let tree = self.kernel.tmpfs(TmpfsUse::Devices, DEV.0, 0o755, owner)?;
                for dir in dirs {
                    self.kernel.tmpfs_entry(&tree, dir, Entry::Dir(0o755), owner)?;
                }
                for node in nodes {
                    let device = Entry::Device(node.major, node.minor);
                    self.kernel.tmpfs_entry(&tree, node.name, device, owner)?;
                    if let Some(driver) = node.driver {
                        self.kernel.device_open(&tree, node.name, driver)?;
                    }
                }
                for (name, target) in links {
                    self.kernel.tmpfs_entry(&tree, name, Entry::Link(target), owner)?;
                }
                tree
            }
            RootStep::Inaccessible => {
                let tree = self.kernel.tmpfs(TmpfsUse::Files, EMPTY.0, 0o755, owner)?;
                for (name, node) in NODES {
                    self.kernel.tmpfs_entry(&tree, name, Entry::Inaccessible(node), owner)?;
                }
                self.kernel.seal(&tree)?;
                tree
            }
            RootStep::Credentials { files } => {
                // Whole pages, and one for the directory.
                let pages: u64 = files.iter().map(|file| file.size().div_ceil(4096).max(1) as u64).sum();
                let tree = self.kernel.tmpfs(TmpfsUse::Files, (pages + 1) * 4096, 0o500, owner)?;
                for file in files {
                    self.kernel.tmpfs_entry(&tree, file.name(), Entry::Secret(file.contents()), owner)?;
                }
                self.kernel.seal(&tree)?;
                tree
            }
            RootStep::Path { .. }
            | RootStep::Present { .. }
            | RootStep::Devpts { .. }
            | RootStep::Proc
            | RootStep::Sysfs
            | RootStep::Cgroup
            | RootStep::RunHost => return Ok(None),
        };
        Ok(Some(tree))
    }
}
