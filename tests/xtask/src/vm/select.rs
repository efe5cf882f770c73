//! Which test programs run on which kernel: the table, and what a filter leaves of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{native, sh};

/// The programs of each stage, and which of their tests.
pub(super) type Stages = [Vec<(Program, String)>];

/// A kernel, and which test programs run on it; between two stages the machine is rebooted.
pub(super) struct Kernel {
    /// Start of its version.
    pub(super) series: &'static str,
    pub(super) stages: &'static [&'static [Program]],
}

/// What a test program is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// One of the native tier, with a host of its own for each test.
    Tenants,
    /// The machine itself, with the package installed; in `tests/vm/`.
    Machine,
}

/// A test program.
#[derive(Clone, Copy)]
pub(super) struct Program {
    about: About,
    file: &'static str,
    /// Only the tests whose names hold this.
    only: &'static str,
    /// What must have run before it.
    needs: Option<&'static str>,
}

const fn native(file: &'static str, only: &'static str) -> Program {
    Program { about: About::Tenants, file, only, needs: None }
}

const fn machine(file: &'static str) -> Program {
    machine_only(file, "")
}

const fn machine_only(file: &'static str, only: &'static str) -> Program {
    Program { about: About::Machine, file, only, needs: Some("package") }
}

const FIRST: Program = Program { about: About::Machine, file: "package", only: "", needs: None };
const AFTER_REBOOT: Program =
    Program { about: About::Machine, file: "after-reboot", only: "", needs: Some("before-reboot") };

pub(super) const KERNELS: [Kernel; 2] = [
    // That of Debian 12's backports: what a host is expected to have.
    Kernel {
        series: "6.12.",
        stages: &[
            &[
                native("nics", "a_vlan"),
                native("busy_host", "tracking_outlives"),
                native("swap", "frozen_tenants"),
                FIRST,
                machine("units"),
                machine("limits"),
                machine("machined"),
                machine("faults"),
                machine("quota"),
                machine("integrity"),
                machine("before-reboot"),
            ],
            &[AFTER_REBOOT, machine("removal")],
        ],
    },
    // Debian 12's own: the oldest that is taken.
    Kernel {
        series: "6.1.",
        stages: &[&[
            native("isolation", "unseen_by_the_neighbour"),
            native("busy_host", "tracking_outlives"),
            native("swap", "frozen_tenants"),
            Program { only: "a_package_installs", ..FIRST },
            machine_only("units", "systemctl"),
            machine_only("integrity", "erofs"),
        ]],
    },
];

impl Program {
    /// Its file on the second disk.
    pub(super) fn name(&self) -> String {
        match self.about {
            About::Tenants => format!("native-{}", self.file),
            About::Machine => format!("vm-{}", self.file),
        }
    }

    /// What the names of its tests must hold, of those that a filter leaves; none where it leaves none. The name of
    /// a program means all of its tests.
    fn filtered(&self, tests: &Tests, filter: &str) -> Result<Option<String>> {
        if self.file == filter {
            return Ok(Some(self.only.to_owned()));
        }
        let list = sh::read(sh::command(tests.program(self)?, &["--list", "--format", "terse", filter]))?;
        Ok(list.lines().any(|line| line.ends_with(": test")).then(|| filter.to_owned()))
    }
}

impl Kernel {
    /// The programs of each stage, each with what the names of its tests must hold; none where the filter leaves
    /// nothing to run. What others need runs as well.
    pub(super) fn stages(&self, tests: &Tests, filter: Option<&str>) -> Result<Vec<Vec<(Program, String)>>> {
        let all = self.stages.iter().copied().flatten();
        let Some(filter) = filter else {
            let whole = |program: &Program| (*program, program.only.to_owned());
            return Ok(self.stages.iter().map(|stage| stage.iter().map(whole).collect()).collect());
        };
        let mut wanted = BTreeMap::new();
        for program in all.clone() {
            if let Some(only) = program.filtered(tests, filter)? {
                wanted.insert(program.file, only);
            }
        }
        let mut needed: Vec<&str> = Vec::new();
        // In the table everything comes after what it needs.
        for program in all.rev() {
            if wanted.contains_key(program.file) || needed.contains(&program.file) {
                needed.extend(program.needs);
            }
        }
        let mut stages = Vec::new();
        for stage in self.stages {
            let only = |program: &Program| match needed.contains(&program.file) {
                true => Some((*program, program.only.to_owned())),
                false => wanted.get(program.file).map(|only| (*program, only.clone())),
            };
            stages.push(stage.iter().filter_map(only).collect::<Vec<_>>());
        }
        while stages.last().is_some_and(Vec::is_empty) {
            stages.pop();
        }
        Ok(stages)
    }
}

/// The test programs, by the tier they were made for.
pub(super) struct Tests {
    native: Vec<PathBuf>,
    machine: Vec<PathBuf>,
}

impl Tests {
    pub(super) fn build() -> Result<Self> {
        Ok(Self { native: native::build_tests("native")?, machine: native::build_tests("vm")? })
    }

    pub(super) fn program(&self, program: &Program) -> Result<&Path> {
        let (paths, name) = match program.about {
            About::Tenants => (&self.native, program.file.to_owned()),
            About::Machine => (&self.machine, program.name()),
        };
        let is_it = |path: &&PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.rsplit_once('-').is_some_and(|(stem, _)| stem.replace('_', "-") == name.replace('_', "-"))
        };
        let found = paths.iter().find(is_it);
        found.map(PathBuf::as_path).with_context(|| format!("there is no test program {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_needs_stands_before_it() {
        for kernel in &KERNELS {
            let mut before = Vec::new();
            for program in kernel.stages.iter().copied().flatten() {
                assert!(program.needs.is_none_or(|need| before.contains(&need)), "{}", program.file);
                before.push(program.file);
            }
        }
    }
}
