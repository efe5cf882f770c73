//! Debian packages and images that tests need besides the prepared ones: fetched and made once, where there is a
//! network, and kept below `target/tenantry-cache`. Tests themselves are in a network of their own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};

use crate::{Run, host::Place};

/// Packages that are installed in tenants, by themselves and with what they depend on.
pub const INSTALLED: [&[&str]; 3] =
    [&["cron", "exim4-daemon-light"], &["unattended-upgrades"], &["default-jre-headless"]];

/// A system as [`bootstrapped`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// The image.
    pub name: &'static str,
    /// The release of Debian.
    pub suite: &'static str,
    /// What is in it besides what is essential.
    pub packages: &'static [&'static str],
}

/// Systems that differ from the prepared one in their release, their init, or their directories.
pub const SYSTEMS: [System; 5] = [
    System {
        name: "trixie",
        suite: "trixie",
        packages: &["systemd-sysv", "dbus", "iproute2", "procps", "login"],
    },
    System {
        name: "sysvinit",
        suite: "bookworm",
        packages: &["sysvinit-core", "iproute2", "procps", "openssh-server"],
    },
    System {
        name: "openrc",
        suite: "bookworm",
        packages: &["sysvinit-core", "openrc", "iproute2", "procps", "openssh-server"],
    },
    System {
        name: "runit",
        suite: "bookworm",
        packages: &["runit-init", "iproute2", "procps", "openssh-server"],
    },
    System { name: "unmerged", suite: "bullseye", packages: &["systemd-sysv", "dbus", "iproute2", "procps"] },
];

/// The prepared image `debian` with more packages: cron, a self-signed certificate, a mail system, a name server,
/// podman.
pub const SERVER: (&str, &[&str]) =
    ("server", &["cron", "ssl-cert", "postfix", "bind9", "locales", "sudo", "logrotate", "podman"]);

/// The name of the image that [`admin`] makes.
pub const ADMIN: &str = "admin";

/// Fetches and makes all of it.
///
/// # Panics
/// When something cannot be fetched or made.
pub fn prepare(place: &Place) {
    for names in INSTALLED {
        packages(place, names);
    }
    with_packages(place, SERVER);
    admin(place);
    for system in SYSTEMS {
        bootstrapped(place, system);
    }
}

/// How long a build may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// For who runs a test without what it needs.
const HOW: &str = "with a network, once: cargo run --package tenantry-tests --bin prepare";

fn cache(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tenantry-cache").join(name);
    fs::create_dir_all(&dir).expect("the cache can be made");
    dir.canonicalize().expect("it is there")
}

/// One test at a time makes what is in a directory of the cache.
fn lock(dir: &Path) -> Flock<File> {
    let file = File::create(dir.join("lock")).expect("a lock can be made");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("it can be taken")
}

/// The tree of a prepared image, and the first digits of its version.
fn tree(place: &Place, image: &str) -> (PathBuf, String) {
    let show = Run::new(place.bin.join("rootfsctl"), ["--json", "show", image]);
    let shown = show.env("TENANTRY_ROOT", &place.images).ok().json();
    let digest = shown.pointer("/manifest/digest").and_then(|digest| digest.as_str());
    let digest = digest.expect("an image has a digest").replace(':', "-");
    let versions = place.images.join("var/lib/tenantry/images").join(image).join("versions");
    (versions.join(&digest).join("tree"), digest[..19].to_owned())
}

/// A directory with the named packages and whatever the prepared image `debian` lacks of what they depend on.
///
/// # Panics
/// When they cannot be downloaded.
pub fn packages(place: &Place, names: &[&str]) -> PathBuf {
    let (tree, version) = tree(place, "debian");
    let cache = cache("packages");
    let _lock = lock(&cache);
    let dir = cache.join(format!("{version}-{}", names.join("+")));
    if dir.join("complete").exists() {
        return dir;
    }
    eprintln!("fetching packages: {} ({HOW})", names.join(" "));
    fs::create_dir_all(dir.join("partial")).expect("a directory for packages");
    let fetch = || {
        let option = |key: &str, path: &Path| format!("--option={key}={}", path.display());
        Run::new("apt-get", ["-qq", "--yes", "--download-only", "--no-install-recommends"])
            .args(["--option=APT::Sandbox::User=root", "--option=Debug::NoLocking=1"])
            .args([option("Dir::State::status", &tree.join("var/lib/dpkg/status"))])
            .args([option("Dir::Cache::archives", &dir), "install".to_owned()])
            .args(names)
            .limit(PATIENCE)
    };
    if !fetch().output().status.success() {
        Run::new("apt-get", ["update", "-qq"]).limit(PATIENCE).ok();
        fetch().ok();
    }
    fs::write(dir.join("complete"), "").expect("the directory can be marked");
    dir
}

/// What an image in the cache was made from: whatever changes that makes another one.
fn state(place: &Place, recipe: &str) -> String {
    let sum = Run::new("sha256sum", [place.bin.join("rootfsctl")]).ok();
    let sum = sum.stdout.split_whitespace().next().unwrap_or_default();
    format!("{sum} {recipe}\n")
}

/// A place whose image store holds the image `name`, which `make` makes if it is not there in this state: given a
/// directory to work in and the root of the store.
fn made(place: &Place, name: &str, recipe: &str, make: impl FnOnce(&Path, &Path)) -> Place {
    let dir = cache("images-of-tests").join(name);
    fs::create_dir_all(&dir).expect("a directory for the image");
    let _lock = lock(&dir);
    let (root, stamp) = (dir.join("root"), dir.join("stamp"));
    let state = state(place, recipe);
    if !fs::read_to_string(&stamp).is_ok_and(|old| old == state) {
        eprintln!("making the image {name} ({HOW})");
        let work = tempfile::tempdir_in(&dir).expect("a directory to work in");
        // One that cannot be made leaves the one that there is.
        let made = tempfile::tempdir_in(&dir).expect("a directory for what is made");
        let new = made.path().join("root");
        make(work.path(), &new);
        let _not_there = fs::remove_file(&stamp);
        let _not_there = fs::remove_dir_all(&root);
        fs::rename(&new, &root).expect("the image can be put in its place");
        fs::write(&stamp, state).expect("the image can be marked");
    }
    Place { images: root, ..place.clone() }
}

/// Installs the packages in `$2` into the tree `$1`, as root of it, where no daemon is started.
const INSTALL: &str = r#"
    mount --make-rprivate /
    echo localhost > /proc/sys/kernel/hostname
    mount --bind /dev "$1/dev"
    mount -t proc proc "$1/proc"
    mount -t tmpfs tmpfs "$1/run"
    mkdir "$1/root/packages"
    cp "$2"/*.deb "$1/root/packages"
    printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
    chmod 755 "$1/usr/sbin/policy-rc.d"
    chroot "$1" sh -c 'apt-get --quiet --yes --no-install-recommends install /root/packages/*.deb'
    rm -r "$1/root/packages" "$1/usr/sbin/policy-rc.d"
"#;

/// A place whose only image is the prepared image `debian` with more packages.
///
/// # Panics
/// When it cannot be made.
pub fn with_packages(place: &Place, (name, names): (&str, &[&str])) -> Place {
    let (tree, version) = tree(place, "debian");
    let packages = packages(place, names);
    made(place, name, &format!("{version} {} {INSTALL}", names.join(" ")), |work, root| {
        let copy = work.join("tree");
        Run::new("cp", ["--archive", "--reflink=auto"]).args([&tree, &copy]).limit(PATIENCE).ok();
        Run::new(
            "unshare",
            ["--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-ec", INSTALL, "sh"],
        )
        .args([&copy, &packages])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .limit(PATIENCE)
        .ok();
        import(place, &copy, name, root);
    })
}

/// A place whose only image is the prepared image `debian` with what `rootfsctl build debian --with admin` adds.
///
/// # Panics
/// When it cannot be made.
pub fn admin(place: &Place) -> Place {
    let asked = |more: &[&str]| -> Vec<String> {
        let args = ["--json", "build", "debian", "--dry-run"];
        let wanted = Run::new(place.bin.join("rootfsctl"), args).args(more).ok().json();
        let packages = wanted["packages"].as_array().expect("a list of packages");
        packages.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    };
    let base = asked(&[]);
    let more: Vec<String> =
        asked(&["--with", "admin"]).into_iter().filter(|name| !base.contains(name)).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    with_packages(place, (ADMIN, &more))
}

fn import(place: &Place, tree: &Path, name: &str, root: &Path) {
    import_as(place, tree, name, "stable", root);
}

fn import_as(place: &Place, tree: &Path, name: &str, channel: &str, root: &Path) {
    let import = Run::new(place.bin.join("rootfsctl"), ["import"]).args([tree.as_os_str()]);
    import.args(["--name", name, "--channel", channel]).env("TENANTRY_ROOT", root).limit(PATIENCE).ok();
}

/// A version of an image: the channel that points at it, and what makes its tree from that of the version before.
pub type Change = (&'static str, fn(&Place, &Path));

/// A place whose only image, `name`, has several versions, one after the other: the first is made from the image `base` of
/// another place.
///
/// # Panics
/// When it cannot be made.
pub fn versions(place: &Place, base: &str, name: &str, recipe: &str, changes: &[Change]) -> Place {
    let (tree, version) = tree(place, base);
    made(place, name, &format!("{version} {recipe}"), |work, root| {
        let copy = work.join("tree");
        Run::new("cp", ["--archive", "--reflink=auto"]).args([&tree, &copy]).limit(PATIENCE).ok();
        for (channel, change) in changes {
            change(place, &copy);
            import_as(place, &copy, name, channel, root);
        }
    })
}

/// Makes a small Debian of the suite `$2` with the packages `$3` in memory, and imports it as image `$4`.
const BOOTSTRAP: &str = r#"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    mmdebstrap --mode=root --variant=essential --include="$3" --aptopt='Acquire::Languages "none"' \
        --dpkgopt=path-exclude=/usr/share/doc/* --dpkgopt=path-exclude=/usr/share/locale/* \
        --dpkgopt=path-exclude=/usr/share/man/* "$2" "$1/tree"
    rootfsctl import "$1/tree" --name "$4"
"#;

/// A place whose only image is a small Debian.
///
/// # Panics
/// When it cannot be made.
pub fn bootstrapped(place: &Place, System { name, suite, packages }: System) -> Place {
    let names = packages.join(",");
    made(place, name, &format!("{suite} {names} {BOOTSTRAP}"), |work, root| {
        let path = std::env::var("PATH").unwrap_or_default();
        Run::new("unshare", ["--mount", "--propagation", "private", "sh", "-ec", BOOTSTRAP, "sh"])
            .args([work.as_os_str()])
            .args([suite, &names, name])
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", place.bin.display()))
            .env("TENANTRY_ROOT", root)
            .limit(PATIENCE)
            .ok();
    })
}

/// A place whose only image, `name`, is a tree that `fill` fills.
///
/// # Panics
/// When it cannot be made.
pub fn by_hand(place: &Place, name: &str, recipe: &str, fill: impl FnOnce(&Path)) -> Place {
    made(place, name, recipe, |work, root| {
        let tree = work.join("tree");
        fs::create_dir(&tree).expect("a tree");
        fill(&tree);
        import(place, &tree, name, root);
    })
}
