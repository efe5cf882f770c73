use std::{io, path::PathBuf, process::ExitCode};

use clap::Args;
use clap_complete::Shell;
use wire::{Code, Failure};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Write the man pages into a directory
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Which directory
    dir: PathBuf,
}

impl Completions {
    pub(super) fn run(&self, command: &mut clap::Command) -> super::Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "tenantctl", &mut script);
        client::output::write(&String::from_utf8_lossy(&script));
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    pub(super) fn run(&self, command: clap::Command) -> super::Result {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&self.dir)?;
            clap_mangen::generate_to(command, &self.dir)
        };
        write().map_err(|error| {
            Failure::new(Code::Failed, format!("cannot write man pages to {:?}: {error}", self.dir))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
