//! `cargo xtask demo`: three Debian tenants on this machine, from nothing; `--down` takes them away.

mod record;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, programs, sh};
use record::Record;

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Put everything below this directory instead of `/`.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Refuse to install missing Debian packages.
    #[arg(long)]
    no_install: bool,
    /// Remove what the demo made.
    #[arg(long)]
    down: bool,
}

const TENANTS: [&str; 3] = ["alice", "bob", "carol"];
const IMAGE: &str = "debian";

/// The programs and the root they work on.
struct Demo {
    bin: PathBuf,
    root: PathBuf,
}

/// Brings the demo up, or down.
pub(crate) fn run(options: &Options) -> Result<()> {
    sh::need_root("the demo")?;
    let root = match &options.root {
        None => PathBuf::from("/"),
        Some(dir) => {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            dir.canonicalize()?
        }
    };
    if options.down {
        let demo = Demo { bin: sh::target().join("release"), root };
        return demo.down();
    }
    let missing = packages::missing(packages::Use::Demo, options.no_install)?;
    // What makes the image is built first, while the packages that it needs are installed; the rest is built while
    // the image is made.
    let bin = at_once("cannot install the packages", || missing.install(), programs::build_rootfsctl)?;
    let demo = Demo { bin, root };
    let mut record = Record::load(&demo.root)?;
    record.note_host(&demo.root)?;
    at_once("cannot make the image", || demo.image(&mut record), programs::build)?;
    demo.hostd(&mut record)?;
    demo.tenants(&mut record)?;
    let list = demo.json("tenantctl", &["list"])?;
    table::print(&list, &TENANTS, &demo.bin, &demo.root);
    Ok(())
}

/// Does one thing on a thread while another is done here; both have ended when it returns, and the other's result is its.
fn at_once<T>(
    what: &'static str,
    meanwhile: impl FnOnce() -> Result<()> + Send,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let meanwhile = scope.spawn(meanwhile);
        let done = work();
        meanwhile.join().expect("no panic").context(what)?;
        done
    })
}

impl Demo {
    fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    fn tool(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join(name));
        if self.root != Path::new("/") {
            command.arg("--root").arg(&self.root);
        }
        command.args(args);
        command
    }

    fn ctl(&self, args: &[&str]) -> Command {
        self.tool("tenantctl", args)
    }

    fn json(&self, tool: &str, args: &[&str]) -> Result<serde_json::Value> {
        let text = sh::read(self.tool(tool, &[&["--json"], args].concat()))?;
        serde_json::from_str(&text).with_context(|| format!("{tool} printed no JSON: {text}"))
    }

    fn image(&self, record: &mut Record) -> Result<()> {
        if sh::read(self.tool("rootfsctl", &["show", IMAGE])).is_ok() {
            return Ok(());
        }
        record.change(&self.root, |record| record.image = true)?;
        // Its progress would be mixed with that of the compiler.
        let started = Instant::now();
        eprintln!("making the image {IMAGE} meanwhile");
        sh::read(self.tool("rootfsctl", &["build", IMAGE]))?;
        eprintln!("made the image {IMAGE} in {} s", started.elapsed().as_secs());
        Ok(())
    }

    fn answers(&self) -> bool {
        sh::read(self.ctl(&["list"])).is_ok()
    }

    /// Starts hostd in a session of its own, so that it outlives this terminal.
    fn hostd(&self, record: &mut Record) -> Result<()> {
        if self.answers() {
            return Ok(());
        }
        let path = self.path("var/log/tenantry/hostd.log");
        fs::create_dir_all(path.parent().expect("a log lies in a directory"))?;
        let log = fs::File::options().create(true).append(true).open(&path)?;
        let template = self.tool("hostd", &[]);
        let mut hostd = Command::new("setsid")
            .arg(template.get_program())
            .args(template.get_args())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start hostd")?;
        record.change(&self.root, |record| record.hostd = record::Process::of(hostd.id()))?;
        eprintln!("hostd runs as process {}, its log is {}", hostd.id(), path.display());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.answers() {
            if let Some(status) = hostd.try_wait()? {
                bail!("hostd ended ({status}); its log is {}", path.display());
            }
            if Instant::now() > deadline {
                bail!("hostd does not answer; its log is {}", path.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn tenants(&self, record: &mut Record) -> Result<()> {
        let there = table::names(&self.json("tenantctl", &["list"])?);
        for name in TENANTS {
            if there.iter().any(|tenant| tenant == name) {
                continue;
            }
            record.change(&self.root, |record| record.tenants.push(name.to_owned()))?;
            sh::show(self.ctl(&["create", name, "--image", IMAGE]))?;
        }
        for name in TENANTS {
            // Returns when the tenant's own init says that the boot is finished.
            sh::show(self.ctl(&["start", name]))?;
        }
        Ok(())
    }

    fn down(&self) -> Result<()> {
        let mut record = Record::load(&self.root)?;
        if record.is_empty() {
            eprintln!("no demo below {}", self.root.display());
            return Ok(());
        }
        if !record.tenants.is_empty() && !self.answers() {
            self.hostd(&mut record)?;
        }
        for name in record.tenants.clone() {
            let done = sh::show(self.ctl(&["destroy", &name, "--force", "--yes"]));
            if done.is_err() && table::names(&self.json("tenantctl", &["list"])?).contains(&name) {
                done?;
            }
            record.change(&self.root, |record| record.tenants.retain(|tenant| *tenant != name))?;
        }
        if let Some(hostd) = record.hostd.take() {
            hostd.end()?;
            record.change(&self.root, |record| record.hostd = None)?;
        }
        if record.image {
            sh::show(self.tool("rootfsctl", &["rm", IMAGE, "--channels"]))?;
            record.change(&self.root, |record| record.image = false)?;
        }
        record.restore_ipv6()?;
        record.remove_directories(&self.root)?;
        eprintln!("the demo is gone");
        Ok(())
    }
}
