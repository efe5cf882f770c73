use std::process::ExitCode;

use clap::Parser;
use hyper::Method;
use tenant::TenantName;
use wire::{Code, Done, Failure};

use super::{Applet, Common, Lxc, Named, Result};

/// Destroy a tenant and all its data
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Destroy {
    #[command(flatten)]
    named: Named,
    /// Kill it first if it is running
    #[arg(short = 'f', long)]
    force: bool,
    /// Accepted: a tenant has no snapshots
    #[arg(short = 's', long)]
    snapshots: bool,
    #[command(flatten)]
    common: Common,
}

impl Applet for Destroy {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let name = self.named.get()?;
        let detail = lxc.find(&name)?.ok_or_else(|| {
            Failure::new(Code::NoTenant, "Container is not defined").help("list the tenants: lxc-ls")
        })?;
        if detail.summary.state.is_up() && !self.force {
            return Err(Failure::new(Code::Running, format!("{name} is running"))
                .help(format!("stop it first: lxc-stop -n {name}; or pass -f")));
        }
        remove(lxc, &name)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Removes a tenant, running or not.
pub(super) fn remove(lxc: &Lxc, name: &TenantName) -> Result<()> {
    let path = client::tenant(name.as_str(), "?force=true");
    let _: Done = lxc.wait(lxc.client().request(Method::DELETE, &path, &()))?;
    Ok(())
}
