//! What an image is and how it boots, detected from its tree.

use std::{io, path::Path};

use tenant::model::image::{Boot, InitKind, Ready, TopEntry};

use crate::{
    rootdir::RootDir,
    tree::{Entry, Kind},
};

/// The `PRETTY_NAME` of os-release(5), control characters taken out, or `fallback`.
///
/// # Errors
/// A file that exists and cannot be read.
pub fn os_name(root: &RootDir, fallback: &str) -> io::Result<String> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let Some(text) = root.text(path)? else { continue };
        let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        if let Some(name) = name {
            let name = name.trim().trim_matches(['"', '\'']);
            return Ok(name.chars().filter(|c| !c.is_control()).take(128).collect());
        }
    }
    Ok(fallback.to_owned())
}

/// Paths of an init, the most likely first.
pub(crate) const INIT: [&str; 4] = ["sbin/init", "usr/sbin/init", "init", "bin/init"];
/// Largest init that is read, bytes.
const MAX_INIT: u64 = 8 << 20;

fn init(root: &RootDir) -> Option<&'static str> {
    INIT.into_iter().find(|path| root.is_file(path))
}

/// The name of the program that `path` is when its links are followed.
fn program(root: &RootDir, path: &str) -> String {
    let resolved = root.canonical(path).unwrap_or_default();
    resolved.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Which init the tree has; none if it has no init.
///
/// # Errors
/// A file that exists and cannot be read.
pub fn init_kind(root: &RootDir) -> io::Result<Option<InitKind>> {
    let Some(path) = init(root) else { return Ok(None) };
    match program(root, path).as_str() {
        "systemd" => return Ok(Some(InitKind::Systemd)),
        "openrc-init" => return Ok(Some(InitKind::OpenRc)),
        "runit" | "runit-init" => return Ok(Some(InitKind::Runit)),
        name if name.starts_with("busybox") => return Ok(Some(InitKind::Busybox)),
        _ => {}
    }
    let program = root.text_up_to(path, MAX_INIT)?.unwrap_or_default();
    // A copy instead of a link.
    if program.contains("BusyBox v") {
        return Ok(Some(InitKind::Busybox));
    }
    // The named pipe by which telinit(8) speaks with sysvinit.
    let is_sysvinit = ["/run/initctl", "/dev/initctl"].iter().any(|pipe| program.contains(pipe));
    // Whatever it runs at boot, for example OpenRC: only the way it is asked to stop matters.
    Ok(Some(if is_sysvinit { InitKind::SysV } else { InitKind::Other }))
}

/// How the tree's init is started and stopped. An image without an init has an empty `init`: only tenants with
/// a command of their own can use it.
pub fn boot(root: &RootDir) -> Boot {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let init = init(root);
    let program = init.map(|path| program(root, path)).unwrap_or_default();
    let getty = getty(root);
    match (init, program.as_str()) {
        (_, "systemd") => Boot {
            init: words(&["/sbin/init"]),
            stop_signal: "SIGRTMIN+4".to_owned(),
            ready: Ready::Notify,
            getty,
        },
        // busybox init: SIGUSR2 powers off, SIGUSR1 halts, SIGTERM reboots.
        (Some(path), "busybox") => Boot {
            init: vec![format!("/{path}")],
            stop_signal: "SIGUSR2".to_owned(),
            ready: Ready::Exec,
            getty,
        },
        // sysvinit and OpenRC's init take a failing power supply as a reason to halt.
        (Some(path), _) => Boot {
            init: vec![format!("/{path}")],
            stop_signal: "SIGPWR".to_owned(),
            ready: Ready::Exec,
            getty,
        },
        (None, _) => Boot { init: Vec::new(), stop_signal: "SIGTERM".to_owned(), ready: Ready::Exec, getty },
    }
}

fn getty(root: &RootDir) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let is_busybox =
        |path| root.canonical(path).is_some_and(|file| file.file_name() == Some("busybox".as_ref()));
    if root.is_file("sbin/agetty") {
        return words(&["/sbin/agetty", "-o", "-p -- \\u", "--noclear", "--keep-baud", "-", "linux"]);
    }
    if root.is_file("sbin/getty") && is_busybox("sbin/getty") {
        return words(&["/sbin/getty", "0", "-", "linux"]);
    }
    Vec::new()
}

/// The entries of the top level, sorted by name. Entries that are neither directories nor links are left
/// out: a tenant's root does not need them.
pub fn top(entries: &[Entry]) -> Vec<TopEntry> {
    let mut top: Vec<_> = entries
        .iter()
        .filter(|entry| entry.path.components().count() == 1)
        .filter_map(|entry| {
            let name = entry.path.to_str()?.to_owned();
            match &entry.kind {
                Kind::Dir => Some(TopEntry { name, mode: Some(entry.mode), target: None }),
                Kind::Symlink(target) => {
                    Some(TopEntry { name, mode: None, target: Some(target.to_str()?.to_owned()) })
                }
                _ => None,
            }
        })
        .collect();
    top.sort_by(|a, b| a.name.cmp(&b.name));
    top
}

/// Apparent size of all files in bytes (hard links once), and the number of entries.
pub fn size(entries: &[Entry]) -> (u64, u64) {
    let mut seen = std::collections::HashSet::new();
    let bytes = entries
        .iter()
        .filter(|entry| entry.links < 2 || seen.insert(entry.inode))
        .map(|entry| entry.size)
        .sum();
    (bytes, entries.len() as u64)
}

/// The architecture of the tree's programs as `uname -m` prints it, read from an ELF header; the host's
/// where there is none.
pub fn arch(tree: &Path, entries: &[Entry]) -> String {
    use std::io::Read as _;
    let candidates =
        ["usr/bin/busybox", "usr/lib/systemd/systemd", "usr/bin/sh", "usr/bin/dash", "usr/bin/bash"];
    let machine = candidates
        .iter()
        .filter(|path| entries.iter().any(|e| e.path == Path::new(path) && e.kind == Kind::File))
        .find_map(|path| {
            let mut header = [0; 20];
            std::fs::File::open(tree.join(path)).ok()?.read_exact(&mut header).ok()?;
            let little = header.starts_with(b"\x7fELF") && header[5] == 1;
            little.then(|| u16::from_le_bytes([header[18], header[19]]))
        });
    match machine {
        Some(0x03) => "i686".to_owned(),
        Some(0x28) => "armv7l".to_owned(),
        Some(0x3e) => "x86_64".to_owned(),
        Some(0xb7) => "aarch64".to_owned(),
        Some(0xf3) => "riscv64".to_owned(),
        _ => rustix::system::uname().machine().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, RootDir) {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn systemd_is_found_behind_its_links() {
        let (dir, root) = tree();
        root.symlink("usr/sbin", "sbin").unwrap();
        root.write("usr/lib/systemd/systemd", b"", 0o755).unwrap();
        root.symlink("/lib/systemd/systemd", "usr/sbin/init").unwrap();
        root.symlink("usr/lib", "lib").unwrap();
        let boot = boot(&root);
        assert_eq!((boot.stop_signal.as_str(), boot.ready), ("SIGRTMIN+4", Ready::Notify));
        let top = top(&crate::tree::walk(dir.path()).unwrap());
        assert_eq!(top.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["lib", "sbin", "usr"]);
        assert_eq!(top[0].target.as_deref(), Some("usr/lib"));
    }

    /// Trees as the packages of Debian, Alpine and Void make them; of programs only the words that tell them apart.
    #[test]
    fn each_init_is_told_by_what_it_is() {
        type Make = fn(&RootDir);
        let sysv = |root: &RootDir| root.write("sbin/init", b"\x7fELF\0/run/initctl\0", 0o755).unwrap();
        let inits: &[(&str, Option<InitKind>, Make)] = &[
            ("none", None, |_| {}),
            ("systemd-sysv", Some(InitKind::Systemd), |root| {
                root.write("usr/lib/systemd/systemd", b"\x7fELF\0/run/initctl\0", 0o755).unwrap();
                root.symlink("usr/lib", "lib").unwrap();
                root.symlink("/lib/systemd/systemd", "sbin/init").unwrap();
            }),
            ("a link that leads out", Some(InitKind::Systemd), |root| {
                root.write("systemd", b"", 0o755).unwrap();
                root.symlink("../../../../../systemd", "sbin/init").unwrap();
            }),
            ("sysvinit-core", Some(InitKind::SysV), |root| {
                root.write("etc/inittab", b"id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n", 0o644)
                    .unwrap();
                root.write("lib/init/rcS", b"#!/bin/sh\nexec /lib/init/rc S\n", 0o755).unwrap();
                root.symlink("/lib/init/rcS", "etc/init.d/rcS").unwrap();
            }),
            ("sysvinit-core with openrc", Some(InitKind::SysV), |root| {
                root.write("etc/inittab", b"# openrc\nsi::sysinit:/etc/init.d/rcS\n", 0o644).unwrap();
                root.write("etc/init.d/rcS", b"#!/bin/sh\nexec /sbin/openrc sysinit\n", 0o755).unwrap();
            }),
            ("Gentoo", Some(InitKind::SysV), |root| {
                root.write("etc/inittab", b"si::sysinit:/sbin/openrc sysinit\n", 0o644).unwrap();
            }),
            ("a comment is not OpenRC", Some(InitKind::SysV), |root| {
                root.write("etc/inittab", b"#si::sysinit:/sbin/openrc sysinit\n", 0o644).unwrap();
            }),
            ("openrc-init", Some(InitKind::OpenRc), |root| {
                root.write("sbin/openrc-init", b"\x7fELF", 0o755).unwrap();
                root.symlink("openrc-init", "sbin/init").unwrap();
            }),
            ("runit-init", Some(InitKind::Runit), |root| {
                root.write("lib/runit/runit-init", b"\x7fELF", 0o755).unwrap();
                root.symlink("/lib/runit/runit-init", "sbin/init").unwrap();
            }),
            ("Alpine", Some(InitKind::Busybox), |root| {
                root.write("bin/busybox", b"\x7fELF\0/dev/initctl\0", 0o755).unwrap();
                root.write("etc/inittab", b"::sysinit:/sbin/openrc sysinit\n", 0o644).unwrap();
                root.symlink("/bin/busybox", "sbin/init").unwrap();
            }),
            ("a copy of busybox", Some(InitKind::Busybox), |root| {
                root.write("init", b"\x7fELF\0BusyBox v1.35.0\0", 0o755).unwrap();
            }),
            ("a script", Some(InitKind::Other), |root| {
                root.write("sbin/init", b"#!/bin/sh\nexec sleep inf\n", 0o755).unwrap();
            }),
        ];
        for (what, kind, make) in inits {
            let (_dir, root) = tree();
            if matches!(kind, Some(InitKind::SysV | InitKind::OpenRc)) {
                sysv(&root);
            }
            make(&root);
            assert_eq!(init_kind(&root).unwrap(), *kind, "{what}");
        }
    }

    #[test]
    fn an_image_without_init_says_so() {
        let (_dir, root) = tree();
        assert!(boot(&root).init.is_empty());
        assert_eq!(os_name(&root, "mine").unwrap(), "mine");
        root.write("etc/os-release", b"ID=x\nPRETTY_NAME=\"Some\x1b OS\"\n", 0o644).unwrap();
        assert_eq!(os_name(&root, "mine").unwrap(), "Some OS");
    }
}
