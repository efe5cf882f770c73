//! A tenant gets another name, in steps that can each be repeated. The record says first what is going on; from then on
//! [`super::recover`] finishes it where a crash came in between, and a step that fails is undone, with those before it.
//!
//! ```text
//! tenants/OLD/allocation.toml          says `renaming = "NEW"`: the commit
//! /etc/tenantry/tenants/OLD.toml       ─rename▶ NEW.toml
//! /etc/tenantry/credentials/OLD        ─rename▶ NEW
//! /etc/tenantry/nics.toml             its rows name NEW
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

use super::{create::remove_below, error::StoreError};
use crate::assign::nic_rows;

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
    NicTable,
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
        Self::NicTable,
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
fn give_nics(layout: &Layout, from: &TenantName, to: &TenantName) -> Result<(), StoreError> {
    let path = layout.nic_table();
    let text = match record::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    match nic_rows::give_all(&text, from, to)? {
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
            Step::NicTable => give_nics(layout, from, to),
            Step::Runtime => {
                let dir = layout.runtime(from);
                remove_below(&layout.runtimes(), &dir).map_err(FileError::when("remove", &dir))?;
                let applied = layout.applied_config(from);
                match fs::remove_file(&applied) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(FileError::when("remove", &applied)(error).into())
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
