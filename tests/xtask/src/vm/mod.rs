//! The tier in a virtual machine: native test programs on Debian's kernels, older than this machine's and with what
//! it lacks (VLANs, loadable modules), beside a systemd that is PID 1 and a pure cgroup v2.
//!
//! QEMU emulates the processor (TCG), so that nothing depends on `/dev/kvm`. Programs take about eight times
//! as long in there.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

mod select;

use self::select::{KERNELS, Kernel, Program, Tests};
use crate::{
    deb::{self, Packing},
    native, packages, programs, sh,
    test::{Count, counted},
};

/// What is wanted of a run.
pub(crate) struct Wanted<'a> {
    pub(crate) no_install: bool,
    pub(crate) filter: Option<&'a str>,
}

/// The programs of each stage, and which of their tests.
type Stages = [Vec<(Program, String)>];

/// Images that the tests boot.
const IMAGES: [&str; 2] = ["debian", "busybox"];
/// Memory of the machine, MiB.
const MEMORY: u32 = 4096;
/// After which a machine is taken for hung.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A machine whose kernel panicked, and the last of its console.
#[derive(Debug, thiserror::Error)]
#[error("the virtual machine's kernel panicked; its console:\n{0}")]
struct Panicked(String);

/// The Debian that the machine boots, of which both kernels are a part.
const DEBIAN: &str = include_str!("debian.sh");
/// What its one service runs.
const RUN: &str = include_str!("run.sh");

/// Boots a machine for each kernel and runs native tests in it.
pub(crate) fn run(wanted: &Wanted<'_>, count: &mut Count) -> Result<()> {
    sh::need_root("the tier in a virtual machine")?;
    packages::ensure(packages::VM, wanted.no_install)?;
    packages::ensure(packages::DEB, wanted.no_install)?;
    let bin = programs::build()?;
    fs::copy(programs::build_probe()?, bin.join("probe")).context("cannot place the probe")?;
    let images = native::images(&bin, &IMAGES)?;
    let tests = Tests::build()?;
    let packages = [deb::build("", Packing::Small)?, deb::build("+newer", Packing::Quick)?];
    let dir = sh::target().join("tenantry-cache/vm");
    let machine = machine(&dir)?;
    for kernel in &KERNELS {
        let stages = kernel.stages(&tests, wanted.filter)?;
        if stages.is_empty() {
            continue;
        }
        let payload = payload(&dir, &bin, &images, &tests, &packages, &stages)?;
        let run = || boot(&dir, &machine, &payload, kernel, &stages);
        *count += run().or_else(|ended| match ended.downcast_ref::<Panicked>() {
            Some(_) => {
                // The emulator gets flags of the processor wrong at times. A fault of the kernel comes again.
                eprintln!("{ended:#}\nthe machine's kernel panicked; it is booted once more");
                run()
            }
            None => Err(ended),
        })?;
    }
    Ok(())
}

/// The directory with the disk, kernels and initial ramdisks, made once for each state of [`DEBIAN`].
fn machine(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let script = dir.join("debian.sh");
    let machine = dir.join("machine");
    if fs::read_to_string(&script).is_ok_and(|text| text == DEBIAN) && machine.is_dir() {
        return Ok(machine);
    }
    eprintln!("making a virtual Debian");
    let begin = Instant::now();
    let _ = fs::remove_file(&script);
    for old in [&machine, &dir.join("new")] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    fs::create_dir(dir.join("new"))?;
    let mut make = sh::command("sh", &["-eu", "-c", DEBIAN]);
    make.current_dir(dir.join("new"));
    sh::show_briefly(make, "the script that makes a virtual Debian")?;
    fs::rename(dir.join("new"), &machine)?;
    fs::write(&script, DEBIAN)?;
    eprintln!("made in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(machine)
}

/// A disk with our programs, the images and the tests.
fn payload(
    dir: &Path,
    bin: &Path,
    images: &Path,
    tests: &Tests,
    packages: &[PathBuf],
    stages: &Stages,
) -> Result<PathBuf> {
    let tree = dir.join("payload");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::create_dir_all(tree.join("bin"))?;
    fs::create_dir_all(tree.join("tests"))?;
    for program in ["hostd", "tenantctl", "tenant", "rootfsctl", "probe"] {
        fs::copy(bin.join(program), tree.join("bin").join(program)).with_context(|| program.to_owned())?;
    }
    for package in packages {
        fs::copy(package, tree.join(package.file_name().unwrap_or_default()))?;
    }
    for (stage, programs) in stages.iter().enumerate() {
        let mut list = String::new();
        for (program, only) in programs {
            let to = tree.join("tests").join(program.name());
            // The debug information of all of them would not fit.
            let from = tests.program(program)?.to_string_lossy().into_owned();
            sh::read(sh::command("objcopy", &["--strip-debug", &from, &to.to_string_lossy()]))?;
            list.push_str(&format!("{} {only}\n", program.name()));
        }
        fs::write(tree.join(format!("stage-{}", stage + 1)), list)?;
    }
    let run = tree.join("run");
    fs::write(&run, RUN)?;
    fs::set_permissions(&run, Permissions::from_mode(0o755))?;
    let store = "var/lib/tenantry/images";
    fs::create_dir_all(tree.join("images").join(store))?;
    for image in IMAGES {
        let (from, to) = (images.join(store).join(image), tree.join("images").join(store).join(image));
        sh::read(sh::command("cp", &["-a", &from.to_string_lossy(), &to.to_string_lossy()]))?;
    }
    let disk = dir.join("payload.img");
    let _ = fs::remove_file(&disk);
    File::create(&disk)?.set_len(2 << 30)?;
    let (from, to) = (tree.to_string_lossy().into_owned(), disk.to_string_lossy().into_owned());
    sh::read(sh::command("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-d", &from, &to]))?;
    Ok(disk)
}

fn boot(dir: &Path, machine: &Path, payload: &Path, kernel: &Kernel, stages: &Stages) -> Result<Count> {
    let console = dir.join(format!("console-{}log", kernel.series));
    let journal = dir.join(format!("journal-{}log", kernel.series));
    let file = |what: &str| -> Result<String> {
        let mut names = fs::read_dir(machine)?.flatten().map(|entry| entry.path());
        let start = format!("{what}-{}", kernel.series);
        let found = names
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)));
        Ok(found.with_context(|| format!("there is no {start}…"))?.to_string_lossy().into_owned())
    };
    let disk = |path: &Path| format!("file={},if=virtio,format=raw,snapshot=on", path.display());
    let mut qemu = Command::new("timeout");
    qemu.args(["--foreground", &PATIENCE.as_secs().to_string(), "qemu-system-x86_64"])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-smp", "2", "-m", &MEMORY.to_string()])
        .args(["-kernel", &file("vmlinuz")?, "-initrd", &file("initrd")?])
        .args(["-append", "root=/dev/vda rw console=ttyS0 panic=1 quiet"])
        .args(["-drive", &disk(&machine.join("root.img")), "-drive", &disk(payload)])
        .args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"])
        .args(["-serial", &format!("file:{}", journal.display())])
        .args(["-display", "none", "-monitor", "none", "-nic", "none"]);
    let programs: Vec<String> = stages.iter().flatten().map(|(program, _)| program.name()).collect();
    println!(
        "\n     Running {} on Linux {}",
        programs.join(", "),
        file("vmlinuz")?.rsplit_once("vmlinuz-").map_or("", |(_, version)| version)
    );
    let begin = Instant::now();
    let (count, ended) = counted(qemu)?;
    eprintln!("virtual machine: {:.1} s", begin.elapsed().as_secs_f64());
    let log = fs::read_to_string(&console).unwrap_or_default();
    // A machine that panicked has ended as well.
    if !ended || !log.contains("payload: every program has run") {
        let last: Vec<&str> = log.lines().rev().take(40).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let last = last.join("\n");
        if log.contains("Kernel panic") || log.contains("the machine went down") {
            return Err(Panicked(last).into());
        }
        bail!("the virtual machine ended before its work was done; its console:\n{last}");
    }
    if count.failed > 0 {
        eprintln!("the machine's journal: {}; its console: {}", journal.display(), console.display());
    }
    Ok(count)
}
