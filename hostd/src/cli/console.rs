use std::{process::ExitCode, time::Duration};

use clap::Args;
use tenant::{
    attach::{self, AttachEnd, AttachError, AttachOptions, DetachKey},
    supervisor::wire::Tty,
};

use super::Context;
use crate::{
    api::tenant_name,
    error::{Code, Failure, chain},
};

/// Attach to a terminal of a tenant
///
/// The tenant does not notice when you detach; what runs on the terminal goes on.
#[derive(Debug, Args)]
pub(super) struct Console {
    /// Name of the tenant
    name: String,
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console")]
    tty: Tty,
    /// Watch only
    #[arg(long, short)]
    read_only: bool,
    /// Lines of the past to show first
    #[arg(long, default_value_t = 24, value_name = "LINES")]
    replay: u32,
    /// Control character that detaches, as ^X; or none
    #[arg(long, default_value = "^]", value_name = "KEY")]
    detach_key: DetachKey,
    /// Detach after this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl Console {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        let name = tenant_name(&self.name)?;
        if !context.layout.tenant_config(&name).exists() && nix::unistd::geteuid().is_root() {
            return Err(Failure::new(Code::NoTenant, format!("there is no tenant {:?}", self.name))
                .help("list the tenants: tenantctl list"));
        }
        let options = AttachOptions {
            tty: self.tty,
            read_only: self.read_only,
            replay: self.replay,
            detach_key: self.detach_key,
            timeout: self.timeout.map(Duration::from_secs),
            ..AttachOptions::default()
        };
        match attach::run(&context.layout, &name, options) {
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
