//! Where the programs are that do part of the kernel's work: nft(8), veritysetup(8).

use std::{env, path::PathBuf};

/// Looks for a program on the path, and where systems keep what only root needs.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut programs = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    programs.find(|program| program.is_file())
}
