//! Files that programs write into the repository, so that a change of theirs is seen in review.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// A file and the example that prints it: package, feature, example.
const FILES: &[(&str, &str, &str, &str)] = &[("docs/reference/openapi.json", "hostd", "openapi", "openapi")];

pub(super) fn check(write: bool) -> Result<()> {
    let mut stale = Vec::new();
    for &(file, package, feature, example) in FILES {
        let args = ["run", "--quiet", "--package", package, "--features", feature, "--example", example];
        let fresh = sh::read(sh::cargo(&args))?;
        let path = sh::repository().join(file);
        if fs::read_to_string(&path).unwrap_or_default() == fresh {
            continue;
        }
        if write {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            fs::write(&path, fresh).with_context(|| format!("cannot write {file}"))?;
        } else {
            stale.push(file);
        }
    }
    if !stale.is_empty() {
        bail!("not up to date: {}\nhelp: cargo xtask check --write", stale.join(", "));
    }
    Ok(())
}
