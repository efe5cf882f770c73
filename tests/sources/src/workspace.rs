//! The files of the repository and the targets of its crates.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Built>,
}

#[derive(Deserialize)]
struct Built {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

/// A library, a program or a test: a tree of modules below one file.
pub(crate) struct Target {
    pub(crate) package: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Its root file, from the top of the repository.
    pub(crate) root: PathBuf,
}

/// Runs a program and returns what it prints.
fn read(program: &str, args: &[&str], dir: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} did not print UTF-8"))
}

/// The top of the repository around the current directory.
pub(crate) fn top() -> Result<PathBuf> {
    let top = read("git", &["rev-parse", "--show-toplevel"], Path::new("."))?;
    Ok(PathBuf::from(top.trim_end()))
}

/// Every file that git knows of, and that is there, from the top of the repository.
pub(crate) fn files(top: &Path) -> Result<Vec<PathBuf>> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let mut files: Vec<PathBuf> =
        read("git", &args, top)?.split_terminator('\0').map(PathBuf::from).collect();
    files.retain(|file| top.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

/// All targets of the workspace's crates.
pub(crate) fn targets(top: &Path) -> Result<Vec<Target>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let metadata: Metadata = serde_json::from_str(&read(&cargo, &args, top)?)?;
    let mut targets = Vec::new();
    for package in metadata.packages {
        for built in package.targets {
            let root = built.src_path.strip_prefix(top).context("a target outside of the repository")?;
            let kind = built.kind.first().cloned().unwrap_or_default();
            if kind != "custom-build" {
                let (package, root) = (package.name.clone(), root.to_owned());
                targets.push(Target { package, name: built.name, kind, root });
            }
        }
    }
    Ok(targets)
}
