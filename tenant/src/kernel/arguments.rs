//! What the kernel is told, and what it answers with.

use std::{
    fmt,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use crate::{
    config::MacvlanMode,
    model::{
        mountinfo::Subtree,
        net::{Cidr, Mac, Route},
    },
};

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

/// What an overlay is made of besides the lower layer.
#[derive(Clone, Copy, Debug)]
pub enum Top<'a, Fd> {
    /// An empty directory beneath it, because overlayfs wants two layers: the overlay is read-only, and its root has
    /// the owner, mode and times of the lower layer's.
    Empty(&'a Fd),
    /// What makes it writable, and gives its root owner, mode and times.
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
    /// Something that no process may open, mode 0000.
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
    /// A socket that no process listens at.
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
    /// The terminals and the notify socket that it has handed over, see [`crate::kernel::Kernel::assembled`].
    pub handed: Vec<Fd>,
    /// The device of its [`crate::kernel::Kernel::resource_files`], if it has such.
    pub files: Option<Fd>,
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
    /// The device of its [`crate::kernel::Kernel::resource_files`], if it has such.
    pub files: Option<Fd>,
    /// Its network namespace, if NICs of the host are in it.
    pub network: Option<Fd>,
    /// What its root was put together from, and by what it was put into the packet filter. Letting go of it waits for the
    /// kernel's readers of mounts and of the filter, which need not be before it runs.
    pub remains: Vec<Fd>,
    /// By what its root can be changed while it is running.
    pub kept: Option<Kept<Fd>>,
}

/// By what the root of a running tenant can be changed.
#[derive(Debug)]
pub struct Kept<Fd> {
    /// Its user namespace.
    pub user: Fd,
    /// Detached peers of the mounts in which other mounts can be exchanged: where each of them is, relative to the root,
    /// which is `""`.
    pub parents: Vec<(String, Fd)>,
}

/// A mount as a process sees it, see proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Its number.
    pub id: u64,
    /// The number of the mount that it is mounted on.
    pub parent: u64,
    /// Where, relative to the process's root; `/` itself is `""`. A tenant may have chosen the name.
    pub at: PathBuf,
    /// What is seen there.
    pub shows: Subtree,
    /// The type of its filesystem.
    pub kind: String,
    /// What it was made from, as who made it says.
    pub source: String,
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
    /// Metric of the routes; 0 is what the kernel takes by itself.
    pub metric: u32,
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
