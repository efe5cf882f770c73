//! Makes an image boot fast and use little memory as a tenant, without removing anything that a tenant needs.
//!
//! [`table`] says what is done; this module does it. Measured with one Debian 12 image:
//! 0.27 s and 8.8 MiB to multi-user untuned, 0.07 s and 2.7 MiB tuned; sshd, login, D-Bus and the
//! journal start when they are used.

mod inits;
pub(crate) mod inittab;
mod locale;
mod masks;
mod packages;
mod row;
mod table;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

pub use row::{Action, DROP_IN, Row, Scope, USR_IS_OWN};
use rustix::fs::FileType;
pub use table::table;

use crate::{
    explain::{Explain, Outcome},
    first_boot,
    rootdir::RootDir,
};

/// Where units of the image lie.
const UNITS: [&str; 3] = ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system"];

/// A row that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot apply the tuning {row:?}")]
pub struct TuningError {
    row: &'static str,
    #[source]
    source: io::Error,
}

impl Explain for TuningError {
    fn help(&self) -> Option<String> {
        None
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Applies the whole table to a tree, and adds the first-boot steps. Returns the ids of the rows that changed
/// something. Rows about systemd apply to trees with systemd only.
///
/// # Errors
/// The first row that fails.
pub fn apply(root: &RootDir) -> Result<Vec<&'static str>, TuningError> {
    let mut changed = Vec::new();
    for row in table().filter(|row| concerns(root, row)) {
        if apply_row(root, row).map_err(|source| TuningError { row: row.id, source })? {
            changed.push(row.id);
        }
    }
    let row = "first-boot";
    if first_boot::install(root).map_err(|source| TuningError { row, source })? {
        changed.push(row);
    }
    Ok(changed)
}

/// Rows about units and ttys that a tree lacks.
pub fn missing(root: &RootDir) -> Vec<&'static Row> {
    table().filter(|row| concerns(root, row) && !is_done(root, row)).collect()
}

fn concerns(root: &RootDir, row: &Row) -> bool {
    !row.action.is_about_systemd() || root.is_file("usr/lib/systemd/systemd")
}

fn is_done(root: &RootDir, row: &Row) -> bool {
    match row.action {
        Action::Mask(units) => units.iter().filter(|unit| has_unit(root, unit)).all(|unit| {
            let is_null = |path: &Path| root.link(path).as_deref() == Some(Path::new("/dev/null"));
            let own = format!("etc/systemd/system/{unit}");
            let is_unread = |links: Vec<Dependency>| links.iter().all(|link| is_null(&link.etc));
            is_null(Path::new(&own)) && dependencies(root, unit).is_ok_and(is_unread)
        }),
        Action::Locale => matches!(locale::missing(root), Ok(None)),
        Action::Inittab => matches!(fitted_inittab(root), Ok(None)),
        _ => true,
    }
}

/// The new `/etc/inittab`; none if nothing changes.
fn fitted_inittab(root: &RootDir) -> io::Result<Option<String>> {
    let Some(text) = root.text(inittab::PATH)? else { return Ok(None) };
    let fitted = inittab::fit(&text, root.has(inittab::POWERFAIL));
    Ok((fitted != text).then_some(fitted))
}

fn has_unit(root: &RootDir, unit: &str) -> bool {
    UNITS.iter().any(|dir| root.has(format!("{dir}/{unit}")))
}

/// Links `path` to `target` and returns whether that was a change.
fn link(root: &RootDir, target: &str, path: impl AsRef<Path>) -> io::Result<bool> {
    let path = path.as_ref();
    if root.link(path).as_deref() == Some(Path::new(target)) {
        return Ok(false);
    }
    root.symlink(target, path)?;
    Ok(true)
}

/// Writes a file and returns whether that was a change.
fn write(root: &RootDir, path: &str, text: &str, mode: u32) -> io::Result<bool> {
    if root.text(path)?.as_deref() == Some(text) {
        return Ok(false);
    }
    root.write(path, text.as_bytes(), mode)?;
    Ok(true)
}

fn any(changes: impl IntoIterator<Item = io::Result<bool>>) -> io::Result<bool> {
    changes.into_iter().try_fold(false, |any, change| Ok(change? || any))
}

fn apply_row(root: &RootDir, row: &Row) -> io::Result<bool> {
    match row.action {
        Action::Mask(units) => {
            any(units.iter().filter(|unit| has_unit(root, unit)).map(|unit| mask(root, unit)))
        }
        Action::Unwant { target, units } => any(units.iter().map(|unit| unwant(root, target, unit))),
        Action::Want { target, unit } => {
            if !has_unit(root, unit) {
                return Ok(false);
            }
            link(
                root,
                &format!("/usr/lib/systemd/system/{unit}"),
                format!("etc/systemd/system/{target}.wants/{unit}"),
            )
        }
        Action::DefaultTarget(target) => {
            link(root, &format!("/usr/lib/systemd/system/{target}"), "etc/systemd/system/default.target")
        }
        Action::MaskGenerators(generators) => any(generators.iter().map(|name| mask_generator(root, name))),
        Action::MaskTmpfiles(files) => any(files
            .iter()
            .filter(|file| root.has(format!("usr/lib/tmpfiles.d/{file}")))
            .map(|file| link(root, "/dev/null", format!("etc/tmpfiles.d/{file}")))),
        Action::DropIn { units, text } => any(units
            .iter()
            .filter(|unit| has_unit(root, unit))
            .map(|unit| write(root, &format!("usr/lib/systemd/system/{unit}.d/{DROP_IN}"), text, 0o644))),
        Action::DropInAhead { units, text } => any(units
            .iter()
            .map(|unit| write(root, &format!("usr/lib/systemd/system/{unit}.d/{DROP_IN}"), text, 0o644))),
        Action::File { path, text, given } => Ok(root.has(given) && write(root, path, text, 0o644)?),
        Action::Program { path, text, given } => Ok(root.has(given) && write(root, path, text, 0o755)?),
        Action::Link { path, target, given } => Ok(root.has(given) && link(root, target, path)?),
        Action::RemoveIfEmpty(path) => {
            let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with(['#', ';']);
            match root.text(path)? {
                Some(text) if text.lines().all(is_comment) => root.remove(path),
                _ => Ok(false),
            }
        }
        Action::RemoveMatching(patterns) => {
            let mut found = Vec::new();
            for pattern in patterns {
                found.extend(root.glob(pattern)?);
            }
            any(found.iter().map(|path| root.remove(path)))
        }
        Action::KeepMounts(dirs) => {
            if !root.is_file("lib/systemd/systemd") {
                return Ok(false);
            }
            any(dirs.iter().filter(|dir| is_dir(root, dir)).map(|dir| {
                let path = format!("etc/systemd/system/{dir}.mount.d/{DROP_IN}");
                write(root, &path, "[Unit]\nDefaultDependencies=no\n", 0o644)
            }))
        }
        Action::Locale => match locale::missing(root)? {
            Some(path) => write(root, path, locale::TEXT, 0o644),
            None => Ok(false),
        },
        Action::Inittab => match fitted_inittab(root)? {
            Some(text) => write(root, inittab::PATH, &text, 0o644),
            None => Ok(false),
        },
        Action::UpdateStamps => any(["etc", "var"].map(|dir| {
            // Only its time matters, which must not be older than that of /usr, see systemd.unit(5).
            write(root, &format!("{dir}/.updated"), "# This file was made when the image was built.\n", 0o644)
        })),
    }
}

/// Whether there is a directory, not a link to one.
fn is_dir(root: &RootDir, path: &str) -> bool {
    let stat = root.stat(path).ok().flatten();
    stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn mask_generator(root: &RootDir, name: &str) -> io::Result<bool> {
    if !root.has(format!("usr/lib/systemd/system-generators/{name}")) {
        return Ok(false);
    }
    link(root, "/dev/null", format!("etc/systemd/system-generators/{name}"))
}

/// Masks a unit, and its dependencies: systemd reads a masked unit as well if another one wants it, and keeps it in memory.
fn mask(root: &RootDir, unit: &str) -> io::Result<bool> {
    let masked = link(root, "/dev/null", format!("etc/systemd/system/{unit}"))?;
    let links = dependencies(root, unit)?;
    let gone = any(links.iter().map(|Dependency { etc, is_static }| match is_static {
        true => link(root, "/dev/null", etc),
        // It would be in the way of `systemctl enable`.
        false => root.remove(etc),
    }))?;
    Ok(masked || gone)
}

/// A link by which a target, or another unit, wants or requires a unit.
struct Dependency {
    /// Where it is, or would be, in `/etc`.
    etc: PathBuf,
    /// Whether it comes with the image's `/usr`; otherwise the unit was enabled.
    is_static: bool,
}

/// The links to a unit, see systemd.unit(5).
fn dependencies(root: &RootDir, unit: &str) -> io::Result<Vec<Dependency>> {
    let mut found = BTreeMap::new();
    for dir in UNITS {
        for kind in ["wants", "requires"] {
            for path in root.glob(&format!("{dir}/*.{kind}/{unit}"))? {
                let Ok(below) = path.strip_prefix(dir) else { continue };
                let is_static = !dir.starts_with("etc");
                *found.entry(Path::new("etc/systemd/system").join(below)).or_default() |= is_static;
            }
        }
    }
    Ok(found.into_iter().map(|(etc, is_static)| Dependency { etc, is_static }).collect())
}

/// Removes the link of an enabled unit; a unit that is wanted from `/usr` gets a dependency mask in `/etc`, see
/// systemd.unit(5).
fn unwant(root: &RootDir, target: &str, unit: &str) -> io::Result<bool> {
    let wants = format!("etc/systemd/system/{target}.wants/{unit}");
    if root.has(format!("usr/lib/systemd/system/{target}.wants/{unit}")) {
        return link(root, "/dev/null", &wants);
    }
    root.remove(&wants)
}

#[cfg(test)]
mod tests;
