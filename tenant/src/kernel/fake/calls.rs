//! What the fake kernel does when it is asked.

use std::{io, path::Path};

use super::{
    host::{Fake, FakeFd},
    words::{list, mac_word, own_word, told_of, told_of_child, told_of_veth, with_mac, with_mtu, word},
};
use crate::{
    kernel::{
        Access, Child, Entry, Held, InitClone, Kernel, KernelError, MountEntry, MovedNic, Payload, Place,
        PortRoute, Result, Shape, TmpfsUse, Top, Upper, Veth,
    },
    model::{
        device::{DeviceRule, Driver},
        filter::{HostFilter, TenantFilter},
        ids::UidRange,
        image::ErofsImage,
        name::TenantName,
        net::LinkName,
    },
};

fn process(pid: i32) -> String {
    format!("process {pid}")
}

impl Kernel for Fake {
    type Fd = FakeFd;
    type Staging = FakeFd;

    fn cgroup_create(&self, dir: &Path) -> Result<()> {
        self.call("create cgroup", dir.display(), "")?;
        self.insert(format!("cgroup {}", dir.display()));
        Ok(())
    }

    fn cgroup_set(&self, dir: &Path, file: &str, value: &str) -> Result<()> {
        self.call("write to cgroup", dir.display(), format_args!("{file} = {value}"))?;
        self.require(&format!("cgroup {}", dir.display()), "write to")
    }

    fn cgroup_delegate(&self, dir: &Path, owner: u32) -> Result<()> {
        self.call("delegate cgroup", dir.display(), format_args!("owner {owner}"))?;
        self.require(&format!("cgroup {}", dir.display()), "delegate")
    }

    fn cgroup_hand_down(&self, dir: &Path, controllers: &[&str]) -> Result<()> {
        self.call("hand down the controllers of cgroup", dir.display(), controllers.join(" "))?;
        // The supervisor has left it for a cgroup of its own.
        self.require(&format!("cgroup {}", dir.join("supervisor").display()), "hand down the controllers of")
    }

    fn cgroup_enter(&self, dir: &Path) -> Result<()> {
        self.call("enter cgroup", dir.display(), "")?;
        self.require(&format!("cgroup {}", dir.display()), "enter")
    }

    fn cgroup_kill(&self, dir: &Path) -> Result<()> {
        self.call("kill cgroup", dir.display(), "")?;
        // Everything of one fake host runs in the one payload a test has.
        self.retain(|entry| !entry.starts_with("process "));
        Ok(())
    }

    fn cgroup_remove(&self, dir: &Path) -> Result<()> {
        self.call("remove cgroup", dir.display(), "")?;
        self.remove(&format!("cgroup {}", dir.display()));
        for control in ["device", "sysctl"] {
            self.remove(&format!("{control} control of {}", dir.display()));
        }
        Ok(())
    }

    fn device_control(&self, dir: &Path, allowed: &[DeviceRule]) -> Result<()> {
        self.call("control the devices of", dir.display(), list(allowed))?;
        self.require(&format!("cgroup {}", dir.display()), "control the devices of")?;
        self.insert(format!("device control of {}", dir.display()));
        Ok(())
    }

    fn sysctl_control(&self, dir: &Path, refused: &[&str]) -> Result<()> {
        self.call("control the sysctls of", dir.display(), list(refused))?;
        self.require(&format!("cgroup {}", dir.display()), "control the sysctls of")?;
        self.insert(format!("sysctl control of {}", dir.display()));
        Ok(())
    }

    fn user_namespace(&self, uids: UidRange, most: u32) -> Result<FakeFd> {
        self.call("make a user namespace for", uids, format_args!("at most {most} namespaces of each kind"))?;
        Ok(self.open("user namespace"))
    }

    fn image_mount(&self, image: &ErofsImage, at: &Path) -> Result<()> {
        let checked = image
            .verity
            .as_ref()
            .map_or(String::new(), |tree| format!(", checked against {}", tree.root_hash));
        self.call("mount image", image.file.display(), format_args!("at {}{checked}", at.display()))
    }

    fn staging(&self, place: &Path) -> Result<FakeFd> {
        let what = "a mount namespace for the root filesystem";
        self.call("make", what, format_args!("places over {}", place.display()))?;
        Ok(self.open("staging"))
    }

    fn layer_attach(&self, staging: &FakeFd, tree: &FakeFd) -> Result<()> {
        self.call("attach", "a layer", format_args!("{tree} in {staging}"))
    }

    fn tree_clone(&self, path: &Path, user: &FakeFd, access: Access) -> Result<FakeFd> {
        self.call("clone", path.display(), format_args!("{}, ids of {user}", word(access)))?;
        Ok(self.open(format!("mount of {}", path.display())))
    }

    fn bind_clone(&self, source: &Path, user: &FakeFd, access: Access) -> Result<FakeFd> {
        self.call("bind", source.display(), format_args!("{}, ids of {user}", word(access)))?;
        Ok(self.open(format!("mount of {}", source.display())))
    }

    fn tree_subdir(&self, tree: &FakeFd, dir: &str) -> Result<FakeFd> {
        self.call("clone directory", dir, format_args!("of {tree}"))?;
        Ok(self.open(format!("mount of {dir}")))
    }

    fn tree_path(&self, tree: &FakeFd, path: &str) -> Result<(FakeFd, Shape)> {
        self.call("find", path, format_args!("in {tree}"))?;
        // On the fake host what has a dot in its name is a file.
        let shape = if path.contains('.') { Shape::File } else { Shape::Dir };
        let found = self.open(format!("mount of {path}"));
        self.mounts.name_as(found.number, tree.number);
        Ok((found, shape))
    }

    fn overlay(
        &self,
        lower: &FakeFd,
        dir: Option<&str>,
        top: Top<'_, FakeFd>,
        owner: u32,
        source: &str,
    ) -> Result<FakeFd> {
        let dir = dir.unwrap_or("/");
        let layers = match top {
            Top::Empty(empty) => format!("read-only over {empty}"),
            Top::Upper(Upper { tree, store }) => format!("writable, upper in {store} of {tree}"),
        };
        self.call(
            "mount overlay over",
            dir,
            format_args!("of {lower}, {layers}, owner {owner}, called {source}"),
        )?;
        let overlay = self.open(format!("overlay over {dir}"));
        self.mounts.name(overlay.number, source);
        Ok(overlay)
    }

    fn tmpfs(&self, usage: TmpfsUse, size: u64, mode: u32, owner: u32) -> Result<FakeFd> {
        let usage = match usage {
            TmpfsUse::Files => "files",
            TmpfsUse::Devices => "devices",
        };
        self.call(
            "mount",
            "tmpfs",
            format_args!("for {usage}, {size} bytes, mode {mode:04o}, owner {owner}"),
        )?;
        Ok(self.open("tmpfs"))
    }

    fn tmpfs_entry(&self, tree: &FakeFd, path: &str, entry: Entry<'_>, owner: u32) -> Result<()> {
        self.call("make", path, format_args!("in {tree}, {}, owner {owner}", told_of(entry)))
    }

    fn device_open(&self, tree: &FakeFd, path: &str, driver: Driver) -> Result<()> {
        self.call("open device", path, format_args!("in {tree}, {driver}"))
    }

    fn driver_try(&self, driver: Driver) -> Result<()> {
        self.call("try", driver, "")
    }

    fn resource_files(&self, owner: u32) -> Result<(FakeFd, FakeFd)> {
        self.call("mount", "fuse", format_args!("owner {owner}"))?;
        Ok((self.open("files"), self.open("device of files")))
    }

    fn seal(&self, tree: &FakeFd) -> Result<()> {
        self.call("make read-only", "a tree", tree)
    }

    fn spawn(&self, clone: &InitClone<'_, FakeFd>) -> Result<Held<FakeFd>> {
        let InitClone { cgroup, user, time_namespace, own, program } = *clone;
        let time = if time_namespace { ", clocks from zero" } else { "" };
        let made = list(own.iter().map(own_word));
        self.call("clone", "init", format_args!("in {} and {user}{time}, makes {made}", cgroup.display()))?;
        let pid = 100 + self.number() as i32;
        if !self.lets_init_die() {
            self.make(process(pid), "clone")?;
        }
        let (pidfd, gate) = (self.open("pidfd"), self.open("gate"));
        let own = own.iter().map(|own| self.open(own_word(own))).collect();
        program.to_string().lines().for_each(|line| self.note(format!("  init: {line}")));
        Ok(Held { pid, pidfd, gate, own, handed: Vec::new(), files: None })
    }

    fn root_attach(&self, staging: &FakeFd, root: &FakeFd) -> Result<()> {
        self.call("attach", "the root", format_args!("{root} in {staging}"))
    }

    fn mount_attach(
        &self,
        _staging: &FakeFd,
        root: &FakeFd,
        at: &Path,
        place: Place,
        tree: &FakeFd,
    ) -> Result<()> {
        let place = match place {
            Place::Made => "what is there".to_owned(),
            Place::Directory { owner } => format!("a directory, owner {owner}"),
        };
        self.call("attach", format_args!("/{}", at.display()), format_args!("{tree} on {place} in {root}"))?;
        self.mounts.attach(root.number, at, tree.number);
        Ok(())
    }

    fn mount_peer(&self, _staging: &FakeFd, root: &FakeFd, at: Option<&str>) -> Result<FakeFd> {
        self.call("hold", format_args!("/{}", at.unwrap_or_default()), format_args!("in {root}"))?;
        let peer = self.open("peer");
        self.mounts.root(peer.number, root.number, at.unwrap_or_default().as_ref());
        Ok(peer)
    }

    fn mount_withdraw(&self, _staging: &FakeFd, root: &FakeFd, at: &str) -> Result<()> {
        self.call("take away", format_args!("/{at}"), format_args!("in {root}"))?;
        self.mounts.withdraw(root.number, at.as_ref());
        Ok(())
    }

    fn mounts_reveal(&self, _staging: &FakeFd, trees: &[&FakeFd]) -> Result<()> {
        let names: Vec<String> = trees.iter().map(ToString::to_string).collect();
        self.call("reveal", names.join(" and "), "")?;
        trees.iter().for_each(|tree| self.mounts.reveal(tree.number));
        Ok(())
    }

    fn mounts(&self, pid: i32) -> Result<Vec<MountEntry>> {
        self.call("look at the mounts of", process(pid), "")?;
        self.require(&process(pid), "look at the mounts of")?;
        Ok(self.mounts.all())
    }

    fn mount_copy(&self, pid: i32, mount: &MountEntry) -> Result<FakeFd> {
        self.call(
            "copy",
            format_args!("/{}", mount.at.display()),
            format_args!("as {} has it", process(pid)),
        )?;
        let copy = self.open(format!("copy of /{}", mount.at.display()));
        self.mounts.name(copy.number, &mount.source);
        Ok(copy)
    }

    fn mount_detach(&self, pid: i32, mount: &MountEntry) -> Result<()> {
        let told = format!("{} in the namespace of {}", mount.source, process(pid));
        self.call("detach", format_args!("/{}", mount.at.display()), told)?;
        self.mounts.detach(mount.id);
        Ok(())
    }

    fn root_show(&self, staging: &FakeFd, root: &FakeFd) -> Result<()> {
        self.call("show", "the root", format_args!("{root} in {staging}"))
    }

    fn staging_leave(&self, staging: FakeFd) -> Result<FakeFd> {
        self.call("leave", "the mount namespace of the root", &staging)?;
        Ok(staging)
    }

    fn root_ready(&self, held: &Held<FakeFd>) -> Result<()> {
        self.call("tell init of", "its root", "")?;
        self.require(&process(held.pid), "tell")
    }

    fn assembled(&self, held: &mut Held<FakeFd>) -> Result<()> {
        self.call("receive from", "init", "")?;
        self.require(&process(held.pid), "receive from")?;
        held.handed = vec![self.open("terminal"), self.open("notify")];
        Ok(())
    }

    fn check_alive(&self, held: &mut Held<FakeFd>) -> Result<()> {
        self.call("receive from", "init", "")?;
        self.require(&process(held.pid), "receive from")
    }

    fn release(&self, held: Held<FakeFd>, program: &str, terminals: usize) -> Result<Payload<FakeFd>> {
        self.call("execute", program, format_args!("{terminals} terminals"))?;
        self.require(&process(held.pid), "execute")?;
        let mut handed = held.handed;
        let notify = handed.pop();
        if notify.is_none() || !self.has("device control") || !self.has("sysctl control") {
            return Err(KernelError::new("execute", program, io::ErrorKind::PermissionDenied));
        }
        Ok(Payload {
            pid: held.pid,
            pidfd: held.pidfd,
            terminals: handed,
            notify,
            files: held.files,
            network: None,
            remains: Vec::new(),
            kept: None,
        })
    }

    fn process_kill(&self, pid: i32) -> Result<()> {
        self.call("kill process", pid, "")?;
        self.remove(&process(pid));
        Ok(())
    }

    fn veth_create(&self, veth: &Veth<'_>) -> Result<()> {
        self.call("create link", veth.host_name, told_of_veth(veth))?;
        self.require(&process(veth.pid), "create a link into")?;
        if let Some(bridge) = veth.bridge {
            self.require(&format!("link {bridge}"), "make a port of")?;
        }
        self.make(format!("link {}", veth.host_name), "create")
    }

    fn port_route(&self, port: &PortRoute<'_>) -> Result<()> {
        let (gateways, addresses) = (list(port.gateways), list(port.addresses));
        let mac = port.mac.map_or(String::new(), |mac| format!(", neighbour {}", mac_word(mac)));
        let metric = if port.metric == 0 { String::new() } else { format!(", metric {}", port.metric) };
        let told = format!("{addresses}, gateways {gateways}{mac}{metric}");
        self.call("route to", port.link, told)?;
        self.require(&format!("link {}", port.link), "route to")
    }

    fn forwarding_enable(&self, link: &str, ipv6: Option<&Path>) -> Result<()> {
        let ipv6 = ipv6.map_or("IPv4".to_owned(), |file| format!("IPv4, IPv6 noted in {}", file.display()));
        self.call("enable forwarding on", link, ipv6)?;
        self.require(&format!("link {link}"), "enable forwarding on")
    }

    fn child_create(&self, child: &Child<'_>) -> Result<()> {
        self.call("create", format!("a child of {}", child.parent), told_of_child(child))?;
        self.require(&format!("link {}", child.parent), "make a child of")?;
        self.require(&process(child.pid), "make a child in")
    }

    fn link_delete(&self, link: &str, group: u32) -> Result<()> {
        self.call("delete link", link, format_args!("of group {group:#x}"))?;
        self.remove(&format!("link {link}"));
        Ok(())
    }

    fn network_namespace(&self, pid: i32) -> Result<FakeFd> {
        self.call("open the network namespace of", pid, "")?;
        self.require(&process(pid), "open the network namespace of")?;
        Ok(self.open("network namespace"))
    }

    fn nic_claim(&self, claims: &Path, tenant: &TenantName, nic: &LinkName, index: u32) -> Result<()> {
        let told = format!("for {tenant}, index {index}, noted in {}", claims.display());
        self.call("claim NIC", nic, told)?;
        self.require(&format!("link {nic}"), "claim")?;
        self.make(format!("claim {nic} {tenant}"), "claim")
    }

    fn nic_move(&self, _claims: &Path, nic: &MovedNic<'_>, namespace: &FakeFd) -> Result<()> {
        let told = format!("to {namespace} as {}{}{}", nic.name, with_mac(nic.mac), with_mtu(nic.mtu));
        self.call("move NIC", nic.nic, told)?;
        let link = format!("link {}", nic.nic);
        self.require(&link, "move")?;
        self.remove(&link);
        self.make(format!("inside {}", nic.nic), "move")
    }

    fn claimed_namespaces(&self, _claims: &Path, tenant: &TenantName, cgroup: &Path) -> Result<Vec<FakeFd>> {
        self.call("find the NICs of", cgroup.display(), "")?;
        let table = self.table();
        let claimed =
            table.iter().any(|entry| entry.starts_with("claim ") && entry.ends_with(tenant.as_str()));
        let lives = table.iter().any(|entry| entry.starts_with("process "));
        Ok((claimed && lives).then(|| self.open("network namespace")).into_iter().collect())
    }

    fn return_nics(&self, _claims: &Path, tenant: &TenantName, namespaces: &[&FakeFd]) -> Result<()> {
        self.call("return the NICs of", tenant, list(namespaces))?;
        let claims = self.table();
        let suffix = format!(" {tenant}");
        for claim in claims.iter().filter(|entry| entry.starts_with("claim ")) {
            let Some(nic) = claim["claim ".len()..].strip_suffix(&suffix) else { continue };
            self.remove(claim);
            // What was in a namespace that no process held is lost.
            if self.remove(&format!("inside {nic}")) && !namespaces.is_empty() {
                self.insert(format!("link {nic}"));
            }
        }
        Ok(())
    }

    fn filter_add(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<Option<FakeFd>> {
        let ports = list(tenant.ports.iter().map(|port| &port.name));
        self.call("filter", &tenant.tenant, format_args!("{ports} in table {}", host.table))?;
        self.insert(format!("filter of {}", tenant.tenant));
        Ok(Some(self.open("channel to the filter")))
    }

    fn filter_remove(&self, host: &HostFilter, tenant: &TenantFilter) -> Result<()> {
        self.call("stop filtering", &tenant.tenant, format_args!("in table {}", host.table))?;
        self.remove(&format!("filter of {}", tenant.tenant));
        Ok(())
    }
}
