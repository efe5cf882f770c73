//! What goes where: the one table of the package.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::sh;

/// Where something of the package comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A program, stripped.
    Program(&'static str),
    /// All files of one kind in a directory of the repository: directory, extension. A directory that does not exist
    /// has none.
    Tree(&'static str, &'static str),
    /// A file of the repository.
    File(&'static str),
    /// A file that the build makes.
    Made(&'static str),
    /// A file of the repository, compressed.
    Compressed(&'static str),
    /// The links in a directory that the build makes.
    Links(&'static str),
    /// Every man page, compressed.
    Pages,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) from: Source,
    /// Below the root: a directory for programs, trees, links and pages, else a file.
    pub(super) to: &'static str,
    pub(super) mode: u32,
}

const fn row(from: Source, to: &'static str, mode: u32) -> Row {
    Row { from, to, mode }
}

/// Everything in the package.
pub(super) const FILES: &[Row] = &[
    row(Source::Program("tenantctl"), "usr/bin", 0o755),
    row(Source::Program("rootfsctl"), "usr/bin", 0o755),
    row(Source::Program("tenant"), "usr/libexec/tenantry", 0o755),
    row(Source::Program("hostd"), "usr/libexec/tenantry", 0o755),
    row(Source::Links("lxc"), "usr/libexec/tenantry/lxc", 0o777),
    row(Source::Tree("systemd", "service"), "lib/systemd/system", 0o644),
    row(Source::Tree("systemd", "socket"), "lib/systemd/system", 0o644),
    row(Source::Tree("systemd", "slice"), "lib/systemd/system", 0o644),
    row(Source::Tree("systemd", "target"), "lib/systemd/system", 0o644),
    row(Source::Tree("systemd/tmpfiles.d", "conf"), "usr/lib/tmpfiles.d", 0o644),
    row(Source::Tree("systemd/sysusers.d", "conf"), "usr/lib/sysusers.d", 0o644),
    row(Source::Tree("systemd/polkit", "rules"), "usr/share/polkit-1/rules.d", 0o644),
    row(Source::Tree("systemd/catalog", "catalog"), "usr/lib/systemd/catalog", 0o644),
    row(Source::File("systemd/apparmor.d/tenantry-tenant"), "etc/apparmor.d/tenantry-tenant", 0o644),
    row(Source::Tree("profiles", "toml"), "usr/share/tenantry/profiles", 0o644),
    row(Source::File("tests/xtask/src/deb/hostd.toml"), "etc/tenantry/hostd.toml", 0o644),
    row(Source::Made("tenantctl.bash"), "usr/share/bash-completion/completions/tenantctl", 0o644),
    row(Source::Made("tenantctl.zsh"), "usr/share/zsh/vendor-completions/_tenantctl", 0o644),
    row(Source::Made("tenantctl.fish"), "usr/share/fish/vendor_completions.d/tenantctl.fish", 0o644),
    row(Source::Made("rootfsctl.bash"), "usr/share/bash-completion/completions/rootfsctl", 0o644),
    row(Source::Made("rootfsctl.zsh"), "usr/share/zsh/vendor-completions/_rootfsctl", 0o644),
    row(Source::Made("rootfsctl.fish"), "usr/share/fish/vendor_completions.d/rootfsctl.fish", 0o644),
    row(Source::Pages, "usr/share/man", 0o644),
    row(Source::File("tests/xtask/src/deb/copyright"), "usr/share/doc/tenantry/copyright", 0o644),
    row(Source::File("tests/xtask/src/deb/README.Debian"), "usr/share/doc/tenantry/README.Debian", 0o644),
    row(Source::Compressed("CHANGELOG.md"), "usr/share/doc/tenantry/changelog.gz", 0o644),
    row(Source::File("tests/xtask/src/deb/lintian-overrides"), "usr/share/lintian/overrides/tenantry", 0o644),
];

/// Files below the root that an admin may change, and an upgrade then leaves alone.
pub(super) fn conffiles() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.to).filter(|to| to.starts_with("etc/"))
}

/// Files with an extension in a directory, in order. A directory that does not exist has none.
pub(super) fn of_kind(dir: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file() && path.extension().is_some_and(|ending| ending == kind));
    files.sort();
    Ok(files)
}

/// Files of systemd/ and profiles/ that no row takes.
pub(super) fn forgotten() -> Result<Vec<String>> {
    let repository = sh::repository();
    let mut taken = Vec::new();
    for file in FILES {
        match file.from {
            Source::Tree(dir, kind) => taken.extend(of_kind(&repository.join(dir), kind)?),
            Source::File(file) => taken.push(repository.join(file)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for dir in ["systemd", "profiles"] {
        collect(&repository.join(dir), &mut found)?;
    }
    found.retain(|path| !taken.contains(path) && !path.ends_with("README.md"));
    Ok(found
        .iter()
        .map(|path| path.strip_prefix(&repository).unwrap_or(path).display().to_string())
        .collect())
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_every_profile_is_in_the_package() {
        assert_eq!(forgotten().unwrap(), Vec::<String>::new());
        let count = |dir: &str, kind| of_kind(&sh::repository().join(dir), kind).unwrap().len();
        assert!(count("systemd", "service") >= 2 && count("profiles", "toml") >= 5);
    }

    #[test]
    fn every_file_that_a_row_names_exists() {
        for file in FILES {
            if let Source::File(path) | Source::Compressed(path) = file.from {
                assert!(sh::repository().join(path).is_file(), "{path}");
            }
        }
    }

    #[test]
    fn what_the_units_execute_is_where_the_package_puts_it() {
        let programs: Vec<String> = FILES
            .iter()
            .filter_map(|file| match file.from {
                Source::Program(name) => Some(format!("/{}/{name}", file.to)),
                _ => None,
            })
            .collect();
        for unit in of_kind(&sh::repository().join("systemd"), "service").unwrap() {
            let text = fs::read_to_string(&unit).unwrap();
            let lines = text.lines().filter(|line| line.starts_with("Exec"));
            for command in lines.filter_map(|line| line.split_once('=')) {
                let program = command.1.trim_start_matches(['-', '+', '!', '@', ':']).split(' ').next();
                let program = program.unwrap_or_default().to_owned();
                assert!(programs.contains(&program), "{}: {program}", unit.display());
            }
        }
    }

    #[test]
    fn every_page_that_a_unit_names_is_in_the_package() {
        let ours = ["tenant", "hostd", "nics.toml", "profile.toml"];
        let pages: Vec<String> = super::super::pages::PAGES.iter().map(|page| page.name()).collect();
        for kind in ["service", "socket", "slice", "target"] {
            for unit in of_kind(&sh::repository().join("systemd"), kind).unwrap() {
                let text = fs::read_to_string(&unit).unwrap();
                let lines = text.lines().filter_map(|line| line.strip_prefix("Documentation="));
                for page in
                    lines.flat_map(|line| line.split(' ')).filter_map(|page| page.strip_prefix("man:"))
                {
                    let is_ours = ours.iter().any(|start| page.starts_with(start)) && !page.ends_with("(1)");
                    assert!(!is_ours || pages.iter().any(|name| name == page), "{}: {page}", unit.display());
                }
            }
        }
    }
}
