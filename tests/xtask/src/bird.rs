//! The image `bird`: the image `debian` with bird2, for routers that speak routing protocols.
//!
//! Only what the image lacks is downloaded, and kept; the packages are installed as apt-get(8) would do it,
//! so that the daemon is enabled as it is on any Debian.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{sh, tree};

/// Installs the packages in `$2` into the tree `$1`. It runs in a mount and a pid namespace of its own.
const INSTALL: &str = r#"
    mount --make-rprivate /
    mount --bind /dev "$1/dev"
    mount -t proc proc "$1/proc"
    mkdir "$1/root/packages"
    cp "$2"/*.deb "$1/root/packages"
    chroot "$1" sh -c 'dpkg --install /root/packages/*.deb'
    rm -r "$1/root/packages"
"#;

/// Builds it from the image `debian` of the same store.
pub(crate) fn build(bin: &Path, images: &Path) -> Result<()> {
    let debian = tree::tree(bin, images, "debian")?;
    let cache = sh::target().join("tenantry-cache/bird");
    let packages = cache.join("packages");
    fs::create_dir_all(packages.join("partial"))?;
    download(&debian, &packages)?;
    let work = tempfile::tempdir_in(&cache)?;
    let tree = work.path().join("tree");
    let mut copy = sh::command("cp", &["--archive", "--reflink=auto"]);
    copy.arg(&debian).arg(&tree);
    sh::show_briefly(copy, "cp")?;
    let mut install = sh::command("unshare", &["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"]);
    install.args([INSTALL, "sh"]).arg(&tree).arg(&packages);
    install.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    install.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    sh::read(install)?;
    let mut import = Command::new(bin.join("rootfsctl"));
    import.arg("--root").arg(images).arg("import").arg(&tree).args(["--name", "bird"]);
    sh::show(import)?;
    work.close().context("cannot remove the tree of the image")
}

/// Downloads bird2 and whatever of its dependencies the tree does not have.
fn download(tree: &Path, packages: &Path) -> Result<()> {
    let option = |key: &str, path: &Path| format!("--option={key}={}", path.display());
    let fetch = || {
        let mut fetch =
            sh::command("apt-get", &["-qq", "--yes", "--download-only", "--no-install-recommends"]);
        fetch.args(["--option=APT::Sandbox::User=root", "--option=Debug::NoLocking=1"]);
        fetch.arg(option("Dir::State::status", &tree.join("var/lib/dpkg/status")));
        fetch.arg(option("Dir::Cache::archives", packages));
        fetch.args(["install", "bird2"]);
        sh::show(fetch)
    };
    fetch().or_else(|_| {
        sh::show(sh::command("apt-get", &["update", "-qq"]))?;
        fetch()
    })
}
