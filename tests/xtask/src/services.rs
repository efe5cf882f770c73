//! The image `services`: the image `debian` with real services and a 32-bit program, as Debian has them.
//!
//! The packages are installed by apt-get(8) inside the tree, and kept, so that a second build downloads
//! nothing.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{sh, tree};

/// What is installed besides Debian's own dependencies.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "hello:i386",
    "mariadb-server",
    "netcat-openbsd",
    "netcat-traditional:i386",
    "nginx-light",
    "nodejs",
    "openvpn",
    "podman",
    "postgresql",
    "redis-server",
    "sshfs",
    "tomcat10",
];

/// Prepares the tree `$1` and downloads the packages `$3…` to `$2`.
const DOWNLOAD: &str = r#"
    tree=$1 packages=$2; shift 2
    eval "$ENTER"
    chroot "$tree" dpkg --add-architecture i386
    chroot "$tree" apt-get -qq update || true
    chroot "$tree" apt-get -qq --yes --no-install-recommends --download-only install "$@"
"#;

/// Installs what was downloaded. The manual pages of the image are left out, and so was their directory,
/// without which alternatives cannot be set up.
const INSTALL: &str = r#"
    tree=$1 packages=$2; shift 2
    eval "$ENTER"
    mkdir -p "$tree/usr/share/man/man1"
    printf '#!/bin/sh\nexit 101\n' > "$tree/usr/sbin/policy-rc.d"
    chmod 755 "$tree/usr/sbin/policy-rc.d"
    chroot "$tree" apt-get -qq --yes --no-install-recommends --no-download install "$@"
    rm -r "$tree/usr/sbin/policy-rc.d" "$tree/var/lib/apt/lists" "$tree/etc/resolv.conf"
"#;

/// What both do first. They run in a mount and a pid namespace of their own.
const ENTER: &str = r#"
    mount --make-rprivate /
    mount --bind /dev "$tree/dev"
    mount -t proc proc "$tree/proc"
    mount -t tmpfs tmpfs "$tree/run"
    mkdir -p "$tree/var/cache/apt/archives"
    mount --bind "$packages" "$tree/var/cache/apt/archives"
    cp --remove-destination /etc/resolv.conf "$tree/etc/resolv.conf"
"#;

/// Builds it from the image `debian` of the same store. Where no mirror answers it says so loudly and
/// returns false.
pub(crate) fn build(bin: &Path, images: &Path) -> Result<bool> {
    let debian = tree::tree(bin, images, "debian")?;
    let cache = sh::target().join("tenantry-cache/services");
    let packages = cache.join("packages");
    fs::create_dir_all(packages.join("partial"))?;
    let work = tempfile::tempdir_in(&cache)?;
    let tree = work.path().join("tree");
    let mut copy = sh::command("cp", &["--archive", "--reflink=auto"]);
    copy.arg(&debian).arg(&tree);
    sh::show_briefly(copy, "cp")?;
    let inside = |script: &str| {
        let mut run = sh::command("unshare", &["--mount", "--pid", "--fork", "--kill-child", "bash", "-ec"]);
        run.args([script, "bash"]).arg(&tree).arg(&packages).args(PACKAGES);
        run.env("ENTER", ENTER).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        run.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run
    };
    if let Err(error) = sh::show_briefly(inside(DOWNLOAD), "apt-get download") {
        eprintln!("\nWARNING: no mirror has the packages of real services: {error:#}");
        eprintln!(
            "WARNING: the tests of real services are SKIPPED: they run without the image \"services\"\n"
        );
        return Ok(false);
    }
    sh::read(inside(INSTALL))?;
    let mut import = Command::new(bin.join("rootfsctl"));
    import.arg("--root").arg(images).arg("import").arg(&tree).args(["--name", "services"]);
    sh::show(import)?;
    work.close().context("cannot remove the tree of the image")?;
    Ok(true)
}
