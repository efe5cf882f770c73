//! The kernel, as narrow as a tenant needs it.
//!
//! [`Kernel`] has one method for each thing [`crate::apply`] asks for. [`Linux`] does it, [`Fake`]
//! keeps a table of what would exist and can fail at any step. `raw/` holds the only unsafe code.

mod apart;
mod bpf;
mod cgroup;
mod child;
mod device;
pub mod etc;
mod fake;
pub mod feature;
pub(crate) mod gate;
pub mod image;
mod linux;
mod mount;
pub(crate) mod netlink;
pub mod nft;
mod open;
mod process;
mod program;
pub mod pty;
pub mod raw;
pub mod source;
pub mod staging;
mod sysctl;
mod userns;

use std::{borrow::Cow, fmt, io, net::IpAddr, os::fd::OwnedFd, path::Path};

pub use fake::{Fake, FakeFd, Table};
pub use linux::Linux;

pub use netlink::{LinkError, forwarding6_release, links_of_group, try_kinds};
pub use open::openat2;

use crate::{
    config::MacvlanMode,
    model::{
        device::{DeviceRule, Driver},
        filter::{HostFilter, TenantFilter},
        ids::UidRange,
        image::ErofsImage,
        name::TenantName,
        net::{Cidr, LinkName, Mac, Route},
    },
};

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}")]
pub struct KernelError {
    /// What was asked for, e.g. `create cgroup`.
    pub operation: Cow<'static, str>,
    /// What it was asked of, e.g. a path.
    pub object: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl KernelError {
    /// An error of an operation on an object.
    pub fn new(
        operation: impl Into<Cow<'static, str>>,
        object: impl std::fmt::Display,
        source: impl Into<io::Error>,
    ) -> Self {
        Self { operation: operation.into(), object: object.to_string(), source: source.into() }
    }
}

/// What every request returns.
pub type Result<T> = std::result::Result<T, KernelError>;

/// Read-only or writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be written through it.
    ReadOnly,
    /// Writable as far as the files' modes go.
    ReadWrite,
}

impl Access {
    /// Of something that is writable or not.
    pub fn of(writable: bool) -> Self {
        if writable { Self::ReadWrite } else { Self::ReadOnly }
    }
}

/// What a tmpfs is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TmpfsUse {
    /// Files of the tenant: nosuid, nodev.
    Files,
    /// Device nodes made by the host: nosuid, noexec.
    Devices,
}

/// The two layers that make an overlay writable: paths relative to a mounted tree.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a, Fd> {
    /// Tree that holds both; overlayfs demands that they lie on one mount.
    pub tree: &'a Fd,
    /// Directory in it with `upper` and `work`.
    pub store: &'a str,
}

/// What lies over the lower layer of an overlay, and gives the merged root its owner and mode.
#[derive(Clone, Copy, Debug)]
pub enum Top<'a, Fd> {
    /// Nothing but an empty directory: the overlay is read-only.
    Empty(&'a Fd),
    /// What makes it writable.
    Upper(Upper<'a, Fd>),
}

/// An entry to be made in a tmpfs.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A directory with its mode bits.
    Dir(u32),
    /// A symbolic link and its target.
    Link(&'a str),
    /// An empty file to mount one on, mode 0444.
    File,
    /// A character device, mode 0666: major and minor number.
    Device(u32, u32),
    /// A file with these contents that its owner may read, mode 0400.
    Secret(&'a [u8]),
    /// Something that nobody may open, mode 0000.
    Inaccessible(Node),
}

/// A type of file, see inode(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A FIFO.
    Fifo,
    /// A socket that nobody listens at.
    Socket,
    /// A character device that does not exist.
    Character,
    /// A block device that does not exist.
    Block,
}

/// What a detached copy of a part of a tree has at its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A directory.
    Dir,
    /// A plain file.
    File,
}

/// Where a mount is attached below a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What is there already: a directory, or a file.
    Made,
    /// A directory. Missing ones are made, and belong to `owner`; a link on the way is refused.
    Directory {
        /// The host uid and gid of what is made.
        owner: u32,
    },
}

/// A filesystem that belongs to namespaces of init's: only init can make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnFilesystem {
    /// devpts(5), an instance of its own.
    Devpts {
        /// Most pseudoterminals.
        max: u32,
    },
    /// proc(5).
    Proc,
    /// sysfs(5), read-only.
    Sysfs,
    /// cgroup2, see cgroups(7).
    Cgroup,
}

/// What init does from its root on until it executes. It is displayed as that, one line for each thing.
pub trait InitProgram: fmt::Display {
    /// Runs it, in init. `gate` is init's end of the socket to its supervisor.
    fn run(&self, gate: OwnedFd) -> !;
}

/// How init is cloned.
#[derive(Clone, Copy)]
pub struct InitClone<'a, Fd> {
    /// The cgroup it is born in.
    pub cgroup: &'a Path,
    /// The user namespace that all its other namespaces belong to.
    pub user: &'a Fd,
    /// Whether its clocks begin at zero, see time_namespaces(7).
    pub time_namespace: bool,
    /// The filesystems that it makes of its own namespaces, in this order.
    pub own: &'a [OwnFilesystem],
    /// What it does then.
    pub program: &'a dyn InitProgram,
}

/// A tenant's init, in its namespaces, waiting for its network before it executes.
#[derive(Debug)]
pub struct Held<Fd> {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// pidfd_open(2) of it.
    pub pidfd: Fd,
    /// The socket it waits on.
    pub gate: Fd,
    /// The filesystems of its own namespaces, detached.
    pub own: Vec<Fd>,
    /// The terminals and the notify socket that it has handed over, see [`Kernel::assembled`].
    pub handed: Vec<Fd>,
}

/// A tenant's init that has been executed.
#[derive(Debug)]
pub struct Payload<Fd> {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// pidfd_open(2) of it.
    pub pidfd: Fd,
    /// Masters of its pseudoterminals: the console, then tty1, tty2, …
    pub terminals: Vec<Fd>,
    /// The datagram socket that init reports to, bound inside at `/run/host/notify`, with
    /// `SO_PASSCRED` set.
    pub notify: Option<Fd>,
    /// Its network namespace, if NICs of the host are in it.
    pub network: Option<Fd>,
    /// What its root was put together from. Letting go of it waits for the kernel's readers of mounts, which need not
    /// be before it runs.
    pub remains: Vec<Fd>,
}

/// The host end of a veth pair, and its peer.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// Name of the host end.
    pub host_name: &'a str,
    /// Readable name of the host end.
    pub altname: &'a str,
    /// Hardware address of the host end.
    pub host_mac: [u8; 6],
    /// Interface group of the host end.
    pub group: u32,
    /// The bridge that the host end is a port of.
    pub bridge: Option<&'a str>,
    /// Name of the peer.
    pub name: &'a str,
    /// Hardware address of the peer.
    pub mac: [u8; 6],
    /// MTU of the peer, bytes; none is the bridge's, or 1500.
    pub mtu: Option<u32>,
    /// Process in whose network namespace the peer is born.
    pub pid: i32,
}

/// What the host routes to a tenant over one of its ports.
#[derive(Clone, Copy, Debug)]
pub struct PortRoute<'a> {
    /// The host end.
    pub link: &'a str,
    /// Addresses of the host on it: /32 or /128, valid at once.
    pub gateways: &'a [IpAddr],
    /// Addresses that are routed to it.
    pub addresses: &'a [Cidr],
    /// Hardware address of the peer: a permanent neighbour for each address.
    pub mac: Option<[u8; 6]>,
}

/// An interface of a tenant, as it is configured inside.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// More names.
    pub altnames: &'a [String],
    /// Its addresses.
    pub addresses: &'a [Cidr],
    /// Its default gateways, at most one of each family.
    pub gateways: &'a [IpAddr],
    /// Metric of its default routes; 0 is what the kernel takes by itself.
    pub metric: u32,
    /// Routes besides.
    pub routes: &'a [Route],
    /// Hardware address of the host, where that is its only neighbour.
    pub peer: Option<Mac>,
}

/// What is born in a tenant as the child of a NIC of the host.
#[derive(Clone, Copy, Debug)]
pub enum ChildKind {
    /// A macvlan, see ip-link(8).
    Macvlan(MacvlanMode),
    /// A VLAN and its tag, 1 to 4094.
    Vlan(u16),
}

/// A child of a NIC of the host.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// What it is.
    pub kind: ChildKind,
    /// The NIC.
    pub parent: &'a str,
    /// Its name inside.
    pub name: &'a str,
    /// Its hardware address; none is what the kernel gives it.
    pub mac: Option<[u8; 6]>,
    /// Its MTU, bytes; none is the NIC's.
    pub mtu: Option<u32>,
    /// Process in whose network namespace it is born.
    pub pid: i32,
    /// Where the NICs are noted that tenants have: a NIC that is not there may be one of them.
    pub claims: &'a Path,
}

/// A NIC of the host that moves into a tenant.
#[derive(Clone, Copy, Debug)]
pub struct MovedNic<'a> {
    /// Its name on the host.
    pub nic: &'a str,
    /// Its name inside.
    pub name: &'a str,
    /// Its hardware address inside; none is its own.
    pub mac: Option<[u8; 6]>,
    /// Its MTU inside, bytes; none is its own.
    pub mtu: Option<u32>,
}

/// What starting and stopping a tenant asks of the kernel.
///
/// There are no default bodies: a kernel that forgets a method does not compile. Every `*_remove`,
/// `*_delete` and `*_kill` succeeds when the thing is already gone.
pub trait Kernel {
    /// An open file: a namespace, a mount, a process. Closed when dropped.
    type Fd;
    /// A change of the packet filter that is under way. Dropping it waits for its end.
    type Change;
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
    /// uid so that its pools (inotify, …) are the tenant's own.
    fn user_namespace(&self, uids: UidRange) -> Result<Self::Fd>;

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
    /// makes files in the upper.
    fn overlay(
        &self,
        lower: &Self::Fd,
        dir: Option<&str>,
        top: Top<'_, Self::Fd>,
        owner: u32,
    ) -> Result<Self::Fd>;
    /// A detached tmpfs of at most `size` bytes whose root belongs to `owner`.
    fn tmpfs(&self, usage: TmpfsUse, size: u64, mode: u32, owner: u32) -> Result<Self::Fd>;
    /// Makes an entry in a detached tmpfs; it belongs to `owner`.
    fn tmpfs_entry(&self, tree: &Self::Fd, path: &str, entry: Entry<'_>, owner: u32) -> Result<()>;
    /// Opens a device node in a detached tmpfs once: whether there is anything behind it.
    fn device_open(&self, tree: &Self::Fd, path: &str, driver: Driver) -> Result<()>;
    /// Uses a driver that no device node is behind once: whether this host has it.
    fn driver_try(&self, driver: Driver) -> Result<()>;
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
        at: &str,
        place: Place,
        tree: &Self::Fd,
    ) -> Result<()>;
    /// Lets a root appear over `/` in there, and by propagation in the mount namespace of every init cloned from there.
    fn root_show(&self, staging: &Self::Staging, root: &Self::Fd) -> Result<()>;
    /// Takes this process back to its own mount namespace. The other one lives on as long as its descriptor, which is
    /// returned.
    fn staging_leave(&self, staging: Self::Staging) -> Result<Self::Fd>;
    /// Tells a held init that its root is whole.
    fn root_ready(&self, held: &Held<Self::Fd>) -> Result<()>;
    /// Waits until a held init has moved into its root and handed over its terminals.
    fn assembled(&self, held: &mut Held<Self::Fd>) -> Result<()>;
    /// An error if a held init has failed or ended by now, nothing as long as it lives: what failed outside may
    /// have failed because of that. Does not wait.
    fn speaks(&self, held: &mut Held<Self::Fd>) -> Result<()>;
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
    /// the claims. One that is on the host already is put right; one that is gone is let go.
    fn nics_home(&self, claims: &Path, tenant: &TenantName, namespaces: &[&Self::Fd]) -> Result<()>;

    /// Begins to put a tenant into the packet filter, whose rules are loaded first where they are missing.
    fn filter_add(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<Self::Change>;
    /// Begins to take a tenant out of the packet filter.
    fn filter_remove(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<Self::Change>;
    /// Waits until a change of the packet filter is done.
    fn filter_finish(&self, change: Self::Change) -> Result<()>;
}
