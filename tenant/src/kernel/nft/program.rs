//! Running nft(8): text in, JSON out.

use std::{
    io,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{
    super::{KernelError, Result, program},
    FilterError,
    item::Family,
    listing::Listing,
};

/// The program.
#[derive(Clone, Debug)]
pub struct Nft(PathBuf);

/// Waits for a run of it.
pub(super) fn wait(child: Child) -> io::Result<Vec<u8>> {
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // Every further line repeats the input or comes from the first fault.
    let first = said.lines().find(|line| !line.is_empty()).unwrap_or("it does not say why");
    let kind = if said.contains("No such file or directory") {
        io::ErrorKind::NotFound
    } else {
        io::ErrorKind::Other
    };
    Err(io::Error::new(kind, FilterError::Said(first.to_owned())))
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

    fn start(&self, args: &[&str]) -> io::Result<Child> {
        Command::new(&self.0)
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Hands it commands that it carries out as one transaction: all or none.
    pub(super) fn spawn(&self, text: &str) -> io::Result<Child> {
        let mut child = self.start(&["-f", "-"])?;
        if let Some(mut input) = child.stdin.take() {
            // It reads everything before it says anything; one that ended says why by its exit.
            let _ = input.write_all(text.as_bytes());
        }
        Ok(child)
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

    /// What the tables hold; nothing when one of them is missing.
    ///
    /// # Errors
    /// What it says.
    pub fn list(&self, table: &str) -> Result<Option<Listing>> {
        let failed =
            |error: io::Error| KernelError::new("list the packet filter", format!("{table:?}"), error);
        let mut listing = Listing::default();
        for family in Family::ALL {
            let mut child = self.start(&["-j", "list", "table", family.word(), table]).map_err(failed)?;
            drop(child.stdin.take());
            match wait(child) {
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
