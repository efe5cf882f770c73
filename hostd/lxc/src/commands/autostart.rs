use std::process::ExitCode;

use clap::Parser;
use tenant::TenantName;
use wire::{Code, Done, Explained, Failure, KillRequest, StartRequest, StopRequest, Summary};

use super::{Applet, Common, Lxc, Refused, Result, refused, tell};

/// Start all tenants that start with the host
///
/// Starts the tenants with `autostart = true` that are not running; with -s, -k or -r stops, kills or restarts
/// those that are running. The exit code is 1 if it failed for any of them.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Autostart {
    /// Restart them
    #[arg(short = 'r', long, conflicts_with_all = ["shutdown", "kill"])]
    reboot: bool,
    /// Stop them
    #[arg(short = 's', long, conflicts_with = "kill")]
    shutdown: bool,
    /// Kill them at once
    #[arg(short = 'k', long)]
    kill: bool,
    /// Print their names and the delay after each, which is 0, and do nothing
    #[arg(short = 'L', long)]
    list: bool,
    /// Kill a tenant that has not stopped after this many seconds
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
    /// Accepted: tenants have no start groups
    #[arg(short = 'a', long)]
    all: bool,
    /// All tenants, whether they start with the host or not
    #[arg(short = 'A', long)]
    ignore_auto: bool,
    #[command(flatten)]
    common: Common,
}

impl Applet for Autostart {
    const REFUSED: &'static [Refused] = &[refused(
        Some('g'),
        "groups",
        true,
        "tenants have no start groups; select them by name: lxc-ls -1 | grep REGEX | xargs -n 1 lxc-start -d -n",
    )];

    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let mut failed = false;
        let tenants: Vec<Summary> = lxc.wait(lxc.client().get("/v1/tenants"))?;
        for summary in tenants {
            let done = self.one(lxc, &summary);
            if let Err(failure) = done {
                failed = true;
                if !self.common.quiet {
                    tell("lxc-autostart", &failure);
                }
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl Autostart {
    /// Performs the operation on one tenant, if it is selected.
    fn one(&self, lxc: &Lxc, summary: &Summary) -> Result<()> {
        let name = wire::tenant_name(&summary.name)?;
        let ends = self.reboot || self.shutdown || self.kill;
        if summary.state.is_up() != ends || !self.ignore_auto && !starts(lxc, &name)? {
            return Ok(());
        }
        if self.list {
            client::output::write(&format!("{name} 0\n"));
            return Ok(());
        }
        let _: Done = match () {
            () if self.reboot => lxc.post(&name, "/restart", &StartRequest::default())?,
            () if self.kill => lxc.post(&name, "/kill", &KillRequest::default())?,
            () if self.shutdown => {
                let seconds = self.timeout.clamp(1, 3600);
                lxc.post(&name, "/stop", &StopRequest { timeout_sec: Some(seconds), ask_only: false })?
            }
            () => lxc.post(&name, "/start", &StartRequest::default())?,
        };
        Ok(())
    }
}

/// Whether a tenant starts with the host.
fn starts(lxc: &Lxc, name: &TenantName) -> Result<bool> {
    let explained: Vec<Explained> = lxc.get(name, "/explain")?;
    let line = explained.into_iter().find(|line| line.key == "autostart");
    line.map(|line| line.value == "true").ok_or_else(|| {
        Failure::new(Code::Failed, format!("cannot determine whether {name} starts with the host"))
    })
}
