//! A kernel that keeps a table of what would exist, and fails at any step it is told to.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io,
    ops::Range,
    path::Path,
    rc::Rc,
};

use super::{
    Access, Child, Entry, Held, Kernel, KernelError, MovedNic, Payload, PortRoute, Prepared, Result, Shape,
    TmpfsUse, Top, Veth,
};
use crate::{
    model::{
        device::{DeviceRule, Driver},
        ids::UidRange,
        name::TenantName,
        net::LinkName,
    },
    plan::{ErofsImage, FilterPlan, Plan},
};

/// What exists on the fake host, as text: `cgroup /a/b`, `link t1-0`, `process 100`.
pub type Table = BTreeSet<String>;

/// The fake kernel.
#[derive(Debug, Default)]
pub struct Fake {
    table: Rc<RefCell<Table>>,
    calls: Cell<usize>,
    failing: RefCell<Range<usize>>,
    next: Cell<usize>,
    init_dies: Cell<bool>,
}

/// An open file of the fake kernel: an entry of the table for as long as it lives.
#[derive(Debug)]
pub struct FakeFd {
    entry: String,
    table: Rc<RefCell<Table>>,
}

/// A change of the fake filter: what it was begun for.
#[derive(Debug)]
pub struct FakeChange(&'static str);

impl Drop for FakeFd {
    fn drop(&mut self) {
        self.table.borrow_mut().remove(&self.entry);
    }
}

impl Fake {
    /// A host with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A host with interfaces: bridges and NICs.
    pub fn with_links(names: &[&str]) -> Self {
        let kernel = Self::default();
        kernel.table.borrow_mut().extend(names.iter().map(|name| format!("link {name}")));
        kernel
    }

    /// Lets the call number `step`, counted from 0, fail with EIO; every other one succeeds.
    pub fn fail_at(&self, step: usize) {
        self.calls.set(0);
        *self.failing.borrow_mut() = step..step.saturating_add(1);
    }

    /// Lets every call from number `step` on fail, the cleanup's as well.
    pub fn fail_from(&self, step: usize) {
        self.calls.set(0);
        *self.failing.borrow_mut() = step..usize::MAX;
    }

    /// How many calls were made since the last [`Fake::fail_at`].
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    /// What exists now.
    pub fn table(&self) -> Table {
        self.table.borrow().clone()
    }

    /// Lets every init end as soon as it is cloned.
    pub fn let_init_die(&self) {
        self.init_dies.set(true);
    }

    fn call(&self, operation: &'static str, object: impl std::fmt::Display) -> Result<()> {
        let call = self.calls.replace(self.calls.get() + 1);
        if self.failing.borrow().contains(&call) {
            return Err(KernelError::new(operation, object, io::Error::from_raw_os_error(libc::EIO)));
        }
        Ok(())
    }

    fn number(&self) -> usize {
        self.next.replace(self.next.get() + 1)
    }

    fn open(&self, what: impl std::fmt::Display) -> FakeFd {
        let entry = format!("fd {} {what}", self.number());
        self.table.borrow_mut().insert(entry.clone());
        FakeFd { entry, table: Rc::clone(&self.table) }
    }

    fn require(&self, entry: &str, operation: &'static str) -> Result<()> {
        if self.table.borrow().contains(entry) {
            return Ok(());
        }
        Err(KernelError::new(operation, entry, io::ErrorKind::NotFound))
    }

    fn make(&self, entry: String, operation: &'static str) -> Result<()> {
        if self.table.borrow_mut().insert(entry.clone()) {
            return Ok(());
        }
        Err(KernelError::new(operation, entry, io::ErrorKind::AlreadyExists))
    }
}

fn process(pid: i32) -> String {
    format!("process {pid}")
}

impl Kernel for Fake {
    type Fd = FakeFd;
    type Change = FakeChange;
    type Staging = FakeFd;

    fn cgroup_create(&self, dir: &Path) -> Result<()> {
        self.call("create cgroup", dir.display())?;
        self.table.borrow_mut().insert(format!("cgroup {}", dir.display()));
        Ok(())
    }

    fn cgroup_set(&self, dir: &Path, _file: &str, _value: &str) -> Result<()> {
        self.call("write to cgroup", dir.display())?;
        self.require(&format!("cgroup {}", dir.display()), "write to")
    }

    fn cgroup_delegate(&self, dir: &Path, _owner: u32) -> Result<()> {
        self.call("delegate cgroup", dir.display())?;
        self.require(&format!("cgroup {}", dir.display()), "delegate")
    }

    fn cgroup_hand_down(&self, dir: &Path, _controllers: &[&str]) -> Result<()> {
        self.call("hand down the controllers of cgroup", dir.display())?;
        // The supervisor has left it for a cgroup of its own.
        self.require(&format!("cgroup {}", dir.join("supervisor").display()), "hand down the controllers of")
    }

    fn cgroup_enter(&self, dir: &Path) -> Result<()> {
        self.call("enter cgroup", dir.display())?;
        self.require(&format!("cgroup {}", dir.display()), "enter")
    }

    fn cgroup_kill(&self, dir: &Path) -> Result<()> {
        self.call("kill cgroup", dir.display())?;
        // Everything of one fake host runs in the one payload a test has.
        self.table.borrow_mut().retain(|entry| !entry.starts_with("process "));
        Ok(())
    }

    fn cgroup_remove(&self, dir: &Path) -> Result<()> {
        self.call("remove cgroup", dir.display())?;
        self.table.borrow_mut().remove(&format!("cgroup {}", dir.display()));
        for control in ["device", "sysctl"] {
            self.table.borrow_mut().remove(&format!("{control} control of {}", dir.display()));
        }
        Ok(())
    }

    fn device_control(&self, dir: &Path, _allowed: &[DeviceRule]) -> Result<()> {
        self.call("control the devices of", dir.display())?;
        self.require(&format!("cgroup {}", dir.display()), "control the devices of")?;
        self.table.borrow_mut().insert(format!("device control of {}", dir.display()));
        Ok(())
    }

    fn sysctl_control(&self, dir: &Path, _refused: &[&str]) -> Result<()> {
        self.call("control the sysctls of", dir.display())?;
        self.require(&format!("cgroup {}", dir.display()), "control the sysctls of")?;
        self.table.borrow_mut().insert(format!("sysctl control of {}", dir.display()));
        Ok(())
    }

    fn user_namespace(&self, uids: UidRange) -> Result<FakeFd> {
        self.call("make a user namespace for", uids)?;
        Ok(self.open("user namespace"))
    }

    fn image_mount(&self, image: &ErofsImage, _at: &Path) -> Result<()> {
        self.call("mount image", image.file.display())
    }

    fn staging(&self, _place: &Path) -> Result<FakeFd> {
        self.call("make", "a mount namespace to put a root together in")?;
        Ok(self.open("staging"))
    }

    fn layer_attach(&self, _staging: &FakeFd, _tree: &FakeFd) -> Result<()> {
        self.call("attach", "a layer")
    }

    fn tree_clone(&self, path: &Path, _user: &FakeFd, _access: Access) -> Result<FakeFd> {
        self.call("clone", path.display())?;
        Ok(self.open(format!("mount of {}", path.display())))
    }

    fn bind_clone(&self, source: &Path, _user: &FakeFd, _access: Access) -> Result<FakeFd> {
        self.call("bind", source.display())?;
        Ok(self.open(format!("mount of {}", source.display())))
    }

    fn tree_subdir(&self, _tree: &FakeFd, dir: &str) -> Result<FakeFd> {
        self.call("clone directory", dir)?;
        Ok(self.open(format!("mount of {dir}")))
    }

    fn tree_path(&self, _tree: &FakeFd, path: &str) -> Result<(FakeFd, Shape)> {
        self.call("find", path)?;
        // On the fake host what has a dot in its name is a file.
        let shape = if path.contains('.') { Shape::File } else { Shape::Dir };
        Ok((self.open(format!("mount of {path}")), shape))
    }

    fn overlay(
        &self,
        _lower: &FakeFd,
        dir: Option<&str>,
        _top: Top<'_, FakeFd>,
        _owner: u32,
    ) -> Result<FakeFd> {
        let dir = dir.unwrap_or("/");
        self.call("mount overlay over", dir)?;
        Ok(self.open(format!("overlay over {dir}")))
    }

    fn tmpfs(&self, _usage: TmpfsUse, _size: u64, _mode: u32, _owner: u32) -> Result<FakeFd> {
        self.call("mount", "tmpfs")?;
        Ok(self.open("tmpfs"))
    }

    fn tmpfs_entry(&self, _tree: &FakeFd, path: &str, _entry: Entry<'_>, _owner: u32) -> Result<()> {
        self.call("make", path)
    }

    fn device_open(&self, _tree: &FakeFd, path: &str, _driver: Driver) -> Result<()> {
        self.call("open device", path)
    }

    fn driver_try(&self, driver: Driver) -> Result<()> {
        self.call("try", driver)
    }

    fn seal(&self, _tree: &FakeFd) -> Result<()> {
        self.call("make read-only", "the root")
    }

    fn spawn(
        &self,
        _plan: &Plan,
        _user: &FakeFd,
        staging: FakeFd,
        _mounts: Vec<Prepared<FakeFd>>,
    ) -> Result<Held<FakeFd>> {
        self.call("clone", "init")?;
        let pid = 100 + self.number() as i32;
        if !self.init_dies.get() {
            self.make(process(pid), "clone")?;
        }
        Ok(Held { pid, pidfd: self.open("pidfd"), gate: self.open("gate"), staging, handed: Vec::new() })
    }

    fn assembled(&self, held: &mut Held<FakeFd>) -> Result<()> {
        self.call("hear of", "init")?;
        self.require(&process(held.pid), "hear of")?;
        held.handed = vec![self.open("terminal"), self.open("notify")];
        Ok(())
    }

    fn speaks(&self, held: &mut Held<FakeFd>) -> Result<()> {
        self.call("hear of", "init")?;
        self.require(&process(held.pid), "hear of")
    }

    fn release(&self, plan: &Plan, held: Held<FakeFd>) -> Result<Payload<FakeFd>> {
        self.call("execute", &plan.init.argv[0])?;
        self.require(&process(held.pid), "execute")?;
        let mut terminals = held.handed;
        let notify = terminals.pop();
        let has = |control| self.table.borrow().iter().any(|entry| entry.starts_with(control));
        if notify.is_none() || !has("device control") || !has("sysctl control") {
            return Err(KernelError::new("execute", &plan.init.argv[0], io::ErrorKind::PermissionDenied));
        }
        Ok(Payload {
            pid: held.pid,
            pidfd: held.pidfd,
            terminals,
            notify,
            network: None,
            remains: vec![held.staging],
        })
    }

    fn process_kill(&self, pid: i32) -> Result<()> {
        self.call("kill process", pid)?;
        self.table.borrow_mut().remove(&process(pid));
        Ok(())
    }

    fn veth_create(&self, veth: &Veth<'_>) -> Result<()> {
        self.call("create link", veth.host_name)?;
        self.require(&process(veth.pid), "create a link into")?;
        if let Some(bridge) = veth.bridge {
            self.require(&format!("link {bridge}"), "make a port of")?;
        }
        self.make(format!("link {}", veth.host_name), "create")
    }

    fn port_route(&self, port: &PortRoute<'_>) -> Result<()> {
        self.call("route to", port.link)?;
        self.require(&format!("link {}", port.link), "route to")
    }

    fn forwarding_enable(&self, link: &str, _ipv6: Option<&Path>) -> Result<()> {
        self.call("enable forwarding on", link)?;
        self.require(&format!("link {link}"), "enable forwarding on")
    }

    fn child_create(&self, child: &Child<'_>) -> Result<()> {
        self.call("create", format!("a child of {}", child.parent))?;
        self.require(&format!("link {}", child.parent), "make a child of")?;
        self.require(&process(child.pid), "make a child in")
    }

    fn link_delete(&self, link: &str, _group: u32) -> Result<()> {
        self.call("delete link", link)?;
        self.table.borrow_mut().remove(&format!("link {link}"));
        Ok(())
    }

    fn network_namespace(&self, pid: i32) -> Result<FakeFd> {
        self.call("open the network namespace of", pid)?;
        self.require(&process(pid), "open the network namespace of")?;
        Ok(self.open("network namespace"))
    }

    fn nic_claim(&self, _claims: &Path, tenant: &TenantName, nic: &LinkName, _index: u32) -> Result<()> {
        self.call("claim NIC", nic)?;
        self.require(&format!("link {nic}"), "claim")?;
        self.make(format!("claim {nic} {tenant}"), "claim")
    }

    fn nic_move(&self, _claims: &Path, nic: &MovedNic<'_>, _namespace: &FakeFd) -> Result<()> {
        self.call("move NIC", nic.nic)?;
        let link = format!("link {}", nic.nic);
        self.require(&link, "move")?;
        self.table.borrow_mut().remove(&link);
        self.make(format!("inside {}", nic.nic), "move")
    }

    fn claimed_namespaces(&self, _claims: &Path, tenant: &TenantName, cgroup: &Path) -> Result<Vec<FakeFd>> {
        self.call("look for the NICs of", cgroup.display())?;
        let table = self.table();
        let claimed =
            table.iter().any(|entry| entry.starts_with("claim ") && entry.ends_with(tenant.as_str()));
        let lives = table.iter().any(|entry| entry.starts_with("process "));
        Ok((claimed && lives).then(|| self.open("network namespace")).into_iter().collect())
    }

    fn nics_home(&self, _claims: &Path, tenant: &TenantName, namespaces: &[&FakeFd]) -> Result<()> {
        self.call("bring home the NICs of", tenant)?;
        let claims = self.table();
        let suffix = format!(" {tenant}");
        for claim in claims.iter().filter(|entry| entry.starts_with("claim ")) {
            let Some(nic) = claim["claim ".len()..].strip_suffix(&suffix) else { continue };
            let mut table = self.table.borrow_mut();
            table.remove(claim);
            // What was in a namespace that nobody held is lost.
            if table.remove(&format!("inside {nic}")) && !namespaces.is_empty() {
                table.insert(format!("link {nic}"));
            }
        }
        Ok(())
    }

    fn filter_add(&self, filter: &FilterPlan) -> Result<FakeChange> {
        self.call("begin to filter", &filter.tenant.tenant)?;
        // What was begun may be there, whether somebody waits for it or not.
        self.table.borrow_mut().insert(format!("filter of {}", filter.tenant.tenant));
        Ok(FakeChange("filter"))
    }

    fn filter_remove(&self, filter: &FilterPlan) -> Result<FakeChange> {
        self.call("begin to stop filtering", &filter.tenant.tenant)?;
        self.table.borrow_mut().remove(&format!("filter of {}", filter.tenant.tenant));
        Ok(FakeChange("stop filtering"))
    }

    fn filter_finish(&self, change: FakeChange) -> Result<()> {
        self.call(change.0, "a tenant")
    }
}
