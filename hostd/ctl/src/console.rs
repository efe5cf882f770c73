use std::process::ExitCode;

use clap::Args;
use tenant::attach::{self, AttachEnd, AttachError, AttachOptions};
use wire::{Code, Failure, chain, tenant_name};

use super::{Context, candidates};

/// Attach to a terminal of a tenant
///
/// Detaching does not affect the tenant; programs on the terminal keep running.
#[derive(Debug, Args)]
pub(super) struct Console {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    #[command(flatten)]
    options: AttachOptions,
}

impl Console {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        let name = tenant_name(&self.name)?;
        if !context.layout.tenant_config(&name).exists() && nix::unistd::geteuid().is_root() {
            return Err(Failure::new(Code::NoTenant, format!("there is no tenant {:?}", self.name))
                .help("list the tenants: tenantctl list"));
        }
        match attach::run(&context.layout, &name, self.options) {
            Ok(AttachEnd::Lost) => Ok(ExitCode::FAILURE),
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                let code = match error {
                    AttachError::NotRunning(_) => Code::NotRunning,
                    AttachError::Forbidden(_) => Code::Forbidden,
                    AttachError::Refused { .. } | AttachError::Io(..) => Code::Failed,
                };
                Err(Failure { help: error.help(), ..Failure::new(code, chain(&error)) })
            }
        }
    }
}
