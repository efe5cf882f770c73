//! A tenant's root: its mounts are made detached, and put together over an init that waits for them.

use std::{
    cell::{OnceCell, RefCell},
    collections::VecDeque,
    io,
};

use crate::{
    kernel::{
        Access, Entry, Kernel, KernelError, Node, OwnFilesystem, Place, Result, Shape, TmpfsUse, Top, Upper,
    },
    model::{ids::UidRange, image::ImageSource, limits::ByteSize, path::TenantPath},
    plan::{Plan, RootStep, swap},
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
    /// Every mount, in the order of the plan.
    mounts: Vec<Mount<K::Fd>>,
    /// What the overlays were made of; they have copies of their own.
    pub(super) layers: Vec<K::Fd>,
}

/// A mount of the root.
struct Mount<Fd> {
    /// Where, relative to the root; none is the root itself.
    at: Option<String>,
    /// What is there before it is attached.
    place: Place,
    /// Whether it can never be unmounted inside.
    is_fixed: bool,
    tree: Tree<Fd>,
}

/// A detached mount.
enum Tree<Fd> {
    /// It is made.
    Made(Fd),
    /// Init makes it, of its own namespaces.
    Own(OwnFilesystem),
}

impl<K: Kernel> Parts<K> {
    /// The filesystems that init makes, in the order of the plan.
    pub(super) fn own(&self) -> Vec<OwnFilesystem> {
        let own = self.mounts.iter().filter_map(|mount| match mount.tree {
            Tree::Own(own) => Some(own),
            Tree::Made(_) => None,
        });
        own.collect()
    }
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
        source: swap::source_name(&plan.image_name, &plan.digest),
        attach_to: plan.attach_layers.then_some(&staging),
    };
    for tree in [&trees.image, &trees.dirs, &trees.empty] {
        trees.attach(tree)?;
    }
    let mut mounts: Vec<Mount<K::Fd>> = Vec::new();
    for step in &plan.root {
        let skeleton = mounts.first().and_then(|mount| match &mount.tree {
            Tree::Made(tree) => Some(tree),
            Tree::Own(_) => None,
        });
        let (tree, place) = match (step, skeleton) {
            (RootStep::Path { at }, Some(skeleton)) => {
                (Some(Tree::Made(trees.show(plan, at, skeleton)?)), Place::Made)
            }
            (RootStep::Present { at }, _) => (trees.find(plan, at).map(|_| None)?, Place::Made),
            _ => (trees.mount(step)?, Place::Directory { owner: plan.uids.base() }),
        };
        let mount = |tree| Mount { at: step.at().map(str::to_owned), place, is_fixed: step.is_fixed(), tree };
        mounts.extend(tree.map(mount));
    }
    // Not sooner: listed paths get their places in it.
    if let (Some(RootStep::Skeleton { .. }), Some(Mount { tree: Tree::Made(skeleton), .. })) =
        (plan.root.first(), mounts.first())
    {
        kernel.seal(skeleton)?;
    }
    let Trees { image, dirs, empty, whole, .. } = trees;
    let layers = [image, dirs, empty].into_iter().chain(whole.into_inner()).collect();
    Ok(Parts { staging, mounts, layers })
}

/// What is left of putting a root together: the mount namespace in which that was done and the layers, of which letting
/// go waits for the kernel's readers of mounts; and peers of the mounts in which others can be exchanged.
type Remains<Fd> = (Vec<Fd>, Vec<(String, Fd)>);

/// Puts the root together, in its order, of the parts and of what init has made: then it is init's root.
pub(super) fn assemble<K: Kernel>(
    kernel: &K,
    plan: &Plan,
    parts: Parts<K>,
    own: Vec<K::Fd>,
) -> Result<Remains<K::Fd>> {
    let Parts { staging, mounts, layers } = parts;
    let missing = |what: &str| KernelError::new("find", what, io::ErrorKind::NotFound);
    let mut own = own.into_iter();
    let (mut root, mut fixed, mut loose) = (None, Vec::new(), Vec::new());
    for Mount { at, place, is_fixed, tree } in mounts {
        let tree = match tree {
            Tree::Made(tree) => tree,
            Tree::Own(own_filesystem) => {
                own.next().ok_or_else(|| missing(&format!("init's {own_filesystem:?}")))?
            }
        };
        match at {
            None => root = Some(tree),
            Some(at) if is_fixed => fixed.push((at, place, tree)),
            Some(at) => loose.push((at, place, tree)),
        }
    }
    let root = root.ok_or_else(|| missing("the root"))?;
    let attach =
        |(at, place, tree): (String, Place, K::Fd)| kernel.mount_attach(&staging, &root, at.as_ref(), place, &tree);
    kernel.root_attach(&staging, &root)?;
    fixed.into_iter().try_for_each(attach)?;
    kernel.root_show(&staging, &root)?;
    loose.into_iter().try_for_each(attach)?;
    let mut parents: Vec<String> =
        swap::swappable(&plan.root).into_iter().map(|mount| mount.parent).collect();
    parents.sort();
    parents.dedup();
    let peer = |at: String| {
        let peer = kernel.mount_peer(&staging, &root, Some(&*at).filter(|at| !at.is_empty()))?;
        Ok((at, peer))
    };
    let parents = parents.into_iter().map(peer).collect::<Result<_>>()?;
    drop(root);
    let staging = kernel.staging_leave(staging)?;
    Ok((layers.into_iter().chain([staging]).collect(), parents))
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
    /// What its overlays are called.
    source: String,
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
                let whole = self.kernel.overlay(&self.image, None, top, self.uids.base(), &self.source)?;
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

    /// The mount of one step; none for those that mount nothing.
    fn mount(&self, step: &RootStep) -> Result<Option<Tree<K::Fd>>> {
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
                match self.kernel.overlay(&self.image, Some(at.relative()), top, owner, &self.source) {
                    Ok(tree) => tree,
                    Err(error) if step.is_optional() && error.source.kind() == io::ErrorKind::NotFound => {
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                }
            }
            RootStep::Overlay { at, store } => {
                self.kernel.overlay(&self.image, Some(at.relative()), upper(store), owner, &self.source)?
            }
            RootStep::Whole { store } => {
                self.kernel.overlay(&self.image, None, upper(store), owner, &self.source)?
            }
            RootStep::Private { store, .. } => self.kernel.tree_subdir(&self.dirs, store)?,
            RootStep::Tmpfs { size, mode, .. } => self.kernel.tmpfs(TmpfsUse::Files, size.0, *mode, owner)?,
            RootStep::Bind { .. } => return Ok(self.binds.borrow_mut().pop_front().map(Tree::Made)),
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
            RootStep::Devpts { max } => return Ok(Some(Tree::Own(OwnFilesystem::Devpts { max: *max }))),
            RootStep::Proc => return Ok(Some(Tree::Own(OwnFilesystem::Proc))),
            RootStep::Sysfs => return Ok(Some(Tree::Own(OwnFilesystem::Sysfs))),
            RootStep::Cgroup => return Ok(Some(Tree::Own(OwnFilesystem::Cgroup))),
            // Shown and looked for above; written by init's program.
            RootStep::Path { .. } | RootStep::Present { .. } | RootStep::RunHost => return Ok(None),
        };
        Ok(Some(Tree::Made(tree)))
    }
}
