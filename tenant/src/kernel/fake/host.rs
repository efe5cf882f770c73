//! The fake host: what exists on it, and what it was told.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt, io,
    ops::Range,
    rc::Rc,
};

use super::mounts::FakeMounts;
use crate::kernel::{KernelError, Result};

/// What exists on the fake host, as text: `cgroup /a/b`, `link t1-0`, `process 100`.
pub type Table = BTreeSet<String>;

/// The fake kernel.
#[derive(Debug, Default)]
pub struct Fake {
    table: Rc<RefCell<Table>>,
    told: RefCell<Vec<String>>,
    calls: Cell<usize>,
    failing: RefCell<Range<usize>>,
    next: Cell<usize>,
    init_dies: Cell<bool>,
    pub(super) mounts: FakeMounts,
}

/// An open file of the fake kernel: an entry of the table for as long as it lives.
#[derive(Debug)]
pub struct FakeFd {
    pub(super) number: usize,
    entry: String,
    table: Rc<RefCell<Table>>,
}

/// A descriptor in the record of calls: `#3`.
impl fmt::Display for FakeFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}

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

    /// Where something is mounted, and what, from the bottom to the top; of the overlays what they are called.
    pub fn mounted(&self) -> Vec<String> {
        self.mounts.all().iter().map(|mount| format!("/{} {}", mount.at.display(), mount.source)).collect()
    }

    /// A process in the tenant mounts something over, or below, what is there.
    pub fn mount_inside(&self, at: &str, source: &str) {
        self.mounts.cover(at.as_ref(), source);
    }

    /// Something is mounted beneath what is there.
    pub fn mount_beneath(&self, at: &str, source: &str) {
        self.mounts.slide(at.as_ref(), source);
    }

    /// Lets every init end as soon as it is cloned.
    pub fn let_init_die(&self) {
        self.init_dies.set(true);
    }

    /// Every call since the first, with all that it was told, one line each; a descriptor that it returned stands
    /// behind it.
    pub fn told(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    /// Whether every init ends as soon as it is cloned.
    pub(super) fn lets_init_die(&self) -> bool {
        self.init_dies.get()
    }

    /// Counts a call, and lets it fail if it is its turn. `details` is what the call is told besides its object.
    pub(super) fn call(
        &self,
        operation: &'static str,
        object: impl fmt::Display,
        details: impl fmt::Display,
    ) -> Result<()> {
        let details = details.to_string();
        let gap = if details.is_empty() { "" } else { ": " };
        self.told.borrow_mut().push(format!("{operation} {object}{gap}{details}"));
        let call = self.calls.replace(self.calls.get() + 1);
        if self.failing.borrow().contains(&call) {
            return Err(KernelError::new(operation, object, io::Error::from_raw_os_error(libc::EIO)));
        }
        Ok(())
    }

    pub(super) fn number(&self) -> usize {
        self.next.replace(self.next.get() + 1)
    }

    /// A descriptor, which the last call returns.
    pub(super) fn open(&self, what: impl fmt::Display) -> FakeFd {
        let number = self.number();
        let entry = format!("fd {number} {what}");
        self.table.borrow_mut().insert(entry.clone());
        if let Some(last) = self.told.borrow_mut().last_mut() {
            last.push_str(&format!(" -> #{number}"));
        }
        FakeFd { number, entry, table: Rc::clone(&self.table) }
    }

    /// A line of the record that is no call of its own.
    pub(super) fn note(&self, line: String) {
        self.told.borrow_mut().push(line);
    }

    pub(super) fn insert(&self, entry: String) {
        self.table.borrow_mut().insert(entry);
    }

    pub(super) fn remove(&self, entry: &str) -> bool {
        self.table.borrow_mut().remove(entry)
    }

    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.table.borrow_mut().retain(|entry| keep(entry));
    }

    pub(super) fn has(&self, start: &str) -> bool {
        self.table.borrow().iter().any(|entry| entry.starts_with(start))
    }

    pub(super) fn require(&self, entry: &str, operation: &'static str) -> Result<()> {
        if self.table.borrow().contains(entry) {
            return Ok(());
        }
        Err(KernelError::new(operation, entry, io::ErrorKind::NotFound))
    }

    pub(super) fn make(&self, entry: String, operation: &'static str) -> Result<()> {
        if self.table.borrow_mut().insert(entry.clone()) {
            return Ok(());
        }
        Err(KernelError::new(operation, entry, io::ErrorKind::AlreadyExists))
    }
}
