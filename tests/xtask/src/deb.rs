//! `cargo xtask deb`: the Debian package, made by dpkg-deb(1) of what the table in `files.rs` names.
//!
//! The same commit, built by the same compiler in the same directory, gives the same package, byte for byte: its time
//! is that of the commit.

mod build;
mod control;
mod files;
mod pages;
mod place;
mod version;

use std::{
    fs::{self, File, FileTimes, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use self::{
    build::Build,
    files::{FILES, Source},
    place::{compress, place},
    version::Version,
};
use crate::{packages, programs, sh};

/// Options of `deb`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Appended to the version, for packages that are newer than each other without a release: +test1.
    #[arg(long, value_name = "SUFFIX", default_value = "")]
    version_suffix: String,
    /// Have lintian(1) judge the package; fails where it finds an error.
    #[arg(long)]
    lint: bool,
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
}

/// Builds the package; prints its path.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::ensure(packages::Use::Deb, options.no_install)?;
    if options.lint {
        packages::ensure(packages::Use::Lint, options.no_install)?;
    }
    let package = build(&options.version_suffix, Packing::Small)?;
    if options.lint {
        lint(&package)?;
    }
    println!("{}", package.display());
    Ok(())
}

/// How hard dpkg-deb(1) tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As small as Debian's own: some ten seconds.
    Small,
    /// Larger, at once.
    Quick,
}

/// Builds the package; its path. Packages that were built before are removed, but for those with another suffix.
pub(crate) fn build(suffix: &str, packing: Packing) -> Result<PathBuf> {
    let bin = programs::build()?;
    let begin = Instant::now();
    let dir = sh::target().join("deb");
    let work = dir.join("work");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let build = Build {
        bin,
        made: work.join("made"),
        tree: work.join("tree"),
        version: Version::new(suffix)?,
        epoch: version::epoch()?,
    };
    build.make().context("cannot make the generated files")?;
    build.stage()?;
    let architecture = sh::read(sh::command("dpkg", &["--print-architecture"]))?;
    build.control(architecture.trim())?;
    build.clamp(&build.tree)?;
    let package = dir.join(format!("tenantry_{}_{}.deb", build.version, architecture.trim()));
    let (tree, file) = (build.tree.to_string_lossy().into_owned(), package.to_string_lossy().into_owned());
    let mut pack = sh::command("dpkg-deb", &["--root-owner-group"]);
    if packing == Packing::Quick {
        pack.args(["-Zgzip", "-z1"]);
    }
    pack.args(["--build", &tree, &file]).env("SOURCE_DATE_EPOCH", build.epoch.to_string());
    sh::read(pack)?;
    let size = fs::metadata(&package)?.len();
    eprintln!("packed in {:.1} s: {:.1} MiB", begin.elapsed().as_secs_f64(), size as f64 / 1_048_576.0);
    Ok(package)
}

/// What can be told of the package without building it.
pub(crate) fn check() -> Result<()> {
    for (name, text) in control::SCRIPTS {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text)?;
        sh::read(sh::command("sh", &["-n", &file.path().to_string_lossy()])).context(*name)?;
    }
    let forgotten = files::forgotten()?;
    if !forgotten.is_empty() {
        bail!("not in the table of the package (tests/xtask/src/deb/files.rs): {}", forgotten.join(", "));
    }
    Ok(())
}

fn lint(package: &Path) -> Result<()> {
    let mut lintian = sh::command("lintian", &["--fail-on", "error", "--info", "--tag-display-limit", "0"]);
    lintian.arg("--allow-root").arg(package);
    sh::show(lintian)
}

impl Build {
    /// Writes what programs print: man pages and completions; and the pages that are made of the reference.
    fn make(&self) -> Result<()> {
        let man = self.made.join("man");
        fs::create_dir_all(&man)?;
        for program in ["tenantctl", "rootfsctl"] {
            let path = self.bin.join(program);
            sh::read(sh::command(&path, &["man", &man.to_string_lossy()]))?;
            for shell in ["bash", "zsh", "fish"] {
                let script = sh::read(sh::command(&path, &["completions", shell]))?;
                fs::write(self.made.join(format!("{program}.{shell}")), script)?;
            }
        }
        for page in pages::PAGES {
            fs::write(man.join(page.file()), page.render(&self.version, self.epoch)?)?;
        }
        let lxc = self.made.join("lxc");
        let target = "../../../bin/tenantctl";
        sh::read(sh::command(
            self.bin.join("tenantctl"),
            &["lxc-links", &lxc.to_string_lossy(), "--target", target],
        ))?;
        Ok(())
    }

    /// Lays everything out as it will be installed.
    fn stage(&self) -> Result<()> {
        for file in FILES {
            let into = self.tree.join(file.to);
            match file.from {
                Source::Program(name) => {
                    let to = into.join(name);
                    place(&self.bin.join(name), &to, file.mode)?;
                    let sections =
                        ["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"];
                    let mut strip = sh::command("strip", &sections);
                    strip.arg(&to);
                    sh::read(strip)?;
                }
                Source::Tree(dir, kind) => {
                    for path in files::of_kind(&sh::repository().join(dir), kind)? {
                        place(&path, &into.join(path.file_name().unwrap_or_default()), file.mode)?;
                    }
                }
                Source::File(path) => place(&sh::repository().join(path), &into, file.mode)?,
                Source::Made(path) => place(&self.made.join(path), &into, file.mode)?,
                Source::Compressed(path) => compress(&sh::repository().join(path), &into)?,
                Source::Links(dir) => {
                    fs::create_dir_all(&into)?;
                    for entry in fs::read_dir(self.made.join(dir))?.flatten() {
                        symlink(fs::read_link(entry.path())?, into.join(entry.file_name()))?;
                    }
                }
                Source::Pages => self.stage_pages(&into)?,
            }
        }
        Ok(())
    }

    /// Man pages, each in the directory of its section.
    fn stage_pages(&self, into: &Path) -> Result<()> {
        for entry in fs::read_dir(self.made.join("man"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let section = name.rsplit('.').next().unwrap_or_default().to_owned();
            compress(&entry.path(), &into.join(format!("man{section}")).join(format!("{name}.gz")))?;
        }
        Ok(())
    }

    /// Nothing in the package is newer than its source; so nothing depends on the day it is built.
    fn clamp(&self, path: &Path) -> Result<()> {
        if path.is_symlink() {
            return Ok(());
        }
        if path.is_dir() {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
            for entry in fs::read_dir(path)? {
                self.clamp(&entry?.path())?;
            }
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch);
        Ok(File::open(path)?.set_times(FileTimes::new().set_modified(time))?)
    }
}
