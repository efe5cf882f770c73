//! The fault tier: every call of the kernel that a verb makes fails once; see `tests/faults/`.

use std::fs;

use anyhow::Result;
use tenantry_tests::host;

use crate::{
    count::Count,
    images::images,
    native,
    packages::{self, Use},
    programs, sh,
};

/// What is asked of this tier.
pub(crate) struct Wanted<'a> {
    pub(crate) no_install: bool,
    /// All points instead of a sample.
    pub(crate) is_all: bool,
    pub(crate) filter: Option<&'a str>,
}

/// Prepares what the native tier prepares, as far as it is needed, and runs the programs of this tier.
pub(crate) fn run(wanted: &Wanted<'_>, count: &mut Count) -> Result<()> {
    sh::need_root("the fault tier")?;
    packages::ensure(Use::Faults, wanted.no_install)?;
    let bin = programs::build()?;
    let images = images(&bin, &["busybox"])?;
    let tests = native::build_tests("faults")?;
    let tmp = sh::target().join("tenantry-cache/tmp");
    fs::create_dir_all(&tmp)?;
    native::isolate()?;
    let path = packages::path(Use::Faults)?;
    native::run_programs(&tests, &host::Place { bin, images, tmp }, count, |command| {
        command.arg("--test-threads=1").args(wanted.filter).env("PATH", &path);
        if wanted.is_all {
            command.env(host::ALL, "1");
        }
    })
}
