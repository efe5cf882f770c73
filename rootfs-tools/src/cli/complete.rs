//! Completion scripts and man pages for the package, generated from the command line definition.

use std::{io::Write as _, path::PathBuf};

use clap_complete::Shell;

use super::context::Failure;

/// Arguments of `rootfsctl completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `rootfsctl man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Which directory.
    dir: PathBuf,
}

impl Completions {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "rootfsctl", &mut script);
        let written = std::io::stdout().write_all(&script);
        written.map_err(|error| Failure::plain("cannot write to standard output".to_owned(), error))
    }
}

impl Man {
    pub(super) fn run(&self, command: clap::Command) -> Result<(), Failure> {
        let made = std::fs::create_dir_all(&self.dir);
        made.and_then(|()| clap_mangen::generate_to(command, &self.dir))
            .map_err(|error| Failure::plain(format!("cannot write man pages to {:?}", self.dir), error))
    }
}
