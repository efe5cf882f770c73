//! The version of the package, and its time.

use std::{fmt, fs};

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// The revision of the packaging.
const REVISION: &str = "1";

/// The version of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Version {
    /// That of the workspace, the packaging's revision, and what is appended.
    ///
    /// # Errors
    /// The suffix has characters that a version cannot have, see deb-version(7).
    pub(super) fn new(suffix: &str) -> Result<Self> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "+.~".contains(c);
        if !suffix.chars().all(is_fine) || suffix.chars().next().is_some_and(|c| c.is_ascii_alphanumeric()) {
            bail!(
                "the version suffix {suffix:?} cannot be part of a version\nhelp: something like +test1 or ~rc1"
            );
        }
        let manifest = fs::read_to_string(sh::repository().join("Cargo.toml"))?;
        let manifest: toml::Table = manifest.parse().context("cannot read Cargo.toml")?;
        let package = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
        let version = package.and_then(|package| package.get("version")).and_then(toml::Value::as_str);
        Ok(Self(format!("{}-{REVISION}{suffix}", version.context("the workspace has no version")?)))
    }
}

/// The time that everything in the package has, in seconds since 1970: `$SOURCE_DATE_EPOCH`, otherwise that of the
/// last commit.
///
/// # Errors
/// Neither is there.
pub(super) fn epoch() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let repository = sh::repository();
            let repository = repository.to_string_lossy();
            // A directory that belongs to somebody else is no reason to refuse: nothing is run from it.
            let safe = format!("safe.directory={repository}");
            let args = ["-c", &safe, "-C", &repository, "log", "-1", "--format=%ct"];
            sh::read(sh::command("git", &args))
                .context("cannot tell the time of the last commit\nhelp: set SOURCE_DATE_EPOCH")?
        }
    };
    text.trim().parse().with_context(|| format!("{:?} is no number of seconds", text.trim()))
}

/// A time as date(1) prints it, in UTC.
pub(super) fn date(epoch: u64, format: &str) -> Result<String> {
    let mut date = sh::command("date", &["--utc", &format!("--date=@{epoch}"), &format!("+{format}")]);
    date.env("LC_ALL", "C");
    Ok(sh::read(date)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_what_dpkg_takes_and_nothing_else() {
        assert!(Version::new("+test1").unwrap().0.ends_with("-1+test1"));
        assert!(Version::new("~rc1").is_ok() && Version::new("").is_ok());
        for suffix in ["1", "-2", "+a b", "/", "+é"] {
            assert!(Version::new(suffix).is_err(), "{suffix:?}");
        }
    }
}
