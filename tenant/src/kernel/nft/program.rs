//! Running nft(8): text in, JSON out.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    super::{
        Cause, KernelError, Result,
        program::{self, Running},
    },
    elements,
    error::FilterError,
    item::Family,
    listing::Listing,
};

/// The program.
#[derive(Clone, Debug)]
pub struct Nft(PathBuf);

/// What a part of a request returns.
type Outcome<T> = std::result::Result<T, Cause>;

/// What became of a run of it.
pub(super) enum Run {
    /// It has done what it was asked, and printed this.
    Done(Vec<u8>),
    /// Something of what it was asked about is not there.
    Absent(FilterError),
}

impl Run {
    /// What it printed; where something is not there, what it said of that.
    pub(super) fn done(self) -> Outcome<Vec<u8>> {
        match self {
            Self::Done(text) => Ok(text),
            Self::Absent(said) => Err(said.into()),
        }
    }
}

/// Waits for a run of it.
pub(super) fn wait(running: Running) -> Outcome<Run> {
    let done = running.finish()?;
    if done.status.success() {
        return Ok(Run::Done(done.stdout));
    }
    // Every further line repeats the input or comes from the first fault.
    let said = FilterError::Said(done.complaint().to_owned());
    if done.stderr.contains("No such file or directory") { Ok(Run::Absent(said)) } else { Err(said.into()) }
}

/// A change that could not be made.
pub(super) fn failed(table: &str, error: impl Into<Cause>) -> KernelError {
    KernelError::new("change the packet filter", format!("{table:?}"), error)
}

impl Nft {
    /// Looks for it on the path, and where systems keep what only root needs.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn find() -> Result<Self> {
        program::find("nft")
            .map(Self)
            .ok_or_else(|| KernelError::new("run", "nft", FilterError::NotInstalled))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Carries out commands as one transaction: all or none.
    ///
    /// # Errors
    /// What it says first.
    pub fn run(&self, text: &str) -> Outcome<()> {
        if text.is_empty() {
            return Ok(());
        }
        wait(Running::start(&self.0, ["-f", "-"], text.as_bytes())?)?.done().map(drop)
    }

    /// All chains of this host, as JSON.
    ///
    /// # Errors
    /// What it says.
    pub fn chains(&self) -> Result<Value> {
        let list = || -> Outcome<Value> {
            let text = wait(Running::start(&self.0, ["-j", "list", "chains"], &[])?)?.done()?;
            Ok(serde_json::from_slice(&text)?)
        };
        list().map_err(|error| KernelError::new("list", "the chains of this host", error))
    }

    /// The named counters of a table of the family inet, as JSON.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn counters(&self, table: &str) -> Outcome<Value> {
        let text = wait(Running::start(&self.0, ["-j", "list", "counters", "table", "inet", table], &[])?)?
            .done()?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// What the tables hold; nothing when one of them is missing.
    ///
    /// # Errors
    /// What it says.
    pub fn list(&self, table: &str) -> Result<Option<Listing>> {
        self.listing(table, &["-j"])
    }

    /// [`Nft::list`] without counters: the rules as it shows them, and what is in the sets as the kernel says.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn look(&self, table: &str) -> Result<Option<Listing>> {
        let Some(mut listing) = self.rules(table)? else { return Ok(None) };
        match elements::list(table, &listing.sets) {
            Ok(items) => listing.items.extend(items),
            Err(_) => return self.list(table),
        }
        Ok(Some(listing))
    }

    /// The rules alone, and limits.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn rules(&self, table: &str) -> Result<Option<Listing>> {
        self.listing(table, &["-j", "--terse"])
    }

    /// Lists the tables, all at once.
    fn listing(&self, table: &str, options: &[&str]) -> Result<Option<Listing>> {
        let failed = |error: Cause| KernelError::new("list the packet filter", format!("{table:?}"), error);
        let start = |family: Family| {
            let args = [options, &["list", "table", family.word(), table]].concat();
            Running::start(&self.0, args, &[]).map_err(|error| failed(error.into()))
        };
        let running = Family::ALL.map(|family| (family, start(family)));
        let mut listing = Listing::default();
        for (family, running) in running {
            match running.and_then(|running| wait(running).map_err(failed))? {
                Run::Done(text) => {
                    let text = String::from_utf8_lossy(&text);
                    listing.read(family, &text).map_err(|error| failed(error.into()))?;
                }
                Run::Absent(_) => return Ok(None),
            }
        }
        Ok(Some(listing))
    }
}
