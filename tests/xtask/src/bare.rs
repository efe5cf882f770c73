//! `cargo xtask bare`: the commands that a new user types, in a Debian on which nothing was installed but Rust.
//!
//! A machine on which somebody has worked has programs that a fresh one lacks, and every install step that
//! is missing goes unnoticed there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{packages, sh};

/// Options of `bare`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
    /// Compile everything again, as a new user does.
    #[arg(long)]
    cold: bool,
}

/// Makes the root in the current directory, with what the guide of Rust asks for: a linker.
const MAKE: &str = concat!(
    include_str!("mirrors.sh"),
    r#"
{
    echo "deb $debian bookworm main"
    [ -z "$security" ] || echo "deb $security bookworm-security main"
} | mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev --format=directory bookworm root -
mkdir -p root/opt/rust root/root/.cargo root/src
"#
);
const ENTER: &str = include_str!("bare.sh");

/// What is run there, in this order, each with the packages that the ones before have installed.
const COMMANDS: [&str; 4] = [
    "cargo xtask demo",
    "cargo xtask demo --down",
    "cargo xtask test --tier pure",
    "cargo xtask bench --quick",
];

/// Runs the commands, and says how long each took.
pub(crate) fn run(options: &Options) -> Result<()> {
    sh::need_root("a root of its own")?;
    packages::ensure(packages::Use::Bare, options.no_install)?;
    let status = sh::command("git", &["-C", &sh::repository().to_string_lossy(), "status", "--porcelain"]);
    if !sh::read(status)?.is_empty() {
        eprintln!("note: what is not committed is not tried");
    }
    let bare = Bare::make(&sh::target().join("tenantry-cache/bare"), options.cold)?;
    bare.run(&COMMANDS)
}

/// A root with nothing but Debian's essential packages and a linker, and what is mounted into it.
struct Bare {
    root: PathBuf,
    rust: PathBuf,
    /// Downloaded crates, kept.
    crates: PathBuf,
    target: PathBuf,
}

impl Bare {
    /// Makes the root anew; what was downloaded and compiled before is kept.
    fn make(dir: &Path, cold: bool) -> Result<Self> {
        let rust = sh::read(sh::command("rustc", &["--print", "sysroot"]))?;
        let bare = Self {
            root: dir.join("root"),
            rust: PathBuf::from(rust.trim_end()),
            crates: dir.join("crates"),
            target: dir.join("target"),
        };
        if bare.root.exists() {
            fs::remove_dir_all(&bare.root).context("cannot remove the last bare root")?;
        }
        if cold && bare.target.exists() {
            fs::remove_dir_all(&bare.target).context("cannot remove what was compiled")?;
        }
        for dir in [dir, &bare.crates, &bare.target] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        eprintln!("making a bare Debian");
        let mut make =
            sh::command("unshare", &["--mount", "--propagation", "private", "sh", "-eu", "-c", MAKE]);
        make.current_dir(dir);
        sh::show_briefly(make, "mmdebstrap")?;
        let mut clone = sh::command("git", &["clone", "--quiet", "--no-hardlinks", "--depth=1"]);
        clone.arg(format!("file://{}", sh::repository().display())).arg(bare.root.join("src"));
        sh::show(clone)?;
        fs::create_dir(bare.root.join("src/target")).context("cannot make the target directory")?;
        Ok(bare)
    }

    fn run(&self, commands: &[&str]) -> Result<()> {
        let namespaces = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"];
        let mut enter = sh::command("unshare", &namespaces);
        enter.args(["sh", "-euc", ENTER, "sh"]).arg(&self.root).args(commands);
        enter.env("RUST", &self.rust).env("CRATES", &self.crates).env("TARGET", &self.target);
        sh::show_briefly(enter, "a command on the bare machine")
    }
}
