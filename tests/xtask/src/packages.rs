//! The Debian packages whose programs this repository runs: one table, by which each command installs what
//! it needs, and outside of which its tests find no program.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// `demo`.
    Demo,
    /// The tests that run anywhere.
    Pure,
    /// The tests with tenants on this machine.
    Native,
    /// The tests in a virtual machine.
    Vm,
    /// The fuzzer.
    Fuzz,
    /// The fault tier. What it needs the native tier needs, too: it runs after it, without a network.
    Faults,
    /// `deb`.
    Deb,
    /// `deb --lint`.
    Lint,
    /// `check`.
    Check,
    /// `check spelling`, also as a part of a whole `check`.
    Spelling,
    /// `bench`.
    Bench,
    /// `bare`.
    Bare,
}

/// A package and why it is needed.
struct Package {
    name: &'static str,
    /// A program of the package, or a path: that it is there, where no dpkg(1) knows of packages.
    program: &'static str,
    uses: &'static [Use],
    why: &'static str,
}

macro_rules! packages {
    ($($name:literal, $program:literal, [$($use:ident)*], $why:literal;)*) => {
        &[$(Package { name: $name, program: $program, uses: &[$(Use::$use),*], why: $why }),*]
    };
}

/// Every package besides those that dpkg(1) calls essential, which every Debian has.
const TABLE: &[Package] = packages! {
    "apt", "apt-get", [Native Vm Bare], "downloads packages for images";
    "binutils", "objcopy", [Vm Deb], "makes programs small enough for the virtual machine's disk, and for a package";
    "busybox-static", "busybox", [Pure Native Vm Bench Faults], "is the busybox image";
    "codespell", "codespell", [Spelling], "finds misspelt words";
    "cpio", "cpio", [Vm], "packs the initial ramdisk of the virtual machine";
    "cryptsetup-bin", "veritysetup", [Native], "makes hash trees for --verity";
    "curl", "curl", [Native], "is how the guides talk to the API and to web servers";
    "debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", [Demo Native Vm Bench Bare], "checks Debian's signatures";
    "docker-registry", "docker-registry", [Native], "is what images are pushed to and pulled from";
    "dpkg-dev", "dpkg-shlibdeps", [Vm Deb], "tells which libraries a package depends on";
    "e2fsprogs", "mkfs.ext4", [Pure Native Vm], "makes the small disks of the disk-full tests, and files that may not be linked to";
    "erofs-utils", "mkfs.erofs", [Pure Native], "makes images for --format erofs";
    "g++", "g++", [Fuzz], "compiles libFuzzer";
    "git", "git", [Check Deb Bare], "lists the files of the repository";
    "iproute2", "ip", [Native Bench Faults], "brings the loopback of a test host up";
    "libarchive-tools", "bsdtar", [Pure], "makes archives that are imported";
    "lintian", "lintian", [Lint], "judges packages";
    "lowdown", "lowdown", [Vm Deb], "makes man pages of the reference";
    "lxc", "lxc-start", [Bench], "is measured against";
    "mawk", "awk", [Native], "picks columns in the guides";
    "mmdebstrap", "mmdebstrap", [Demo Native Vm Bench Bare], "makes the Debian image";
    "mount", "losetup", [Pure Native Bench Faults], "makes the small disks of the disk-full tests";
    "nftables", "nft", [Demo Native Bench Faults], "keeps tenants from forging addresses, and shows what it holds";
    "openssh-client", "ssh-keygen", [Pure Native], "signs images and checks signatures; is how the guides log in to tenants";
    "openssl", "openssl", [Native], "makes the certificate of a registry";
    "procps", "kill", [Native Faults], "sends signals";
    "python3", "python3", [Pure], "makes archives that are imported, by its module tarfile";
    "python3-minimal", "python3", [Pure], "is the program of python3";
    "qemu-system-x86", "qemu-system-x86_64", [Vm], "is the virtual machine";
    "skopeo", "skopeo", [Native], "carries images to and from registries";
    "strace", "strace", [Native], "makes system calls fail in the middle of a start";
    "systemd-container", "systemd-nspawn", [Bench], "is measured against";
    "util-linux", "nsenter", [Native Vm Bench Bare Faults], "makes and enters namespaces";
    "util-linux-extra", "fincore", [Native], "tells which pages of the image are in memory";
    "xz-utils", "xz", [Vm], "unpacks the virtual machine's modules";
};

impl Package {
    /// Whether it is installed; where there is no dpkg(1), whether its program is there.
    fn is_there(&self, installed: Option<&BTreeSet<String>>) -> bool {
        match installed {
            Some(installed) => installed.contains(self.name),
            None if self.program.starts_with('/') => Path::new(self.program).exists(),
            None => find(self.program).is_some(),
        }
    }
}

/// The installed packages, and those of them that are essential; nothing where there is no dpkg(1).
fn installed() -> Result<Option<(BTreeSet<String>, BTreeSet<String>)>> {
    if find("dpkg-query").is_none() {
        return Ok(None);
    }
    let format = "--showformat=${db:Status-Status} ${Essential} ${Package}\n";
    let listed = sh::read(sh::command("dpkg-query", &["--show", format]))?;
    let all = listed.lines().filter_map(|line| line.strip_prefix("installed ")?.split_once(' '));
    let names = |all: &mut dyn Iterator<Item = (&str, &str)>| all.map(|(_, name)| name.to_owned()).collect();
    let essential = names(&mut all.clone().filter(|(essential, _)| *essential == "yes"));
    Ok(Some((names(&mut all.clone()), essential)))
}

fn find(program: &str) -> Option<PathBuf> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Packages that a use of this repository needs and this machine lacks.
pub(crate) struct Missing(Vec<&'static Package>);

/// Finds what a use of this repository needs and this machine lacks. With `no_install`, or where only root could
/// install it, anything missing is an error.
pub(crate) fn missing(needed: Use, no_install: bool) -> Result<Missing> {
    let table = TABLE.iter().filter(|package| package.uses.contains(&needed));
    let installed = installed()?.map(|(all, _)| all);
    let missing = Missing(table.filter(|package| !package.is_there(installed.as_ref())).collect());
    if missing.0.is_empty() {
        return Ok(missing);
    }
    let names = missing.names().join(" ");
    if no_install {
        bail!("missing Debian packages: {names}\nhelp: apt-get install {names}");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing Debian packages, and only root can install them\nhelp: apt-get install {names}");
    }
    Ok(missing)
}

impl Missing {
    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|package| package.name).collect()
    }

    /// Installs them, after saying what and why.
    pub(crate) fn install(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        eprintln!("installing Debian packages:");
        for package in &self.0 {
            eprintln!("  {:24} {}", package.name, package.why);
        }
        let apt = |args: &[&str]| -> Command {
            let mut apt = sh::command("apt-get", args);
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            apt
        };
        sh::show(apt(&["update", "-qq"]))?;
        let mut install = apt(&["install", "-qq", "--yes", "--no-install-recommends"]);
        install.args(self.names());
        sh::show(install)
    }
}

/// Installs what a use of this repository needs and this machine lacks, after saying what; with
/// `no_install`, or where only root could, refuses instead.
pub(crate) fn ensure(needed: Use, no_install: bool) -> Result<()> {
    missing(needed, no_install)?.install()
}

/// A search path for tests: a directory with the programs of the packages of a use and of the essential
/// packages, and no others. So a program that the table does not name is missing on every machine, not only
/// on a fresh one. Where there is no dpkg(1), the search path as it is.
pub(crate) fn path(needed: Use) -> Result<PathBuf> {
    let Some((installed, essential)) = installed()? else {
        return Ok(std::env::var_os("PATH").unwrap_or_default().into());
    };
    let named = TABLE.iter().filter(|package| package.uses.contains(&needed)).map(|package| package.name);
    let wanted: BTreeSet<&str> = essential.iter().map(String::as_str).chain(named).collect();
    let wanted: Vec<&str> = wanted.into_iter().filter(|name| installed.contains(*name)).collect();
    let programs = programs(&wanted)?;
    let dir = sh::target().join("tenantry-cache/path").join(format!("{needed:?}").to_lowercase());
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (name, program) in &programs {
        symlink(program, dir.join(name)).with_context(|| format!("cannot link {}", name.display()))?;
    }
    Ok(dir)
}

/// The programs of installed packages by name, with the names that update-alternatives(1) gives them.
fn programs(packages: &[&str]) -> Result<BTreeMap<OsString, PathBuf>> {
    let files = sh::read(sh::command("dpkg-query", &[&["--listfiles"], packages].concat()))?;
    let dirs = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"].map(Path::new);
    let (mut found, mut targets) = (BTreeMap::new(), BTreeSet::new());
    for file in files.lines().map(Path::new).filter(|file| file.is_file()) {
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name())
            && dirs.contains(&dir)
        {
            found.insert(name.to_owned(), file.to_owned());
            targets.insert(file.canonicalize()?);
        }
    }
    for entry in fs::read_dir("/etc/alternatives").into_iter().flatten().flatten() {
        let program = entry.path().canonicalize().unwrap_or_default();
        if targets.contains(&program) {
            found.entry(entry.file_name()).or_insert(program);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rootfs_tools::tool;

    use super::*;

    #[test]
    fn every_tool_that_makes_images_is_in_the_table_with_its_package() {
        for tool in tool::ALL {
            let row = TABLE.iter().find(|row| row.program == tool.program);
            let is_right = row.map_or(tool.package == "coreutils", |row| row.name == tool.package);
            assert!(is_right, "{} of {}", tool.program, tool.package);
        }
    }

    #[test]
    fn rows_are_sorted_and_name_a_package_once() {
        assert!(TABLE.is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn programs_are_those_of_the_packages_named_and_their_alternative_names() {
        if find("dpkg-query").is_none() {
            return;
        }
        let found = programs(&["coreutils", "mawk"]).unwrap();
        let has = |name: &str| found.contains_key(std::ffi::OsStr::new(name));
        assert!(has("cp") && has("mawk") && has("awk"), "{:?}", found.keys());
        assert!(!has("sed") && !has("sh"), "of other packages: {:?}", found.keys());
    }
}
