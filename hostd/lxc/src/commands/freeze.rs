use std::process::ExitCode;

use clap::Parser;
use wire::Done;

use super::{Applet, Common, Lxc, Named, Result};

/// Freeze all processes of a tenant
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Freeze {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    common: Common,
}

/// Resume the processes of a frozen tenant
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Unfreeze {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    common: Common,
}

fn post(lxc: &Lxc, named: &Named, verb: &str) -> Result<ExitCode> {
    let name = named.get()?;
    lxc.running(&name)?;
    let _: Done = lxc.post(&name, verb, &())?;
    Ok(ExitCode::SUCCESS)
}

impl Applet for Freeze {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        post(lxc, &self.named, "/freeze")
    }
}

impl Applet for Unfreeze {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        post(lxc, &self.named, "/thaw")
    }
}
