//! `build busybox`: a whole operating system in one static program, for tenants that boot in milliseconds.
//!
//! It is made offline from the host's busybox-static. After init, only what the tenant adds runs:
//! `/etc/init.d/rcS` or `/etc/inittab`; its ttys are served by the supervisor like those of any image.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    explain::{Explain, Outcome},
    rootdir::RootDir,
    tool::{BUSYBOX, Tool, ToolError},
};

/// Applets that would shadow real tools or are useless in a tenant.
const SKIPPED: &[&str] = &[
    "busybox", "dpkg", "dpkg-deb", "linuxrc", "nuke", "poweroff", "reboot", "resume", "rpm", "rpm2cpio",
    "run-init",
];

/// Directories and their modes.
const DIRS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc/init.d", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/sbin", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Files, their modes and texts.
const FILES: &[(&str, u32, &str)] = &[
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/shadow", 0o600, "root::19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"),
    ("etc/group", 0o644, "root:x:0:\ntty:x:5:\nutmp:x:43:\nnogroup:x:65534:\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    ("etc/profile", 0o644, "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nPS1='\\u@\\h:\\w\\$ '\n"),
    ("etc/issue", 0o644, "\\n \\l\n\n"),
    (
        "etc/inittab",
        0o644,
        "# No getty: the supervisor starts a login on a tty when a client attaches.\n\
         ::sysinit:/etc/init.d/rcS\n\
         ::restart:/sbin/init\n\
         ::shutdown:/etc/init.d/rcK\n",
    ),
    (
        "etc/init.d/rcS",
        0o755,
        "#!/bin/sh\n# Runs once at boot; network and mounts are already set up.\n: >/run/wtmp\n: >/run/utmp\n",
    ),
    ("etc/init.d/rcK", 0o755, RC_K),
    ("usr/sbin/reboot", 0o755, REBOOT),
    ("usr/sbin/poweroff", 0o755, POWEROFF),
    ("usr/lib/os-release", 0o644, "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=\"BusyBox\"\n"),
];

/// Ends all processes and exits without the two one-second pauses of busybox init where the kind of shutdown is
/// known: [`REBOOT`] and [`POWEROFF`] record it. The shell of busybox runs its own applets instead of these two; they leave a
/// record of a shutdown, and then init alone knows which one it was. Without a record the host asks to power off.
const RC_K: &str = "#!/bin/sh\n\
# Runs once at poweroff, halt and reboot.\n\
kill -TERM -1\n\
tries=0\n\
while set -- /proc/[0-9]*; [ $# -gt 2 ] && [ $tries -lt 30 ]; do\n\
\tusleep 100000\n\
\ttries=$((tries + 1))\n\
done\n\
sync\n\
[ -e /run/reboot ] && exec busybox reboot -f\n\
if [ ! -e /run/poweroff ] && grep -q shutdown /run/wtmp 2>/dev/null; then exit; fi\n\
exec busybox poweroff -f\n";

/// Tells [`RC_K`] to reboot.
const REBOOT: &str = "#!/bin/sh\n: >/run/reboot\nexec busybox reboot \"$@\"\n";
/// Tells [`RC_K`] to power off.
const POWEROFF: &str = "#!/bin/sh\n: >/run/poweroff\nexec busybox poweroff \"$@\"\n";

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BusyboxError {
    /// busybox is not installed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The host's busybox is dynamically linked.
    #[error("{0:?} is not statically linked")]
    NotStatic(PathBuf),
    /// The tree cannot be written.
    #[error("cannot write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Explain for BusyboxError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Tool(e) => e.help(),
            Self::NotStatic(_) => Some("apt install busybox-static".to_owned()),
            Self::Write { .. } => None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Makes the tree in `tree`, which must not exist, and returns a line for the manifest that names its origin.
///
/// # Errors
/// [`BusyboxError`].
pub fn build(tree: &Path) -> Result<String, BusyboxError> {
    let program = BUSYBOX.find()?;
    if !is_static(&program) {
        return Err(BusyboxError::NotStatic(program));
    }
    let mut applets = Vec::new();
    let version = version(BUSYBOX)?;
    BUSYBOX.run(["--list-full"], |line| applets.push(PathBuf::from(line)))?;
    write(tree, &program, &applets)
        .map_err(|source| BusyboxError::Write { path: tree.to_owned(), source })?;
    Ok(version)
}

fn version(tool: Tool) -> Result<String, BusyboxError> {
    let mut version = String::new();
    tool.run(["--help"], |line| {
        if version.is_empty() {
            version = line.split(" multi-call").next().unwrap_or(line).to_owned();
        }
    })?;
    Ok(version)
}

/// An ELF file without a program interpreter.
fn is_static(program: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(program).and_then(|file| file.take(4096).read_to_end(&mut bytes));
    read.is_ok()
        && bytes.starts_with(b"\x7fELF")
        && !bytes.windows(8).any(|w| w == b"/ld-linu" || w == b"/lib/ld-")
}

fn write(tree: &Path, program: &Path, applets: &[PathBuf]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::Permissions::from_mode;
    fs::create_dir(tree)?;
    fs::set_permissions(tree, mode(0o755))?;
    let root = RootDir::open(tree)?;
    for (dir, bits) in DIRS {
        root.mkdir_all(dir)?;
        fs::set_permissions(tree.join(dir), mode(*bits))?;
    }
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")] {
        root.symlink(target, link)?;
    }
    for (path, mode, text) in FILES {
        root.write(path, text.as_bytes(), *mode)?;
    }
    root.symlink("../usr/lib/os-release", "etc/os-release")?;
    root.symlink("../proc/self/mounts", "etc/mtab")?;
    root.symlink("../../run/wtmp", "var/log/wtmp")?;
    fs::copy(program, tree.join("usr/bin/busybox"))?;
    fs::set_permissions(tree.join("usr/bin/busybox"), mode(0o755))?;
    for applet in applets {
        let Some(name) = applet.file_name().and_then(|name| name.to_str()) else { continue };
        if SKIPPED.contains(&name) {
            continue;
        }
        let (dir, target) = match applet.parent().is_some_and(|dir| dir.ends_with("sbin")) {
            true => ("usr/sbin", "../bin/busybox"),
            false => ("usr/bin", "busybox"),
        };
        root.symlink(target, format!("{dir}/{name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_boots_stops_and_has_a_login() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        build(&tree).unwrap();
        let root = RootDir::open(&tree).unwrap();
        let boot = crate::inspect::boot(&root);
        assert_eq!(boot.init, ["/sbin/init"]);
        assert_eq!(boot.stop_signal, "SIGUSR2");
        assert_eq!(boot.getty[0], "/sbin/getty");
        assert!(root.is_file("bin/sh") && root.is_file("sbin/poweroff") && root.is_file("bin/login"));
        let errors: Vec<_> = crate::lint::check(&crate::lint::open(&tree).unwrap())
            .into_iter()
            .filter(|finding| finding.severity > crate::lint::Severity::Note)
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
