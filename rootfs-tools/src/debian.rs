//! `build debian`: a small Debian server userland by mmdebstrap(1).
//!
//! The output of mmdebstrap is kept below `/var/cache/tenantry/debian` for a day, `/usr` as hard links: building
//! another version of it (other tuning, other password) takes seconds and no network.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tenant::{Layout, files::file_error::FileError, model::ids::Digest};

use crate::{
    explain::{Explain, Outcome},
    packages::{Failed, Watch, Why},
    progress::Progress,
    rootdir::RootDir,
    sets::{self, PackageSet},
    sources,
    staging::Staging,
    tool::{CP, MMDEBSTRAP, ToolError},
};

/// How long a cached base system counts as current.
const CACHE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How root logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootPassword {
    /// No password: opening a tty of the tenant logs in as root. sshd refuses empty passwords.
    Empty,
    /// No password works, keys only.
    Locked,
    /// A crypt(5) hash.
    Hash(String),
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Debian release, e.g. `bookworm`.
    pub suite: String,
    /// Sets of packages besides [`sets::BASE`].
    pub sets: Vec<&'static PackageSet>,
    /// More packages.
    pub include: Vec<String>,
    /// Mirrors as mmdebstrap takes them (a URI, a `deb …` line or a file); empty for the host's own.
    pub mirrors: Vec<String>,
    /// How root logs in.
    pub root_password: RootPassword,
    /// Do not use the base system of an earlier build.
    pub fresh: bool,
}

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// The release, a package or a mirror is not one.
    #[error("{text:?} is not {what}")]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
    /// A package cannot be installed.
    #[error("{0}")]
    Package(Failed),
    /// mmdebstrap or cp failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for DebianError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Invalid { what, .. } if what.contains("hash") => Some("make one with: openssl passwd -6".to_owned()),
            Self::Invalid { .. } => None,
            Self::Package(Failed { package, why: Why::Unknown }) => {
                Some(format!("check its name, and that the suite contains it: apt-cache policy {package}"))
            }
            Self::Package(Failed { package, .. }) => Some(format!(
                "remove {package:?} from --include, or provide its dependencies; the mirror is not the cause"
            )),
            Self::Tool(e) => e.help().or_else(|| {
                matches!(e, ToolError::Failed { .. }).then(|| {
                    "check the suite, the packages and that the mirror is reachable (apt-get update); --mirror selects another".to_owned()
                })
            }),
            Self::File(_) => None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Makes the staged tree and returns a line for the manifest that names its origin.
///
/// # Errors
/// [`DebianError`].
pub fn build(
    layout: &Layout,
    staging: &Staging,
    options: &Options,
    progress: &Progress,
) -> Result<String, DebianError> {
    check(options)?;
    let mirrors = mirrors(staging, options)?;
    let packages = sets::packages(&options.sets, &options.include);
    let cached = layout.cache().join("debian").join(key(options, &mirrors, &packages)?);
    let tree = staging.tree();
    if !options.fresh && is_recent(&cached) {
        progress.step("reusing the base system of an earlier build (--fresh builds a new one)");
        copy(&cached.join("tree"), &tree)?;
    } else {
        bootstrap(&tree, options, &mirrors, &packages, progress)?;
        keep(&tree, &cached)?;
    }
    set_passwords(&tree, &options.root_password)?;
    Ok(format!("mmdebstrap {} ({} packages asked for)", options.suite, packages.len()))
}

/// Checks that the release, the packages and the mirrors are such.
///
/// # Errors
/// [`DebianError::Invalid`].
pub fn check(options: &Options) -> Result<(), DebianError> {
    let refuse = |what, text: &str| Err(DebianError::Invalid { what, text: text.chars().take(80).collect() });
    let word = |text: &str, extra: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
    };
    if !word(&options.suite, "-.") {
        return refuse("the name of a Debian release", &options.suite);
    }
    if let Some(package) = options.include.iter().find(|package| !word(package, "+-.:/")) {
        return refuse("the name of a Debian package", package);
    }
    if let Some(mirror) = options.mirrors.iter().find(|m| m.starts_with('-') || m.contains(char::is_control))
    {
        return refuse("a mirror", mirror);
    }
    match &options.root_password {
        RootPassword::Hash(hash)
            if !hash.starts_with('$') || !hash.chars().all(|c| c.is_ascii_graphic() && c != ':') =>
        {
            refuse("a password hash of crypt(5)", hash)
        }
        _ => Ok(()),
    }
}

/// The mirrors as arguments: the given ones, or one file with the host's own sources.
fn mirrors(staging: &Staging, options: &Options) -> Result<Vec<String>, DebianError> {
    if !options.mirrors.is_empty() {
        return Ok(options.mirrors.clone());
    }
    let Some(text) = sources::of_host(Path::new("/etc/apt"), &options.suite) else { return Ok(Vec::new()) };
    let path = staging.scratch().join("debian.sources");
    fs::write(&path, text).map_err(FileError::when("write", &path))?;
    Ok(vec![path.to_string_lossy().into_owned()])
}

fn key(options: &Options, mirrors: &[String], packages: &[String]) -> Result<String, DebianError> {
    let mut hasher = Sha256::new();
    for word in [options.suite.as_str(), "2"].into_iter().chain(sets::dpkg_options(&options.sets)) {
        hasher.update(format!("{word}\n"));
    }
    for mirror in mirrors {
        // A file counts by its content: its name holds the staging directory's.
        let path = Path::new(mirror);
        let text = if path.is_file() {
            fs::read_to_string(path).map_err(FileError::when("read", path))?
        } else {
            mirror.clone()
        };
        hasher.update(format!("{text}\n"));
    }
    hasher.update(packages.join(","));
    Ok(Digest::from_bytes(hasher.finalize().into()).short())
}

fn bootstrap(
    tree: &Path,
    options: &Options,
    mirrors: &[String],
    packages: &[String],
    progress: &Progress,
) -> Result<(), DebianError> {
    progress.step(&format!("mmdebstrap {}: takes about half a minute", options.suite));
    let mut args: Vec<String> =
        ["--mode=root", "--variant=minbase", "--format=directory"].map(str::to_owned).to_vec();
    args.push(format!("--include={}", packages.join(",")));
    args.push("--aptopt=Acquire::Languages \"none\"".to_owned());
    // Only root can enter the staging directory, so apt cannot drop its privileges.
    args.push("--aptopt=APT::Sandbox::User \"root\"".to_owned());
    args.extend(sets::dpkg_options(&options.sets).map(|rule| format!("--dpkgopt={rule}")));
    args.push("--".to_owned());
    args.push(options.suite.clone());
    args.push(tree.to_string_lossy().into_owned());
    args.extend(mirrors.iter().cloned());
    let mut watch = Watch::default();
    let made = MMDEBSTRAP.run(&args, |line| {
        watch.line(line);
        if let Some(step) = line.strip_prefix("I: ") {
            progress.step(&format!("mmdebstrap: {step}"));
        }
    });
    made.map_err(|error| match watch.failed() {
        Some(failed) => DebianError::Package(failed),
        None => error.into(),
    })?;
    let failed = FileError::when("change", tree);
    let root = RootDir::open(tree).map_err(failed)?;
    for options in ["etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap"] {
        root.remove(options).map_err(failed)?;
    }
    Ok(())
}

fn is_recent(cached: &Path) -> bool {
    let made = fs::metadata(cached.join("made")).and_then(|meta| meta.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < CACHE_AGE))
}

/// Copies a tree. `/usr` is hard-linked where the filesystem is the same (code that changes a tree replaces
/// files and never writes into them). The rest is copied: a tenant sees the link count of a file, and cron, for
/// example, ignores an `/etc/crontab` with two links.
fn copy(from: &Path, to: &Path) -> Result<(), DebianError> {
    let failed = FileError::when("read", from);
    let mut rest = Vec::new();
    for entry in fs::read_dir(from).map_err(failed)? {
        rest.push(entry.map_err(failed)?.path());
    }
    let usr = from.join("usr");
    rest.retain(|path| *path != usr);
    fs::create_dir(to).map_err(FileError::when("make", to))?;
    let mode = fs::metadata(from).map_err(failed)?.permissions();
    fs::set_permissions(to, mode).map_err(FileError::when("change", to))?;
    let cp = |how: &str, what: &[PathBuf]| {
        let options = [how, "--archive", "--target-directory"].map(OsStr::new);
        let what = what.iter().map(|path| path.as_os_str());
        CP.run(options.into_iter().chain([to.as_os_str(), OsStr::new("--")]).chain(what), |_| {})
    };
    cp("--reflink=auto", &rest)?;
    if cp("--link", std::slice::from_ref(&usr)).is_ok() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(to.join("usr"));
    Ok(cp("--reflink=auto", &[usr])?)
}

/// Keeps the base system for the next build; a cache that cannot be written is not an error.
fn keep(tree: &Path, cached: &Path) -> Result<(), DebianError> {
    let parent = cached.parent().expect("a cache entry lies in a directory");
    let failed = FileError::when("make", parent);
    fs::create_dir_all(parent).map_err(failed)?;
    // Setuid programs must be out of reach of the host's users.
    fs::set_permissions(parent, Permissions::from_mode(0o700)).map_err(failed)?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(failed)?;
    copy(tree, &new.path().join("tree"))?;
    fs::write(new.path().join("made"), "").map_err(failed)?;
    let _ = fs::remove_dir_all(cached);
    // Another build was faster; its result serves as well.
    let _ = fs::rename(new.keep(), cached);
    Ok(())
}

/// The day that every password counts as last changed, in days since 1970: 2022-01-01. The packages write the day of the
/// build, and the same packages are to give the same version on every day.
const LAST_CHANGE: &str = "18993";

/// Sets root's password and the day of the last change, see shadow(5), also in the copy that passwd(1) keeps.
fn set_passwords(tree: &Path, password: &RootPassword) -> Result<(), DebianError> {
    let field = match password {
        RootPassword::Empty => "",
        RootPassword::Locked => "*",
        RootPassword::Hash(hash) => hash,
    };
    let root = RootDir::open(tree).map_err(FileError::when("open", tree))?;
    for path in ["etc/shadow", "etc/shadow-"] {
        let whole = tree.join(path);
        let failed = FileError::when("change", &whole);
        let Some(stat) = root.stat(path).map_err(failed)? else { continue };
        let shadow = root.text(path).map_err(failed)?.unwrap_or_default();
        let lines = shadow.lines().map(|line| {
            let mut fields: Vec<_> = line.split(':').collect();
            if fields[0] == "root" && fields.len() > 1 && path == "etc/shadow" {
                fields[1] = field;
            }
            if let Some(day) = fields.get_mut(2).filter(|day| !day.is_empty()) {
                *day = LAST_CHANGE;
            }
            fields.join(":") + "\n"
        });
        root.write(path, lines.collect::<String>().as_bytes(), stat.st_mode & 0o7777).map_err(failed)?;
        std::os::unix::fs::lchown(&whole, Some(stat.st_uid), Some(stat.st_gid)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            suite: "bookworm".to_owned(),
            sets: Vec::new(),
            include: Vec::new(),
            mirrors: Vec::new(),
            root_password: RootPassword::Empty,
            fresh: false,
        }
    }

    #[test]
    fn nothing_that_looks_like_an_option_reaches_mmdebstrap() {
        check(&options()).unwrap();
        for suite in ["", "-x", "a b", "book\nworm", "--include=x"] {
            assert!(check(&Options { suite: suite.to_owned(), ..options() }).is_err(), "{suite:?}");
        }
        for package in ["", "-x", "a,b", "a b", "$(id)"] {
            assert!(
                check(&Options { include: vec![package.to_owned()], ..options() }).is_err(),
                "{package:?}"
            );
        }
        for hash in ["plain", "$6$a:b", "$6$\n"] {
            assert!(
                check(&Options { root_password: RootPassword::Hash(hash.to_owned()), ..options() }).is_err()
            );
        }
    }

    #[test]
    fn a_copy_shares_no_file_that_a_tenant_may_change() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let root = {
            fs::create_dir(&from).unwrap();
            RootDir::open(&from).unwrap()
        };
        root.write("etc/crontab", b"x", 0o640).unwrap();
        root.write("usr/bin/true", b"x", 0o4755).unwrap();
        root.symlink("usr/bin", "bin").unwrap();
        fs::hard_link(from.join("etc/crontab"), from.join("etc/same")).unwrap();
        fs::set_permissions(&from, Permissions::from_mode(0o711)).unwrap();
        copy(&from, &to).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        let meta = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!((meta("etc/crontab").nlink(), meta("etc/crontab").mode() & 0o7777), (2, 0o640));
        assert_eq!((meta("usr/bin/true").nlink(), meta("usr/bin/true").mode() & 0o7777), (2, 0o4755));
        assert_eq!(fs::metadata(from.join("etc/crontab")).unwrap().nlink(), 2, "only its own second name");
        assert!(meta("bin").is_symlink());
        assert_eq!(meta("").mode() & 0o7777, 0o711);
    }

    #[test]
    fn the_root_password_and_the_day_of_the_last_change_are_set_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let shadow = dir.path().join("etc/shadow");
        // What packages write on one day and on another.
        for (today, root) in [("20785", ""), ("20786", "*")] {
            let text = format!("root:{root}:{today}:0:99999:7:::\ndaemon:*:{today}::::::\nold:!*:::::::\n");
            for path in [&shadow, &dir.path().join("etc/shadow-")] {
                fs::write(path, &text).unwrap();
            }
            fs::set_permissions(&shadow, Permissions::from_mode(0o640)).unwrap();
            set_passwords(dir.path(), &RootPassword::Hash("$6$x".to_owned())).unwrap();
            let rest = "daemon:*:18993::::::\nold:!*:::::::\n";
            let read = |path: &Path| fs::read_to_string(path).unwrap();
            assert_eq!(read(&shadow), format!("root:$6$x:18993:0:99999:7:::\n{rest}"));
            let copy = read(&dir.path().join("etc/shadow-"));
            assert_eq!(copy, format!("root:{root}:18993:0:99999:7:::\n{rest}"));
            assert_eq!(fs::metadata(&shadow).unwrap().permissions().mode() & 0o7777, 0o640);
        }
    }
}
