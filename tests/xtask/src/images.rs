//! The images that tests and benches boot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{bird, services, sh};

/// A root whose image store holds the named images, built at most once for each state of the sources
/// of `rootfs-tools`, and kept across runs.
pub(crate) fn images(bin: &Path, names: &[&str]) -> Result<PathBuf> {
    let root = sh::target().join("tenantry-cache/images");
    fs::create_dir_all(&root)?;
    let state = sh::read({
        let mut sum = sh::command("sha256sum", &[]);
        sum.arg(bin.join("rootfsctl"));
        sum
    })?;
    let state = state.split(' ').next().unwrap_or_default().to_owned();
    for name in names {
        let stamp = root.join(format!("{name}.stamp"));
        if fs::read_to_string(&stamp).is_ok_and(|text| text == state) {
            continue;
        }
        if *name == "bird" {
            bird::build(bin, &root)?;
            fs::write(&stamp, &state)?;
            continue;
        }
        if *name == "services" {
            if services::build(bin, &root)? {
                fs::write(&stamp, &state)?;
            }
            continue;
        }
        let mut build = Command::new(bin.join("rootfsctl"));
        build.arg("--root").arg(&root).arg("build");
        match name.strip_suffix("-stock") {
            Some(kind) => build.args([kind, "--stock", "--name", name]),
            None => build.arg(name),
        };
        sh::show(build)?;
        fs::write(&stamp, &state)?;
    }
    Ok(root)
}
