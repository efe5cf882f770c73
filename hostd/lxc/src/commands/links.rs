use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use wire::{Code, Failure};

use super::names;

/// Create links in a directory, so that this program is found under the names of LXC's commands
#[derive(Debug, Args)]
pub struct LxcLinks {
    /// The directory, e.g. /usr/libexec/tenantry/lxc; put it in front of $PATH
    dir: PathBuf,
    /// Target of the links; default: this program
    #[arg(long, value_name = "PATH")]
    target: Option<PathBuf>,
}

impl LxcLinks {
    /// Makes them.
    ///
    /// # Errors
    /// A link cannot be made, or something else has its name.
    pub fn run(&self) -> std::result::Result<ExitCode, Failure> {
        let make = || -> io::Result<()> {
            let here = std::env::current_exe()?;
            let target = self.target.as_deref().unwrap_or(&here);
            fs::create_dir_all(&self.dir)?;
            names().try_for_each(|name| link(target, &self.dir.join(name)))
        };
        make().map_err(|error| {
            Failure::new(Code::Failed, format!("cannot create links in {:?}: {error}", self.dir))
                .help("use a separate directory: only links are replaced there")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Creates a link; only another link is replaced.
fn link(target: &Path, path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{path:?} is not a link")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(target, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_again_and_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let links = LxcLinks { dir: dir.path().join("lxc"), target: Some("../bin/tenantctl".into()) };
        links.run().unwrap();
        links.run().unwrap();
        for name in ["lxc-start", "lxc-autostart", "lxc-copy", "lxc-monitor", "lxc-snapshot"] {
            let target = fs::read_link(dir.path().join("lxc").join(name)).unwrap();
            assert_eq!(target.to_str(), Some("../bin/tenantctl"), "{name}");
        }
        fs::remove_file(dir.path().join("lxc/lxc-ls")).unwrap();
        fs::write(dir.path().join("lxc/lxc-ls"), "mine").unwrap();
        assert!(links.run().is_err());
        assert_eq!(fs::read_to_string(dir.path().join("lxc/lxc-ls")).unwrap(), "mine");
    }
}
