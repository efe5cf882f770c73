//! The Debian packages that the commands of this repository need.

use std::process::Command;

use anyhow::{Result, bail};

use crate::sh;

/// A package and why it is needed.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    /// A program that it brings: where this exists already the package is not needed.
    program: &'static str,
    why: &'static str,
}

macro_rules! packages {
    ($($constant:ident: $name:literal, $program:literal, $why:literal;)*) => {
        $(pub(crate) const $constant: Package = Package { name: $name, program: $program, why: $why };)*
    };
}

packages! {
    MMDEBSTRAP: "mmdebstrap", "mmdebstrap", "makes the Debian image";
    KEYRING: "debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", "checks Debian's signatures";
    BUSYBOX: "busybox-static", "busybox", "is the busybox image";
    EROFS: "erofs-utils", "mkfs.erofs", "makes images for --format erofs";
    CRYPTSETUP: "cryptsetup-bin", "veritysetup", "makes hash trees for --verity";
    IPROUTE: "iproute2", "ip", "brings the loopback of a test host up";
    NFTABLES: "nftables", "nft", "keeps tenants from forging addresses, and shows what it holds";
    UTIL_LINUX: "util-linux", "nsenter", "makes and enters namespaces";
    MOUNT: "mount", "losetup", "makes the small disks of the disk-full tests";
    E2FSPROGS: "e2fsprogs", "mkfs.ext4", "makes the small disks of the disk-full tests";
    STRACE: "strace", "strace", "makes system calls fail in the middle of a start";
    CODESPELL: "codespell", "codespell", "finds misspelt words";
    QEMU: "qemu-system-x86", "qemu-system-x86_64", "is the virtual machine";
    CPIO: "cpio", "cpio", "packs its initial ramdisk";
    XZ: "xz-utils", "xz", "unpacks its modules";
    BINUTILS: "binutils", "objcopy", "makes programs small enough for its disk, and for a package";
    DPKG: "dpkg-dev", "dpkg-shlibdeps", "tells which libraries a package depends on";
    LOWDOWN: "lowdown", "lowdown", "makes man pages of the reference";
    LINTIAN: "lintian", "lintian", "judges packages";
    LXC: "lxc", "lxc-start", "is measured against";
    NSPAWN: "systemd-container", "systemd-nspawn", "is measured against";
}

/// What `demo` needs.
pub(crate) const DEMO: &[Package] = &[MMDEBSTRAP, KEYRING, NFTABLES];
/// What the native tests need.
pub(crate) const TEST: &[Package] = &[
    MMDEBSTRAP, KEYRING, BUSYBOX, EROFS, CRYPTSETUP, IPROUTE, NFTABLES, UTIL_LINUX, MOUNT, E2FSPROGS, STRACE,
];
/// What the tier in a virtual machine needs.
pub(crate) const VM: &[Package] =
    &[MMDEBSTRAP, KEYRING, BUSYBOX, UTIL_LINUX, E2FSPROGS, QEMU, CPIO, XZ, BINUTILS];
/// What `deb` needs.
pub(crate) const DEB: &[Package] = &[BINUTILS, DPKG, LOWDOWN];
/// What `deb --lint` needs besides.
pub(crate) const LINT: &[Package] = &[LINTIAN];
/// What `check` needs.
pub(crate) const CHECK: &[Package] = &[CODESPELL];
/// What `bench` needs besides.
pub(crate) const BENCH: &[Package] = &[MMDEBSTRAP, KEYRING, IPROUTE, NFTABLES, UTIL_LINUX, LXC, NSPAWN];

impl Package {
    fn is_there(&self) -> bool {
        if self.program.starts_with('/') {
            return std::path::Path::new(self.program).exists();
        }
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":/usr/sbin:/sbin");
        std::env::split_paths(&path).any(|dir| dir.join(self.program).is_file())
    }
}

/// Installs the packages that are missing, after saying which; with `no_install` refuses instead.
pub(crate) fn ensure(needed: &[Package], no_install: bool) -> Result<()> {
    let missing: Vec<&Package> = needed.iter().filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if no_install {
        bail!("missing Debian packages: {}\nhelp: apt-get install {}", names.join(" "), names.join(" "));
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "missing Debian packages, and only root can install them\nhelp: apt-get install {}",
            names.join(" ")
        );
    }
    eprintln!("installing Debian packages:");
    for package in &missing {
        eprintln!("  {:24} {}", package.name, package.why);
    }
    let apt = |args: &[&str]| -> Command {
        let mut apt = sh::command("apt-get", args);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    sh::show(apt(&["update", "-qq"]))?;
    let mut install = apt(&["install", "-qq", "--yes", "--no-install-recommends"]);
    install.args(&names);
    sh::show(install)
}
