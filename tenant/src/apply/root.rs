//! A tenant's root: its mounts are made detached, and put together over an init that waits for them.

use std::{cell::RefCell, collections::VecDeque, io};

use super::base::{self, Base, EMPTY};
use crate::{
    kernel::{
        Access, Entry, Kernel, KernelError, Node, OwnFilesystem, Place, Result, Shape, TmpfsUse, Upper,
    },
    model::{limits::ByteSize, path::TenantPath},
    plan::{Plan, RootStep, swap},
};

/// Room for the skeleton: directories and links only, no file is ever written there.
const SKELETON: ByteSize = ByteSize(1 << 20);
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
    /// The device of its resource files, if it has such.
    pub(super) files: Option<K::Fd>,
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
    // Not sooner: an image is mounted for all. Not later: a copy belongs to the namespace it was made in.
    let image = base::mounted(kernel, &plan.image)?;
    let staging = kernel.staging(&plan.dirs)?;
    let owner = plan.uids.base();
    let attach_to = plan.attach_layers.then_some(&staging);
    let source = swap::source_name(&plan.image_name, &plan.digest);
    // Before anything is attached, which covers these directories.
    let dirs = kernel.tree_clone(&plan.dirs, user, Access::ReadWrite)?;
    let binds = plan.root.iter().filter_map(|step| bind(kernel, user, step)).collect::<Result<_>>()?;
    let base = Base::new(kernel, image, user, owner, source, attach_to)?;
    base.attach(&dirs)?;
    let trees = Trees { kernel, owner, base, dirs, binds: RefCell::new(binds), files: RefCell::default() };
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
            _ => (trees.mount(step)?, Place::Directory { owner }),
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
    let Trees { base, dirs, files, .. } = trees;
    let layers = base.into_layers().into_iter().chain([dirs]).collect();
    Ok(Parts { staging, mounts, layers, files: files.into_inner() })
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
    let Parts { staging, mounts, layers, .. } = parts;
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
    let attach = |(at, place, tree): (String, Place, K::Fd)| {
        kernel.mount_attach(&staging, &root, at.as_ref(), place, &tree)
    };
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
    /// The uid of the tenant's root.
    owner: u32,
    base: Base<'a, K>,
    dirs: K::Fd,
    /// The host's directories, in the order of the plan.
    binds: RefCell<VecDeque<K::Fd>>,
    /// What comes with the resource files.
    files: RefCell<Option<K::Fd>>,
}

impl<K: Kernel> Trees<'_, K> {
    /// A detached copy of a listed path of the image.
    fn find(&self, plan: &Plan, at: &TenantPath) -> Result<(K::Fd, Shape)> {
        self.base.path(at.relative()).map_err(|error| KernelError {
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
        self.kernel.tmpfs_entry(skeleton, at.relative(), place, self.owner)?;
        Ok(tree)
    }

    /// The mount of one step; none for those that mount nothing.
    fn mount(&self, step: &RootStep) -> Result<Option<Tree<K::Fd>>> {
        let owner = self.owner;
        let upper = |store| Upper { tree: &self.dirs, store };
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
            RootStep::Shared { at } => match self.base.shared(Some(at.relative())) {
                Ok(tree) => tree,
                Err(error) if step.is_optional() && error.source.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
            RootStep::Overlay { at, store } => self.base.writable(Some(at.relative()), upper(store))?,
            RootStep::Whole { store } => self.base.writable(None, upper(store))?,
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
            RootStep::Limits => {
                let (tree, device) = self.kernel.resource_files(owner)?;
                self.files.replace(Some(device));
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
