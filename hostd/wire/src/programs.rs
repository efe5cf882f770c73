//! Where the other programs of Tenantry are.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
};

use ::tenant::Layout;

use crate::failure::{Code, Failure};

/// Environment variable with the directory of the program `tenant`.
const LIBEXEC: &str = "TENANTRY_LIBEXEC";

/// A program that is not found.
#[derive(Debug, thiserror::Error)]
pub enum NoProgram {
    /// Where this program is, is not told.
    #[error("cannot find the path of this program")]
    Here(#[source] io::Error),
    /// It is nowhere.
    #[error("cannot find the program `{0}` in any of {1:?}")]
    Missing(&'static str, Vec<PathBuf>),
}

impl NoProgram {
    /// The remedy.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Here(_) => None,
            Self::Missing(..) => Some("install it, or set TENANTRY_LIBEXEC to its directory"),
        }
    }
}

impl From<NoProgram> for Failure {
    fn from(error: NoProgram) -> Self {
        let failure = Self::of(Code::Failed, &error);
        match error.help() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// Where the package has the programs that are not for a shell.
const INSTALLED: &str = "/usr/libexec/tenantry";

/// Finds the program `tenant`: in `$TENANTRY_LIBEXEC` and nowhere else if that is set; otherwise next to this one,
/// otherwise in `/usr/libexec/tenantry`.
///
/// # Errors
/// It is in none of these places.
pub fn tenant() -> Result<PathBuf, NoProgram> {
    let dirs = match env::var_os(LIBEXEC) {
        Some(dir) => vec![PathBuf::from(dir)],
        None => vec![here()?, PathBuf::from(INSTALLED)],
    };
    find("tenant", dirs)
}

/// `tenant exec` without a terminal: the words of the command inside, and its streams, are still to be given.
///
/// # Errors
/// The program is not found.
pub fn inside(layout: &Layout, name: &str) -> Result<Command, NoProgram> {
    let mut command = Command::new(tenant()?);
    command.arg("--root").arg(layout.root()).args(["exec", "--no-tty", name, "--"]);
    Ok(command)
}

/// Finds the program `rootfsctl`: next to this one, otherwise next to `tenant`.
///
/// # Errors
/// It is in none of these places.
pub fn rootfsctl() -> Result<PathBuf, NoProgram> {
    let mut dirs = vec![here()?];
    dirs.extend(tenant().ok().and_then(|program| Some(program.parent()?.to_owned())));
    find("rootfsctl", dirs)
}

/// The directory of this program.
fn here() -> Result<PathBuf, NoProgram> {
    let here = env::current_exe().map_err(NoProgram::Here)?;
    Ok(here.parent().unwrap_or(Path::new("/")).to_owned())
}

fn find(program: &'static str, dirs: Vec<PathBuf>) -> Result<PathBuf, NoProgram> {
    let found = dirs.iter().map(|dir| dir.join(program)).find(|path| path.is_file());
    found.ok_or(NoProgram::Missing(program, dirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_taken_from_the_first_directory_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let [none, first, second] = ["none", "first", "second"].map(|name| dir.path().join(name));
        for dir in [&first, &second] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("tenant"), "").unwrap();
        }
        let found = find("tenant", vec![none.clone(), first.clone(), second]).unwrap();
        assert_eq!(found, first.join("tenant"));
        let error = find("tenant", vec![none.clone(), first.join("tenant")]).unwrap_err().to_string();
        assert!(error.contains("`tenant`") && error.contains(&format!("{none:?}")), "{error}");
    }
}
