//! Files into the tree of the package.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use crate::sh;

pub(super) fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(fs::set_permissions(to, Permissions::from_mode(mode))?)
}

/// With gzip(1), as Debian's policy wants it.
pub(super) fn compress(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new("/")))?;
    let mut gzip = sh::command("gzip", &["-9", "--no-name", "--stdout"]);
    gzip.arg(from).stdout(File::create(to)?);
    let status = gzip.status().context("cannot run gzip")?;
    if !status.success() {
        bail!("gzip cannot compress {}", from.display());
    }
    Ok(fs::set_permissions(to, Permissions::from_mode(0o644))?)
}
