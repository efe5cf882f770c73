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
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_row_has_its_own_id_and_a_reason() {
        let ids: BTreeSet<_> = table().map(|row| row.id).collect();
        assert_eq!(ids.len(), table().count());
        for row in table() {
            assert!(row.reason.len() > 10, "{} has no reason", row.id);
            let well_formed =
                row.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(well_formed, "{}", row.id);
        }
    }

    #[test]
    fn no_unit_is_masked_and_wanted_at_once() {
        let masked: BTreeSet<_> = table()
            .filter_map(|row| if let Action::Mask(units) = row.action { Some(units) } else { None })
            .flatten()
            .collect();
        for row in table() {
            let used = match row.action {
                Action::Want { unit, .. } => vec![unit],
                Action::DropIn { units, .. } => units.to_vec(),
                _ => Vec::new(),
            };
            assert!(!used.iter().any(|unit| masked.contains(unit)), "{} is masked and used", row.id);
        }
    }

    fn debian_like() -> (tempfile::TempDir, RootDir) {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        let units = "usr/lib/systemd/system";
        for unit in ["fstrim.timer", "dbus.service", "ssh.service", "ssh.socket", "systemd-journald.service"]
        {
            root.write(format!("{units}/{unit}"), b"", 0o644).unwrap();
        }
        root.write("usr/lib/systemd/systemd", b"", 0o755).unwrap();
        root.write("usr/lib/systemd/system-generators/systemd-sysv-generator", b"", 0o755).unwrap();
        root.symlink("../dbus.service", format!("{units}/multi-user.target.wants/dbus.service")).unwrap();
        root.symlink(
            "/lib/systemd/system/ssh.service",
            "etc/systemd/system/multi-user.target.wants/ssh.service",
        )
        .unwrap();
        (dir, root)
    }

    #[test]
    fn the_tuning_is_undone_in_etc_alone_and_done_only_once() {
        let (dir, root) = debian_like();
        assert!(!missing(&root).is_empty());
        assert!(apply(&root).unwrap().contains(&"ssh-on-demand"));
        assert_eq!(apply(&root).unwrap(), Vec::<&str>::new());
        assert!(missing(&root).is_empty());

        let null = Path::new("/dev/null");
        let etc = "etc/systemd/system";
        assert_eq!(root.link(format!("{etc}/fstrim.timer")).unwrap(), null);
        assert_eq!(root.link(format!("{etc}/multi-user.target.wants/dbus.service")).unwrap(), null);
        assert!(!root.has(format!("{etc}/multi-user.target.wants/ssh.service")));
        assert!(root.has(format!("{etc}/sockets.target.wants/ssh.socket")));
        assert!(!root.has(format!("{etc}/systemd-pstore.service")), "a unit the image lacks is masked");
        assert!(
            fs::symlink_metadata(dir.path().join("usr/lib/systemd/system/fstrim.timer")).unwrap().is_file()
        );
    }

    #[test]
    fn no_unit_wants_a_masked_one() {
        let (_dir, root) = debian_like();
        let (usr, etc) = ("usr/lib/systemd/system", "etc/systemd/system");
        root.write(format!("{usr}/systemd-udevd.service"), b"", 0o644).unwrap();
        let wanted = [
            (usr, "sockets.target.wants", "systemd-udevd.service"),
            (usr, "later.target.requires", "systemd-udevd.service"),
            (etc, "timers.target.wants", "fstrim.timer"),
            (etc, "timers.target.wants", "own.timer"),
        ];
        for (dir, target, unit) in wanted {
            root.symlink(format!("/usr/lib/systemd/system/{unit}"), format!("{dir}/{target}/{unit}"))
                .unwrap();
        }
        assert!(apply(&root).unwrap().contains(&"devices"));
        let target = |path: &str| root.link(format!("{etc}/{path}")).unwrap().display().to_string();
        assert_eq!(target("sockets.target.wants/systemd-udevd.service"), "/dev/null");
        assert_eq!(target("later.target.requires/systemd-udevd.service"), "/dev/null");
        // One that was enabled is not: with a link in its place `systemctl enable` would fail.
        assert!(!root.has(format!("{etc}/timers.target.wants/fstrim.timer")));
        assert_eq!(target("timers.target.wants/own.timer"), "/usr/lib/systemd/system/own.timer");
        // A tree that was tuned before lacks them, which is seen.
        assert!(missing(&root).is_empty());
        root.remove(format!("{etc}/sockets.target.wants/systemd-udevd.service")).unwrap();
        assert_eq!(missing(&root).iter().map(|row| row.id).collect::<Vec<_>>(), ["devices"]);
    }

    #[test]
    fn what_holds_for_a_shared_usr_asks_for_it() {
        for row in table().filter(|row| row.scope == Scope::SharedUsr) {
            let asks = match row.action {
                Action::DropIn { text, .. } => text == USR_IS_OWN,
                Action::File { text, .. } => text.contains("test -w /usr"),
                // Only the files ask before they run it.
                Action::Program { text, .. } => text.contains("[ -w /usr ]") || row.id == "package-tools",
                _ => false,
            };
            assert!(asks, "{} holds where packages are installed, too", row.id);
        }
    }

    #[test]
    fn nothing_is_masked_that_a_package_may_bring() {
        for row in table().filter(|row| row.scope != Scope::Everywhere) {
            assert!(!matches!(row.action, Action::Mask(_) | Action::Unwant { .. }), "{}", row.id);
        }
    }

    /// Runs the generator in a tree with a shell, and says which generators it ran.
    fn generated(root: &RootDir, dir: &Path) -> String {
        let tree = dir.display();
        let text = root.text("usr/lib/systemd/system-generators/tenantry-generators").unwrap().unwrap();
        // The tree has no shell to change the root to.
        let text =
            text.replace("/usr/lib", &format!("{tree}/usr/lib")).replace("/etc", &format!("{tree}/etc"));
        let output =
            std::process::Command::new("sh").args(["-c", &text, "sh", "a", "b", "c"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_generator_runs_where_it_has_something_to_read() {
        let (dir, root) = debian_like();
        for name in ["systemd-sysv-generator", "systemd-fstab-generator"] {
            let script = format!("#!/bin/sh\necho {name} $*\n");
            root.write(format!("usr/lib/systemd/system-generators/{name}"), script.as_bytes(), 0o755)
                .unwrap();
        }
        root.write("etc/init.d/dbus", b"#!/bin/sh\n", 0o755).unwrap();
        root.write("etc/init.d/README", b"text", 0o644).unwrap();
        root.write("etc/fstab", b"# no mounts\n\n  # none\n", 0o644).unwrap();
        apply(&root).unwrap();
        let mask = "etc/systemd/system-generators/systemd-sysv-generator";
        assert_eq!(root.link(mask).unwrap(), Path::new("/dev/null"));
        assert_eq!(generated(&root, dir.path()), "");
        root.write("etc/init.d/legacy.sh", b"#!/bin/sh\n", 0o755).unwrap();
        assert_eq!(generated(&root, dir.path()), "systemd-sysv-generator a b c\n");
        root.write("etc/fstab", b"# one\ntmpfs /mnt tmpfs", 0o644).unwrap();
        assert_eq!(
            generated(&root, dir.path()),
            "systemd-fstab-generator a b c\nsystemd-sysv-generator a b c\n"
        );
        // Masked units count as units; without its mask a generator runs by itself.
        root.symlink("/dev/null", "etc/systemd/system/legacy.service").unwrap();
        root.remove("etc/systemd/system-generators/systemd-fstab-generator").unwrap();
        assert_eq!(generated(&root, dir.path()), "");
    }

    #[test]
    fn settings_of_an_imported_system_are_kept() {
        let (_dir, root) = debian_like();
        root.write("etc/sysctl.conf", b"# comment\nnet.ipv4.ip_forward=1\n", 0o644).unwrap();
        apply(&root).unwrap();
        assert!(root.has("etc/sysctl.conf"));
        root.write("etc/sysctl.conf", b"# comment\n\n", 0o644).unwrap();
        apply(&root).unwrap();
        assert!(!root.has("etc/sysctl.conf"));
    }

    #[test]
    fn mounts_that_systemd_needs_to_its_end_are_kept_where_usr_is_not_merged() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.write("lib/systemd/systemd", b"", 0o755).unwrap();
        root.write("lib64/ld-linux-x86-64.so.2", b"", 0o755).unwrap();
        root.symlink("usr/bin", "bin").unwrap();
        assert_eq!(apply(&root).unwrap(), ["unmerged-usr"]);
        assert_eq!(root.list("etc/systemd/system").unwrap(), ["lib.mount.d", "lib64.mount.d"]);
    }

    #[test]
    fn what_the_host_mounts_is_not_unmounted_by_a_tenant_that_stops() {
        let profile = include_str!("../../../profiles/shared-os.toml");
        let dirs = profile.lines().filter_map(|line| line.strip_prefix('"')?.split_once("\" = "));
        // Others need no mount, or systemd leaves them alone by itself.
        let mounted: Vec<&str> = dirs
            .filter(|(at, policy)| !policy.starts_with("\"empty\"") && !["/etc", "/run"].contains(at))
            .map(|(at, _)| at)
            .collect();
        assert!(mounted.contains(&"/var") && mounted.contains(&"/tmp"), "{mounted:?}");
        let (_dir, root) = debian_like();
        apply(&root).unwrap();
        for at in mounted {
            let unit = at.trim_start_matches('/').replace('/', "-");
            let drop_in = root.text(format!("usr/lib/systemd/system/{unit}.mount.d/{DROP_IN}")).unwrap();
            assert_eq!(drop_in.as_deref(), Some("[Unit]\nDefaultDependencies=no\n"), "{at}");
        }
    }

    #[test]
    fn a_tree_without_systemd_is_tuned_for_its_own_init() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.write("etc/inittab", b"1:2345:respawn:/sbin/getty 38400 tty1\n", 0o644).unwrap();
        root.symlink("/etc/sv/getty-tty1", "etc/runit/runsvdir/default/getty-tty1").unwrap();
        root.symlink("/etc/sv/cron", "etc/runit/runsvdir/default/cron").unwrap();
        root.symlink("/etc/init.d/hostname", "etc/runlevels/boot/hostname").unwrap();
        assert!(missing(&root).iter().any(|row| row.id == "inittab"));
        assert_eq!(apply(&root).unwrap(), ["inittab", "runit-gettys", "openrc-hostname"]);
        assert!(missing(&root).is_empty());
        assert_eq!(root.list("etc/runit/runsvdir/default").unwrap(), ["cron"]);
        assert!(!root.has("etc/systemd") && !root.has("etc/.updated"));
        assert_eq!(apply(&root).unwrap(), Vec::<&str>::new());
    }
}
