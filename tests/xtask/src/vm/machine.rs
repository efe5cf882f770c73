//! One virtual machine: QEMU, from power-on to power-off for each stage, with disks of its own that last over all of
//! them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::select::{Kernel, Stages};
use crate::{
    count::{Count, counted},
    sh,
};

/// Memory of the machine, MiB.
const MEMORY: u32 = 4096;
/// After which a stage is taken for hung.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A machine whose kernel panicked, and the last of its console.
#[derive(Debug, thiserror::Error)]
#[error("the virtual machine's kernel panicked; its console:\n{0}")]
struct Panicked(String);

/// What a machine is made of.
pub(super) struct Machine<'a> {
    /// Where its disks and logs go.
    pub(super) dir: &'a Path,
    /// The directory with the system's disk, kernels and initial ramdisks.
    pub(super) system: &'a Path,
    /// The second disk.
    pub(super) payload: &'a Path,
    pub(super) kernel: &'a Kernel,
    pub(super) stages: &'a Stages,
}

impl Machine<'_> {
    /// Runs every stage; what its programs counted.
    pub(super) fn run(&self) -> Result<Count> {
        match self.all_stages() {
            Err(error) if error.is::<Panicked>() => {
                // The emulator gets flags of the processor wrong at times. A fault of the kernel comes again.
                eprintln!("{error:#}\nit is run once more, from the beginning");
                self.all_stages()
            }
            done => done,
        }
    }

    fn all_stages(&self) -> Result<Count> {
        let disks = [self.copy(&self.system.join("root.img"))?, self.copy(self.payload)?];
        let mut count = Count::default();
        for (number, programs) in (1..).zip(self.stages) {
            let names: Vec<String> = programs.iter().map(|(program, _)| program.name()).collect();
            println!("\n     Running {} on Linux {}", names.join(", "), self.version()?);
            count += self.stage(number, &disks)?;
        }
        for disk in disks {
            fs::remove_file(disk)?;
        }
        Ok(count)
    }

    /// A copy that may be written to.
    fn copy(&self, disk: &Path) -> Result<PathBuf> {
        let copy = self.dir.join(format!("{}disk-{}", self.kernel.series, name(disk)));
        let (from, to) = (disk.to_string_lossy(), copy.to_string_lossy());
        sh::read(sh::command("cp", &["--sparse=always", &from, &to]))?;
        Ok(copy)
    }

    /// The file of the system whose name starts like this.
    fn file(&self, what: &str) -> Result<PathBuf> {
        let start = format!("{what}-{}", self.kernel.series);
        let mut files = fs::read_dir(self.system)?.flatten().map(|entry| entry.path());
        files.find(|path| name(path).starts_with(&start)).with_context(|| format!("there is no {start}…"))
    }

    fn version(&self) -> Result<String> {
        let kernel = name(&self.file("vmlinuz")?);
        Ok(kernel.trim_start_matches("vmlinuz-").to_owned())
    }

    /// One run of QEMU: a reboot of the machine ends it. A machine that is reset in the same process boots three times
    /// as long as one in a new one.
    fn stage(&self, number: usize, disks: &[PathBuf; 2]) -> Result<Count> {
        let log = |what: &str| self.dir.join(format!("{}{number}-{what}.log", self.kernel.series));
        let (console, journal) = (log("console"), log("journal"));
        let mut qemu = Command::new("timeout");
        qemu.args(["--foreground", &PATIENCE.as_secs().to_string(), "qemu-system-x86_64"])
            .args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-smp", "2", "-m", &MEMORY.to_string()])
            .arg("-kernel")
            .arg(self.file("vmlinuz")?)
            .arg("-initrd")
            .arg(self.file("initrd")?)
            .args([
                "-append",
                &format!("root=/dev/vda rw console=ttyS0 panic=1 quiet payload.stage={number}"),
            ]);
        for disk in disks {
            // Nobody needs them after a crash of this machine.
            let drive = format!("file={},if=virtio,format=raw,cache=unsafe", disk.display());
            qemu.args(["-drive", &drive]);
        }
        qemu.args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"])
            .args(["-serial", &format!("file:{}", journal.display())])
            .args(["-no-reboot", "-display", "none", "-monitor", "none", "-nic", "none"]);
        let begin = Instant::now();
        let (count, ended) = counted(qemu)?;
        eprintln!("virtual machine, stage {number}: {:.1} s", begin.elapsed().as_secs_f64());
        let said = fs::read_to_string(&console).unwrap_or_default();
        // A machine that panicked has ended as well.
        if !ended || !said.contains(&format!("payload: stage {number} has run")) {
            let last: Vec<&str> = said.lines().rev().take(40).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            let last = last.join("\n");
            if said.contains("Kernel panic") {
                return Err(Panicked(last).into());
            }
            bail!("the virtual machine ended before its work was done; its console:\n{last}");
        }
        if count.failed > 0 {
            eprintln!("the machine's journal: {}; its console: {}", journal.display(), console.display());
        }
        Ok(count)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
