//! The real kernel: each method in the file of its subsystem.

use std::{os::fd::OwnedFd, path::Path};

use super::{
    Access, Child, Entry, Held, InitClone, Kernel, KernelError, MountEntry, MovedNic, Payload, Place,
    PortRoute, Result, Shape, TmpfsUse, Top, Veth, cgroup, device, feature, fuse, image, inside, mount,
    netlink, nft, oom, process,
    staging::{self, Staging},
    storage, sysctl, userns,
};
use crate::model::{
    device::{DeviceRule, Driver},
    filter::{HostFilter, TenantFilter},
    ids::UidRange,
    image::ErofsImage,
    name::TenantName,
    net::LinkName,
};

/// The running Linux kernel. Its methods need root and a process with a single thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux {
    /// What an init is to have of `oom_score_adj`, where that is not what this process has.
    oom_score_adj: Option<i32>,
}

impl Linux {
    /// The kernel this process runs on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The kernel for a supervisor: this process is among the last that are ended where memory is used up, and an init that
    /// it spawns is to it what it was itself. Where the host does not let it, both stay what they were.
    pub fn of_supervisor() -> Self {
        match oom::spare_this_process() {
            Ok(oom_score_adj) => Self { oom_score_adj },
            Err(error) => {
                log::warn!("cannot tell the OOM killer to spare this supervisor: {error}");
                Self::default()
            }
        }
    }

    /// Moves this process into a directory of a cgroup v1 controller.
    ///
    /// # Errors
    /// The directory does not exist, or its hierarchy refuses.
    pub fn cgroup_enter_v1(&self, dir: &Path) -> Result<()> {
        cgroup::enter_v1(dir)
    }

    /// Checks, by doing it once, that a directory lies on a filesystem that can hold tenants: one that
    /// carries an idmapped, writable overlay upper. `attach` as in [`Kernel::layer_attach`]: whether layers must be attached.
    ///
    /// # Errors
    /// The step that this filesystem refuses.
    pub fn check_storage(&self, dir: &Path, attach: bool) -> Result<()> {
        let uids = UidRange::try_from(*UidRange::BASES.start())
            .map_err(|error| KernelError::new("check", dir.display(), std::io::Error::other(error)))?;
        let user = userns::user_namespace(uids, 1)?;
        storage::check(dir, &user, uids.base(), attach)
    }
}

impl Kernel for Linux {
    type Fd = OwnedFd;
    type Staging = Staging;

    fn cgroup_create(&self, dir: &Path) -> Result<()> {
        cgroup::create(dir)
    }

    fn cgroup_set(&self, dir: &Path, file: &str, value: &str) -> Result<()> {
        cgroup::set(dir, file, value)
    }

    fn cgroup_delegate(&self, dir: &Path, owner: u32) -> Result<()> {
        cgroup::delegate(dir, owner)
    }

    fn cgroup_hand_down(&self, dir: &Path, controllers: &[&str]) -> Result<()> {
        cgroup::hand_down(dir, controllers)
    }

    fn cgroup_enter(&self, dir: &Path) -> Result<()> {
        cgroup::enter(dir)
    }

    fn cgroup_kill(&self, dir: &Path) -> Result<()> {
        cgroup::kill(dir)
    }

    fn cgroup_remove(&self, dir: &Path) -> Result<()> {
        cgroup::remove(dir)
    }

    fn device_control(&self, dir: &Path, allowed: &[DeviceRule]) -> Result<()> {
        device::control(dir, allowed)
    }

    fn sysctl_control(&self, dir: &Path, refused: &[&str]) -> Result<()> {
        sysctl::control(dir, refused)
    }

    fn user_namespace(&self, uids: UidRange, most: u32) -> Result<OwnedFd> {
        userns::user_namespace(uids, most)
    }

    fn image_mount(&self, image: &ErofsImage, at: &Path) -> Result<()> {
        image::mount(image, at)
    }

    fn staging(&self, place: &Path) -> Result<Staging> {
        Staging::enter(place)
    }

    fn layer_attach(&self, staging: &Staging, tree: &OwnedFd) -> Result<()> {
        staging.attach_layer(tree)
    }

    fn tree_clone(&self, path: &Path, user: &OwnedFd, access: Access) -> Result<OwnedFd> {
        mount::tree_clone(path, user, access)
    }

    fn bind_clone(&self, source: &Path, user: &OwnedFd, access: Access) -> Result<OwnedFd> {
        mount::bind_clone(source, user, access)
    }

    fn tree_subdir(&self, tree: &OwnedFd, dir: &str) -> Result<OwnedFd> {
        mount::tree_subdir(tree, dir)
    }

    fn tree_path(&self, tree: &OwnedFd, path: &str) -> Result<(OwnedFd, Shape)> {
        mount::tree_path(tree, path)
    }

    fn overlay(
        &self,
        lower: &OwnedFd,
        dir: Option<&str>,
        top: Top<'_, OwnedFd>,
        owner: u32,
        source: &str,
    ) -> Result<OwnedFd> {
        mount::overlay(lower, dir, top, owner, source)
    }

    fn tmpfs(&self, usage: TmpfsUse, size: u64, mode: u32, owner: u32) -> Result<OwnedFd> {
        mount::tmpfs(usage, size, mode, owner).map_err(|error| KernelError::new("mount", "tmpfs", error))
    }

    fn tmpfs_entry(&self, tree: &OwnedFd, path: &str, entry: Entry<'_>, owner: u32) -> Result<()> {
        mount::tmpfs_entry(tree, path, entry, owner)
    }

    fn device_open(&self, tree: &OwnedFd, path: &str, driver: Driver) -> Result<()> {
        feature::open_device(tree, path, driver)
    }

    fn driver_try(&self, driver: Driver) -> Result<()> {
        feature::try_driver(driver)
    }

    fn resource_files(&self, owner: u32) -> Result<(OwnedFd, OwnedFd)> {
        fuse::mount(owner)
    }

    fn seal(&self, tree: &OwnedFd) -> Result<()> {
        mount::seal(tree)
    }

    fn spawn(&self, clone: &InitClone<'_, OwnedFd>) -> Result<Held<OwnedFd>> {
        process::spawn(clone, self.oom_score_adj)
    }

    fn root_attach(&self, staging: &Staging, root: &OwnedFd) -> Result<()> {
        staging.attach_root(root)
    }

    fn mount_attach(
        &self,
        _staging: &Staging,
        root: &OwnedFd,
        at: &Path,
        place: Place,
        tree: &OwnedFd,
    ) -> Result<()> {
        staging::attach(root, at, place, tree)
    }

    fn root_show(&self, _staging: &Staging, root: &OwnedFd) -> Result<()> {
        staging::show_root(root)
    }

    fn mount_peer(&self, _staging: &Staging, root: &OwnedFd, at: Option<&str>) -> Result<OwnedFd> {
        staging::peer(root, at)
    }

    fn mount_withdraw(&self, _staging: &Staging, root: &OwnedFd, at: &str) -> Result<()> {
        staging::withdraw(root, at)
    }

    fn mounts_reveal(&self, staging: &Staging, trees: &[&OwnedFd]) -> Result<()> {
        staging.reveal(trees)
    }

    fn mounts(&self, pid: i32) -> Result<Vec<MountEntry>> {
        inside::mounts(pid)
    }

    fn mount_copy(&self, pid: i32, mount: &MountEntry) -> Result<OwnedFd> {
        inside::copy(pid, mount)
    }

    fn mount_detach(&self, pid: i32, mount: &MountEntry) -> Result<()> {
        inside::detach(pid, mount)
    }

    fn staging_leave(&self, staging: Staging) -> Result<OwnedFd> {
        staging.leave()
    }

    fn root_ready(&self, held: &Held<OwnedFd>) -> Result<()> {
        process::root_ready(held)
    }

    fn assembled(&self, held: &mut Held<OwnedFd>) -> Result<()> {
        process::assembled(held)
    }

    fn check_alive(&self, held: &mut Held<OwnedFd>) -> Result<()> {
        process::check_alive(held)
    }

    fn release(&self, held: Held<OwnedFd>, program: &str, terminals: usize) -> Result<Payload<OwnedFd>> {
        process::release(held, program, terminals)
    }

    fn process_kill(&self, pid: i32) -> Result<()> {
        process::kill(pid)
    }

    fn veth_create(&self, veth: &Veth<'_>) -> Result<()> {
        netlink::veth_create(veth)
    }

    fn port_route(&self, port: &PortRoute<'_>) -> Result<()> {
        netlink::port_route(port)
    }

    fn forwarding_enable(&self, link: &str, ipv6: Option<&Path>) -> Result<()> {
        netlink::forwarding_enable(link, ipv6)
    }

    fn child_create(&self, child: &Child<'_>) -> Result<()> {
        netlink::child_create(child)
    }

    fn link_delete(&self, link: &str, group: u32) -> Result<()> {
        netlink::link_delete(link, group)
    }

    fn network_namespace(&self, pid: i32) -> Result<OwnedFd> {
        let path = format!("/proc/{pid}/ns/net");
        let file = std::fs::File::open(&path).map_err(|error| KernelError::new("open", path, error))?;
        Ok(file.into())
    }

    fn nic_claim(&self, claims: &Path, tenant: &TenantName, nic: &LinkName, index: u32) -> Result<()> {
        netlink::nic_claim(claims, tenant, nic, index)
    }

    fn nic_move(&self, claims: &Path, nic: &MovedNic<'_>, namespace: &OwnedFd) -> Result<()> {
        netlink::nic_move(claims, nic, namespace)
    }

    fn claimed_namespaces(&self, claims: &Path, tenant: &TenantName, cgroup: &Path) -> Result<Vec<OwnedFd>> {
        netlink::claimed_namespaces(claims, tenant, cgroup)
    }

    fn return_nics(&self, claims: &Path, tenant: &TenantName, namespaces: &[&OwnedFd]) -> Result<()> {
        netlink::return_nics(claims, tenant, namespaces)
    }

    fn filter_add(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<Option<OwnedFd>> {
        nft::add(host, tenant)
    }

    fn filter_remove(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<()> {
        nft::Remover::default().forget(host, &tenant.tenant)
    }
}
