//! Building the programs that demo, test and bench run.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::sh;

/// Builds the release programs; the directory they are in.
pub(crate) fn build() -> Result<PathBuf> {
    build_targets(&["--bins"])
}

/// Builds the supervisor of which protections can be taken out, next to the release programs.
pub(crate) fn build_unprotected() -> Result<()> {
    build_packages(&["--bin", "unprotected"], &["unprotected"]).map(drop)
}

/// Builds `rootfsctl` alone, which is less than half of the work; the directory it is in.
pub(crate) fn build_rootfsctl() -> Result<PathBuf> {
    build_targets(&["--bin", "rootfsctl"])
}

/// Of the same packages each time: another choice would turn on other features, and everything be compiled twice.
fn build_targets(targets: &[&str]) -> Result<PathBuf> {
    build_packages(targets, &[])
}

fn build_packages(targets: &[&str], more: &[&str]) -> Result<PathBuf> {
    let mut cargo = sh::cargo(&["build", "--release"]);
    cargo.args(targets);
    let packages = ["tenant", "rootfs-tools", "hostd", "ctl"];
    cargo.args(packages.iter().chain(more).map(|package| format!("--package={package}")));
    sh::show(cargo)?;
    Ok(sh::target().join("release"))
}

/// Builds the probe as one static file; its path.
pub(crate) fn build_probe() -> Result<PathBuf> {
    let triple = host_triple()?;
    let args = ["build", "--release", "--package", "tenantry-tests", "--bin", "probe", "--target"];
    let mut cargo = sh::cargo(&args);
    // With an explicit target the flags reach neither build scripts nor the other programs.
    cargo.arg(&triple).env("RUSTFLAGS", "-C target-feature=+crt-static");
    sh::show(cargo)?;
    Ok(sh::target().join(triple).join("release/probe"))
}

/// The compiler's name of this machine.
pub(crate) fn host_triple() -> Result<String> {
    let version = sh::read(sh::command("rustc", &["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}
