//! The kernel, as narrow as a tenant needs it.
//!
//! [`Kernel`] has one method for each thing [`crate::apply`] asks for. [`Linux`] does it, [`Fake`]
//! keeps a table of what would exist and a record of what it was told, and can fail at any step. `raw/` holds the only
//! unsafe code. Nothing here knows of plans.
//!
//! | file | what it handles |
//! |---|---|
//! | `arguments`, `error` | what methods are given and return; why they fail |
//! | `linux`, `fake/` | the two kernels |
//! | `process`, `child`, `userns`, `gate` | init: its user namespace, its clone, the socket to it until it executes |
//! | `mount`, `staging`, `source`, `storage` | detached mounts; the namespace in which a root is put together |
//! | `inside` | the mounts of a tenant that is running |
//! | `image`, `signature`, `program` | erofs images; who signed an image; programs that do part of the work |
//! | `cgroup`, `device`, `sysctl`, `packets`, `bpf` | cgroups, and the programs that guard them |
//! | `stand_in` | what takes packets for a tenant that is not there |
//! | `netlink/`, `nft/` | interfaces; the packet filter |
//! | `fuse` | the files in which a tenant sees its limits |
//! | `feature` | drivers of the host |
//! | `etc`, `open`, `pty`, `apart` | a tenant's own files and terminals; work in other namespaces |
//! | `image_error`, `place`, `driver` | faults of which more is known than the kernel's error |

mod apart;
mod arguments;
mod bpf;
mod cgroup;
mod child;
mod device;
mod driver;
mod error;
pub mod etc;
mod fake;
pub mod feature;
pub mod fuse;
pub(crate) mod gate;
pub mod image;
mod image_error;
mod inside;
mod linux;
mod mount;
pub(crate) mod netlink;
pub mod nft;
mod oom;
pub mod packets;
mod place;
mod process;
mod program;
pub mod pty;
pub mod raw;
pub mod signature;
pub mod source;
pub mod staging;
pub mod stand_in;
pub mod storage;
mod sysctl;
mod userns;

use std::path::Path;

pub use arguments::{
    Access, Child, ChildKind, Entry, Held, InitClone, InitProgram, Interface, Kept, MountEntry, MovedNic,
    Node, OwnFilesystem, Payload, Place, PortRoute, Shape, TmpfsUse, Top, Upper, Veth,
};
pub use cgroup::wait_for_events;
pub use error::{Cause, KernelError, Result};
pub use fake::{Fake, FakeFd, Table};
pub(crate) use filetree::openat2;
pub use linux::Linux;

pub use netlink::{LinkError, forwarding6_release, links_of_group, try_kinds};

use crate::model::{
    device::{DeviceRule, Driver},
    filter::{HostFilter, TenantFilter},
    ids::UidRange,
    image::ErofsImage,
    name::TenantName,
    net::LinkName,
};

/// What starting and stopping a tenant asks of the kernel.
///
/// There are no default bodies: a kernel that forgets a method does not compile. Every `*_remove`,
/// `*_delete` and `*_kill` succeeds when the thing is already gone.
pub trait Kernel {
    /// An open file: a namespace, a mount, a process. Closed when dropped.
    type Fd;
    /// A mount namespace in which a root is put together, with this process in it. Dropping it moves the process
    /// back to where it was.
    type Staging;

    /// Makes a cgroup v2 directory; one that exists already is fine.
    fn cgroup_create(&self, dir: &Path) -> Result<()>;
    /// Writes a value to a file of a cgroup, e.g. `cgroup.max.descendants`.
    fn cgroup_set(&self, dir: &Path, file: &str, value: &str) -> Result<()>;
    /// Lets a host uid make cgroups below a directory, see `Documentation/admin-guide/cgroup-v2.rst`,
    /// "Model of Delegation".
    fn cgroup_delegate(&self, dir: &Path, owner: u32) -> Result<()>;
    /// Enables, for what is below a directory, those of some controllers that it has. Where processes of
    /// others sit in the directory itself, none is.
    fn cgroup_hand_down(&self, dir: &Path, controllers: &[&str]) -> Result<()>;
    /// Moves this process into a cgroup.
    fn cgroup_enter(&self, dir: &Path) -> Result<()>;
    /// Kills every process in a cgroup and below, and waits until they are gone.
    fn cgroup_kill(&self, dir: &Path) -> Result<()>;
    /// Removes a cgroup and all below it.
    fn cgroup_remove(&self, dir: &Path) -> Result<()>;
    /// Lets the processes of a cgroup and below use only the device nodes that the rules allow. Goes with
    /// the cgroup.
    fn device_control(&self, dir: &Path, allowed: &[DeviceRule]) -> Result<()>;
    /// Refuses to the processes of a cgroup and below every write of these files, relative to `/proc/sys`. Goes with
    /// the cgroup.
    fn sysctl_control(&self, dir: &Path, refused: &[&str]) -> Result<()>;

    /// Makes a user namespace in which 0 to 65,535 are a range of host ids, owned by the range's first
    /// uid so that its pools (inotify, …) are the tenant's own. In it and below at most `most` namespaces of each kind
    /// can be made.
    fn user_namespace(&self, uids: UidRange, most: u32) -> Result<Self::Fd>;

    /// Mounts an erofs image at a directory unless it is mounted there already.
    fn image_mount(&self, image: &ErofsImage, at: &Path) -> Result<()>;
    /// Moves this process into a mount namespace of its own that belongs to the host's user namespace. `place` is a
    /// directory that is covered in there once something is attached.
    fn staging(&self, place: &Path) -> Result<Self::Staging>;
    /// Attaches a detached tree in there, out of the way; it stays usable by its descriptor. Before Linux 6.15
    /// overlayfs takes no layer that is mounted nowhere, and of no detached tree a part can be copied.
    fn layer_attach(&self, staging: &Self::Staging, tree: &Self::Fd) -> Result<()>;
    /// A detached copy of the mount at `path`, nodev, its owners shifted by `user`'s map, see
    /// mount_setattr(2).
    fn tree_clone(&self, path: &Path, user: &Self::Fd, access: Access) -> Result<Self::Fd>;
    /// A detached copy of the mount at a directory of the host that a tenant is given: as [`Self::tree_clone`], and
    /// nosuid. See [`source::open`] for those that are refused.
    fn bind_clone(&self, source: &Path, user: &Self::Fd, access: Access) -> Result<Self::Fd>;
    /// A detached copy of a directory of a detached tree.
    fn tree_subdir(&self, tree: &Self::Fd, dir: &str) -> Result<Self::Fd>;
    /// A detached copy of a directory or plain file of a detached tree. Links are followed as if the tree
    /// were the root.
    fn tree_path(&self, tree: &Self::Fd, path: &str) -> Result<(Self::Fd, Shape)>;
    /// A detached overlay over a directory of a tree (`None` is the tree itself). `owner` is the host uid that
    /// makes files in the upper, `source` what mountinfo shows as its source.
    fn overlay(
        &self,
        lower: &Self::Fd,
        dir: Option<&str>,
        top: Top<'_, Self::Fd>,
        owner: u32,
        source: &str,
    ) -> Result<Self::Fd>;
    /// A detached tmpfs of at most `size` bytes whose root belongs to `owner`.
    fn tmpfs(&self, usage: TmpfsUse, size: u64, mode: u32, owner: u32) -> Result<Self::Fd>;
    /// Makes an entry in a detached tmpfs; it belongs to `owner`.
    fn tmpfs_entry(&self, tree: &Self::Fd, path: &str, entry: Entry<'_>, owner: u32) -> Result<()>;
    /// Opens a device node in a detached tmpfs once: whether there is anything behind it.
    fn device_open(&self, tree: &Self::Fd, path: &str, driver: Driver) -> Result<()>;
    /// Uses a driver that no device node is behind once: whether this host has it.
    fn driver_try(&self, driver: Driver) -> Result<()>;
    /// A detached, read-only filesystem with the files of [`crate::model::resource_file::ResourceFile`], which belong to `owner`.
    /// They say what is answered at the device that comes with it, see [`fuse`].
    fn resource_files(&self, owner: u32) -> Result<(Self::Fd, Self::Fd)>;
    /// Makes a detached mount read-only.
    fn seal(&self, tree: &Self::Fd) -> Result<()>;

    /// Clones init with every namespace; it makes its own filesystems and waits for its root.
    fn spawn(&self, clone: &InitClone<'_, Self::Fd>) -> Result<Held<Self::Fd>>;
    /// Attaches a root in there, out of the way: what is mounted in it before [`Self::root_show`] can never be unmounted
    /// inside.
    fn root_attach(&self, staging: &Self::Staging, root: &Self::Fd) -> Result<()>;
    /// Attaches a detached mount below a root; `at` is relative to it. No flag of the mount can be taken off inside.
    fn mount_attach(
        &self,
        staging: &Self::Staging,
        root: &Self::Fd,
        at: &Path,
        place: Place,
        tree: &Self::Fd,
    ) -> Result<()>;
    /// Lets a root appear over `/` in there, and by propagation in the mount namespace of every init cloned from there.
    fn root_show(&self, staging: &Self::Staging, root: &Self::Fd) -> Result<()>;
    /// A detached peer of the mount at `at` of a root in there, or of the root itself, without what is mounted in it.
    /// What is mounted on it once it is attached again appears in every tenant that the root appeared in.
    fn mount_peer(&self, staging: &Self::Staging, root: &Self::Fd, at: Option<&str>) -> Result<Self::Fd>;
    /// Takes a mount away that was attached below a root, and with it those that appeared by it.
    fn mount_withdraw(&self, staging: &Self::Staging, root: &Self::Fd, at: &str) -> Result<()>;
    /// Takes away what covers mounts that were attached in there, of all of them at one moment, wherever they appeared.
    /// What has mounts of its own in it stays.
    fn mounts_reveal(&self, staging: &Self::Staging, trees: &[&Self::Fd]) -> Result<()>;
    /// The mounts that a process sees, of those below its root.
    fn mounts(&self, pid: i32) -> Result<Vec<MountEntry>>;
    /// A detached copy of a mount that a process sees, and of all below it.
    fn mount_copy(&self, pid: i32, mount: &MountEntry) -> Result<Self::Fd>;
    /// Detaches a mount that a process sees, in its mount namespace and by propagation in others. What is open in it
    /// stays open. An error where something else is there by now.
    fn mount_detach(&self, pid: i32, mount: &MountEntry) -> Result<()>;
    /// Takes this process back to its own mount namespace. The other one lives on as long as its descriptor, which is
    /// returned.
    fn staging_leave(&self, staging: Self::Staging) -> Result<Self::Fd>;
    /// Tells a held init that its root is whole.
    fn root_ready(&self, held: &Held<Self::Fd>) -> Result<()>;
    /// Waits until a held init has moved into its root and handed over its terminals. Answers meanwhile what it asks of
    /// [`Held::files`].
    fn assembled(&self, held: &mut Held<Self::Fd>) -> Result<()>;
    /// An error if a held init has failed or ended by now, nothing as long as it lives: what failed outside may
    /// have failed because of that. Does not wait.
    fn check_alive(&self, held: &mut Held<Self::Fd>) -> Result<()>;
    /// Lets a held init configure its interfaces and execute `program`; returns when it has. It has handed over as many
    /// terminals as `terminals`, and perhaps a notify socket.
    fn release(&self, held: Held<Self::Fd>, program: &str, terminals: usize) -> Result<Payload<Self::Fd>>;
    /// Kills a held init and waits for it.
    fn process_kill(&self, pid: i32) -> Result<()>;

    /// Makes a veth pair, host end up.
    fn veth_create(&self, veth: &Veth<'_>) -> Result<()>;
    /// Routes a tenant's addresses to its port, and gives the host its own on it.
    fn port_route(&self, port: &PortRoute<'_>) -> Result<()>;
    /// Lets packets that come in on an interface be forwarded. IPv6 is forwarded by the whole host or not at all: what
    /// it was before is noted in the file `ipv6`, if it is to be.
    fn forwarding_enable(&self, link: &str, ipv6: Option<&Path>) -> Result<()>;
    /// Makes an interface in a tenant that is the child of a NIC of the host. It goes with the tenant.
    fn child_create(&self, child: &Child<'_>) -> Result<()>;
    /// Removes an interface of an interface group, and what hangs on it; one of another group is let be.
    fn link_delete(&self, link: &str, group: u32) -> Result<()>;

    /// Opens the network namespace of a process. A virtual NIC that has moved there outlives the processes
    /// in it for as long as this is open.
    fn network_namespace(&self, pid: i32) -> Result<Self::Fd>;
    /// Claims a NIC of the host for a tenant, see [`crate::files::claim`]; `index` is the one it will have inside.
    fn nic_claim(&self, claims: &Path, tenant: &TenantName, nic: &LinkName, index: u32) -> Result<()>;
    /// Moves a claimed NIC into a network namespace.
    fn nic_move(&self, claims: &Path, nic: &MovedNic<'_>, namespace: &Self::Fd) -> Result<()>;
    /// Opens the network namespaces of every process in a cgroup and below, if the tenant has claims.
    fn claimed_namespaces(&self, claims: &Path, tenant: &TenantName, cgroup: &Path) -> Result<Vec<Self::Fd>>;
    /// Brings every NIC that a tenant has claimed out of these namespaces, as it was before, and gives up
    /// the claims. One that is on the host already is repaired; one that is gone is let go.
    fn return_nics(&self, claims: &Path, tenant: &TenantName, namespaces: &[&Self::Fd]) -> Result<()>;

    /// Puts a tenant into the packet filter, whose rules are loaded first where they are missing. To close the answer
    /// may take long.
    fn filter_add(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<Option<Self::Fd>>;
    /// Takes a tenant out of the packet filter whose start has failed.
    fn filter_remove(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<()>;
}
