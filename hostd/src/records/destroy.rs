//! A tenant's end, in steps that can each be repeated: [`super::recover`] goes on where a crash stopped. After the
//! last of them there is no such tenant any more; its files go in [`crate::dirs::trash`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tenant::{
    Allocation, Layout, TenantName,
    files::record::{self, Durability},
    model::allocation::RecordEvent,
};

use super::{StoreError, create::remove_below};
use crate::dirs::{quota, trash::GONE};

/// The steps of a destruction, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The record says that it goes: the commit.
    Record,
    /// Its limits, its runtime directory and its configuration file.
    Config,
    /// Its directory gets a name that is no tenant's, and its own name is free.
    Hide,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Record, Self::Config, Self::Hide];
}

/// A tenant that is being removed.
#[derive(Debug)]
pub struct Destruction<'a> {
    /// Where things lie.
    pub layout: &'a Layout,
    /// Its record.
    pub allocation: &'a mut Allocation,
}

impl Destruction<'_> {
    /// Does all steps; where its files lie then. A failure leaves a record in the state `destroying`; doing it
    /// again goes on.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn run(mut self) -> Result<PathBuf, StoreError> {
        Step::ALL.into_iter().try_for_each(|step| self.step(step))?;
        Ok(hidden(self.layout, &self.allocation.name, &self.allocation.uuid))
    }

    /// Does one step.
    ///
    /// # Errors
    /// What the step says.
    pub fn step(&mut self, step: Step) -> Result<(), StoreError> {
        let name = self.allocation.name.clone();
        let failed = |source| StoreError::Destroy { tenant: name.to_string(), source };
        match step {
            Step::Record => {
                self.allocation.state = self.allocation.state.next(RecordEvent::Destroy)?;
                self.allocation.generation += 1;
                let text = self.allocation.render();
                let path = self.layout.allocation(&name);
                match record::write(&path, text.as_bytes(), Durability::Durable) {
                    // A full disk must not keep what fills it from being removed.
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                        Ok(record::overwrite(&path, text.as_bytes())?)
                    }
                    result => Ok(result?),
                }
            }
            Step::Config => {
                quota::release(&self.layout.tenant(&name), self.allocation.uid_base.base());
                forget(self.layout, &name).map_err(failed)
            }
            Step::Hide => {
                let hidden = hidden(self.layout, &name, &self.allocation.uuid);
                hide(self.layout, &name, &hidden).map_err(failed)
            }
        }
    }
}

/// Removes what there is of a tenant outside its directory.
///
/// # Errors
/// The first thing that cannot be removed.
pub fn forget(layout: &Layout, name: &TenantName) -> io::Result<()> {
    remove_below(&layout.runtimes(), &layout.runtime(name))?;
    match fs::remove_file(layout.tenant_config(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        // It must not come back by a power cut: without a tenant it is in the way of one.
        Ok(()) => record::settle_dir(&layout.tenant_configs()),
    }
    Ok(())
}

/// Where the files of a removed tenant lie.
pub fn hidden(layout: &Layout, name: &TenantName, uuid: &str) -> PathBuf {
    // A record says what it likes.
    let uuid: String = uuid.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    layout.tenants().join(format!("{GONE}{name}.{uuid}"))
}

/// Gives a tenant's directory a name that is no tenant's.
///
/// # Errors
/// Those of rename(2).
pub fn hide(layout: &Layout, name: &TenantName, hidden: &Path) -> io::Result<()> {
    fs::rename(layout.tenant(name), hidden)?;
    record::settle_dir(&layout.tenants());
    Ok(())
}
