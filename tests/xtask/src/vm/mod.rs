//! The tier in a virtual machine: native test programs on Debian's kernels, older than this machine's and with what
//! it lacks (VLANs, loadable modules), beside a systemd that is PID 1 and a pure cgroup v2.
//!
//! QEMU emulates the processor (TCG), so that nothing depends on `/dev/kvm`. Programs take about eight times
//! as long in there.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};

mod machine;
mod select;

use self::{
    machine::Machine,
    select::{KERNELS, Stages, Tests},
};
use crate::{
    count::Count,
    deb::{self, Packing},
    images, packages, programs, sh,
};

/// What is wanted of a run.
pub(crate) struct Wanted<'a> {
    pub(crate) no_install: bool,
    pub(crate) filter: Option<&'a str>,
}

/// Images that the tests boot.
const IMAGES: [&str; 2] = ["debian", "busybox"];

/// The Debian that the machine boots, of which both kernels are a part.
const DEBIAN: &str = concat!(include_str!("../mirrors.sh"), include_str!("debian.sh"));
/// What its one service runs.
const RUN: &str = include_str!("run.sh");

/// Boots a machine for each kernel and runs native tests in it.
pub(crate) fn run(wanted: &Wanted<'_>, count: &mut Count) -> Result<()> {
    sh::need_root("the tier in a virtual machine")?;
    packages::ensure(packages::Use::Vm, wanted.no_install)?;
    let bin = programs::build()?;
    fs::copy(programs::build_probe()?, bin.join("probe")).context("cannot place the probe")?;
    let images = images::images(&bin, &IMAGES)?;
    let tests = Tests::build()?;
    let packages = [deb::build("", Packing::Small)?, deb::build("+newer", Packing::Quick)?];
    let dir = sh::target().join("tenantry-cache/vm");
    let system = system(&dir)?;
    for kernel in &KERNELS {
        let stages = kernel.stages(&tests, wanted.filter)?;
        if stages.is_empty() {
            continue;
        }
        let payload = payload(&dir, &bin, &images, &tests, &packages, &stages)?;
        *count += Machine { dir: &dir, system: &system, payload: &payload, kernel, stages: &stages }.run()?;
    }
    Ok(())
}

/// The directory with the disk, kernels and initial ramdisks, made once for each state of [`DEBIAN`].
fn system(dir: &Path) -> Result<PathBuf> {
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
