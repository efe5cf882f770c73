//! A tenant gets another name, in steps that can each be repeated. The record says first what is going on; from then on
//! [`super::recover`] finishes it where a crash came in between, and a step that fails is undone, with those before it.
//!
//! ```text
//! tenants/OLD/allocation.toml          says `renaming = "NEW"`: the commit
//! /etc/tenantry/tenants/OLD.toml       ─rename▶ NEW.toml
//! /etc/tenantry/credentials/OLD        ─rename▶ NEW
//! /etc/tenantry/ports.toml             its rows name NEW
//! /run/tenantry/tenants/OLD            removed, as is what its unit was given
//! tenants/OLD                          ─rename▶ tenants/NEW
//! tenants/NEW/allocation.toml          says that it is NEW, and ready
//! ```
//!
//! Its number, uid range, addresses, directories and log stay what they are.

use std::{fs, io, path::Path};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tenant::{
    Allocation, Layout, TenantName,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::allocation::RecordEvent,
};

use super::{StoreError, create::remove_below, recover};
use crate::assign::nic_table;

/// The steps of a renaming, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The record says that it is renamed: the commit.
    Record,
    /// Its configuration file.
    Config,
    /// Its credentials.
    Credentials,
    /// The NICs that the host's table gives it.
    Ports,
    /// What its last life left, and what its unit was given.
    Runtime,
    /// Its directory.
    Directory,
    /// The record says the new name and nothing else.
    Settle,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Record,
        Self::Config,
        Self::Credentials,
        Self::Ports,
        Self::Runtime,
        Self::Directory,
        Self::Settle,
    ];
}

/// A tenant that is being renamed.
#[derive(Debug)]
pub struct Renaming<'a> {
    /// Where things lie.
    pub layout: &'a Layout,
    /// Its record, which says its old name until the last step.
    pub allocation: &'a mut Allocation,
    /// The name that it gets.
    pub name: TenantName,
}

/// Renames what lies at `from`, where something does, to what must not be there yet.
fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {
            to.parent().into_iter().for_each(record::settle_dir);
            Ok(())
        }
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(FileError::new("rename", from, errno)),
    }
}

/// The table of NICs with the rows of one tenant given to another.
fn give_ports(layout: &Layout, from: &TenantName, to: &TenantName) -> Result<(), StoreError> {
    let path = layout.nic_table();
    let text = match record::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    match nic_table::give_all(&text, from, to)? {
        Some(text) => Ok(record::write(&path, text.as_bytes(), Durability::Durable)?),
        None => Ok(()),
    }
}

impl Renaming<'_> {
    /// Does one step.
    ///
    /// # Errors
    /// What the step says.
    pub fn step(&mut self, step: Step) -> Result<(), StoreError> {
        let (old, new) = (self.allocation.name.clone(), self.name.clone());
        match step {
            Step::Record => {
                let state = self.allocation.state.next(RecordEvent::Rename)?;
                let renaming = Some(new);
                *self.allocation = Allocation { state, renaming, ..self.allocation.clone() };
                self.write(&old)
            }
            Step::Settle => {
                let state = self.allocation.state.next(RecordEvent::Renamed)?;
                *self.allocation =
                    Allocation { state, name: new.clone(), renaming: None, ..self.allocation.clone() };
                self.write(&new)
            }
            step => self.go(step, &old, &new),
        }
    }

    /// Undoes a step, whether it was done or not.
    ///
    /// # Errors
    /// What the step says.
    pub fn undo(&mut self, step: Step) -> Result<(), StoreError> {
        let (old, new) = (self.allocation.name.clone(), self.name.clone());
        match step {
            Step::Record => {
                let state = self.allocation.state.next(RecordEvent::Renamed)?;
                *self.allocation = Allocation { state, renaming: None, ..self.allocation.clone() };
                self.write(&old)
            }
            // What is gone is made again by the next start; the record said its old name to the end.
            Step::Runtime | Step::Settle => Ok(()),
            step => self.go(step, &new, &old),
        }
    }

    fn go(&self, step: Step, from: &TenantName, to: &TenantName) -> Result<(), StoreError> {
        let layout = self.layout;
        match step {
            Step::Config => Ok(rename(&layout.tenant_config(from), &layout.tenant_config(to))?),
            Step::Credentials => Ok(rename(&layout.credentials(from), &layout.credentials(to))?),
            Step::Ports => give_ports(layout, from, to),
            Step::Runtime => {
                let dir = layout.runtime(from);
                remove_below(&layout.runtimes(), &dir).map_err(FileError::when("remove", &dir))?;
                let carried = layout.applied_config(from);
                match fs::remove_file(&carried) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(FileError::when("remove", &carried)(error).into())
                    }
                    _ => Ok(()),
                }
            }
            Step::Directory => Ok(rename(&layout.tenant(from), &layout.tenant(to))?),
            Step::Record | Step::Settle => Ok(()),
        }
    }

    fn write(&mut self, dir: &TenantName) -> Result<(), StoreError> {
        self.allocation.generation += 1;
        let text = self.allocation.render();
        record::write(&self.layout.allocation(dir), text.as_bytes(), Durability::Durable)?;
        let copy = self.layout.allocation_copy(dir);
        if let Err(error) = record::write(&copy, text.as_bytes(), Durability::Durable) {
            log::warn!("tenant \"{dir}\" has no copy of its record: {}", wire::chain(&error));
        }
        Ok(())
    }

    /// Goes on with what a crash interrupted, to the end.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        Step::ALL[1..].iter().try_for_each(|step| self.step(*step))
    }
}

impl super::Store {
    /// Looks whether a tenant can have a name.
    ///
    /// # Errors
    /// Something of that name is there, or the tenant cannot be renamed.
    pub fn check_rename(&self, old: &TenantName, new: &TenantName) -> Result<Allocation, StoreError> {
        let allocation = self.ready(old)?;
        self.refuse_mounts(old)?;
        if self.has(new) || self.layout.tenant(new).exists() {
            return Err(StoreError::NameTaken(new.to_string()));
        }
        let path = self.layout.tenant_config(new);
        if path.exists() {
            return Err(StoreError::StrayConfig { path });
        }
        let path = self.layout.credentials(new);
        if path.exists() {
            return Err(StoreError::StrayCredentials { path });
        }
        // Rows of a table that is malformed could not be given to it.
        self.ports()?;
        Ok(allocation)
    }

    /// Gives a tenant that is down another name; until [`Store::settle`] a crash is followed by that again.
    ///
    /// # Errors
    /// Those of [`Store::check_rename`], or a step that failed; everything is as before then.
    pub fn rename(&self, old: &TenantName, new: &TenantName) -> Result<(), StoreError> {
        let mut allocation = self.check_rename(old, new)?;
        let (_old, _new) = (self.writing(old), self.writing(new));
        let mut renaming = Renaming { layout: &self.layout, allocation: &mut allocation, name: new.clone() };
        for (number, step) in Step::ALL[..6].iter().enumerate() {
            // The table of NICs is one file for all.
            let writer = (*step == Step::Ports).then(|| self.decide());
            let done = renaming.step(*step);
            drop(writer);
            let Err(error) = done else { continue };
            for undone in Step::ALL[..=number].iter().rev() {
                let _writer = (*undone == Step::Ports).then(|| self.decide());
                // What failed may have been done or not: where it was not, there is nothing to undo.
                if let Err(error) = renaming.undo(*undone)
                    && undone != step
                {
                    log::error!(
                        "tenant \"{old}\" is left half renamed until hostd is started again: {}",
                        wire::chain(&error)
                    );
                    break;
                }
            }
            self.put(allocation);
            return Err(error);
        }
        let _writer = self.decide();
        let mut records = super::held(&self.records);
        let records = std::sync::Arc::make_mut(&mut records);
        records.remove(old);
        let state = allocation.state.next(RecordEvent::Renamed)?;
        let settled = Allocation { state, name: new.clone(), renaming: None, ..allocation };
        records.insert(new.clone(), settled);
        let mut claims = super::held(&self.claims);
        let claims = std::sync::Arc::make_mut(&mut claims);
        if let Some(own) = claims.remove(old) {
            claims.insert(new.clone(), own);
        }
        super::held(&self.started).remove(old);
        Ok(())
    }

    /// The last step of a renaming: everything of the tenant has its new name.
    ///
    /// # Errors
    /// The record cannot be written; it is done by the next start of hostd then.
    pub fn settle(&self, old: &TenantName, new: &TenantName) -> Result<(), StoreError> {
        let _writing = self.writing(new);
        let mut allocation = recover::parse(&self.layout.allocation(new))?;
        if allocation.name == *old {
            Renaming { layout: &self.layout, allocation: &mut allocation, name: new.clone() }
                .step(Step::Settle)?;
        }
        self.put(allocation);
        Ok(())
    }
}
