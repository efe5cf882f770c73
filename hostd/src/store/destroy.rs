//! A tenant's end, in steps that can each be repeated: [`super::recover`] goes on where a crash stopped.

use std::{fs, io, path::PathBuf};

use tenant::{
    Allocation, Layout,
    allocation::RecordEvent,
    record::{self, Durability},
};

use super::{StoreError, create::remove_below, quota};

/// Prefix of a tenant's directory whose files are gone.
pub const GONE: &str = ".gone-";

/// The steps of a destruction, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The record says that it goes: the commit.
    Record,
    /// Everything the tenant stored.
    Files,
    /// The configuration file.
    Config,
    /// The record, and with it the name, the uid range and the addresses.
    Release,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Record, Self::Files, Self::Config, Self::Release];
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
    /// Does all steps. A failure leaves a record in the state `destroying`; doing it again goes on.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn run(mut self) -> Result<(), StoreError> {
        Step::ALL.into_iter().try_for_each(|step| self.step(step))
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
            Step::Files => self.files().map_err(failed),
            Step::Config => absent_is_fine(fs::remove_file(self.layout.tenant_config(&name))).map_err(failed),
            Step::Release => self.release().map_err(failed),
        }
    }

    fn files(&self) -> io::Result<()> {
        let name = &self.allocation.name;
        let own = self.layout.tenant(name);
        quota::release(&own, self.allocation.uid_base.base());
        remove_below(&own, &self.layout.dirs(name))?;
        remove_below(&own, &self.layout.log(name))?;
        remove_below(&self.layout.runtimes(), &self.layout.runtime(name))?;
        // The uid range is free again once the record is gone: no file may outlive it, not even through
        // a power cut.
        fs::File::open(&own)?.sync_all()
    }

    fn release(&self) -> io::Result<()> {
        let gone = gone(self.layout, self.allocation);
        remove_below(&self.layout.tenants(), &gone)?;
        fs::rename(self.layout.tenant(&self.allocation.name), &gone)?;
        fs::File::open(self.layout.tenants())?.sync_all()?;
        remove_below(&self.layout.tenants(), &gone)
    }
}

fn gone(layout: &Layout, allocation: &Allocation) -> PathBuf {
    layout.tenants().join(format!("{GONE}{}", allocation.name))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
