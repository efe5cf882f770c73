//! Running nft(8): text in, JSON out.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    super::{
        KernelError, Result,
        program::{self, Running},
    },
    FilterError,
    item::Family,
    listing::Listing,
};

/// The program.
#[derive(Clone, Debug)]
pub struct Nft(PathBuf);

/// Waits for a run of it; gives what it printed.
pub(super) fn wait(running: Running) -> io::Result<Vec<u8>> {
    let done = running.finish()?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let kind = if done.stderr.contains("No such file or directory") {
        io::ErrorKind::NotFound
    } else {
        io::ErrorKind::Other
    };
    // Every further line repeats the input or comes from the first fault.
    Err(io::Error::new(kind, FilterError::Said(done.complaint().to_owned())))
}

impl Nft {
    /// Looks for it on the path, and where systems keep what only root needs.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn find() -> Result<Self> {
        program::find("nft").map(Self).ok_or_else(|| {
            let reason = io::Error::new(io::ErrorKind::NotFound, FilterError::NotInstalled);
            KernelError::new("run", "nft", reason)
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Hands it commands that it carries out as one transaction: all or none.
    pub(super) fn spawn(&self, text: &str) -> io::Result<Running> {
        Running::start(&self.0, ["-f", "-"], text.as_bytes())
    }

    /// Carries out commands as one transaction.
    ///
    /// # Errors
    /// What it says first; `NotFound` for something that is not there.
    pub fn run(&self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        wait(self.spawn(text)?).map(drop)
    }

    /// All chains of this host, as JSON.
    ///
    /// # Errors
    /// What it says.
    pub fn chains(&self) -> Result<Value> {
        let list = || -> io::Result<Value> {
            let text = wait(Running::start(&self.0, ["-j", "list", "chains"], &[])?)?;
            Ok(serde_json::from_slice(&text)?)
        };
        list().map_err(|error| KernelError::new("list", "the chains of this host", error))
    }

    /// The named counters of a table of the family inet, as JSON.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn counters(&self, table: &str) -> io::Result<Value> {
        let text = wait(Running::start(&self.0, ["-j", "list", "counters", "table", "inet", table], &[])?)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// What the tables hold; nothing when one of them is missing.
    ///
    /// # Errors
    /// What it says.
    pub fn list(&self, table: &str) -> Result<Option<Listing>> {
        let failed =
            |error: io::Error| KernelError::new("list the packet filter", format!("{table:?}"), error);
        let mut listing = Listing::default();
        for family in Family::ALL {
            let args = ["-j", "list", "table", family.word(), table];
            match Running::start(&self.0, args, &[]).and_then(wait) {
                Ok(text) => {
                    let text = String::from_utf8_lossy(&text);
                    listing.read(family, &text).map_err(|error| failed(error.into()))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Some(listing))
    }
}
