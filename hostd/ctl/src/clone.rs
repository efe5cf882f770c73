use std::process::ExitCode;

use clap::Args;
use wire::{CloneRequest, Copied, StartRequest};

use super::{Context, candidates, output, snapshot::sentence};

/// Make a tenant of another one
///
/// It has the files of the other, and keys, ids and addresses of its own. A tenant that is running is frozen while its
/// files are copied.
#[derive(Debug, Args)]
pub(super) struct Clone {
    /// Name of the tenant
    #[arg(value_name = "FROM", add = candidates::of(candidates::tenants))]
    from: String,
    /// Name of the new one
    name: String,
    /// Set a key in the configuration of the new one (repeatable)
    #[arg(long, value_name = "KEY=VALUE", add = candidates::of(candidates::settings))]
    set: Vec<String>,
    /// Leave a key out of the configuration of the new one (repeatable)
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Copy while it is running, and do not freeze it: each file as it is at some moment
    #[arg(long)]
    live: bool,
    /// Also start the new one
    #[arg(long)]
    start: bool,
}

impl Clone {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let request = CloneRequest {
            name: self.name.clone(),
            set: self.set.clone(),
            unset: self.unset.clone(),
            live: self.live,
        };
        let done: Copied = context.client.post(&client::tenant(&self.from, "/clone"), &request).await?;
        output::warnings(&done.warnings);
        if self.start {
            super::start::start(&context.client, &self.name, &StartRequest::default()).await?;
        }
        context.output.print(&done, |done| sentence(done, &format!("cloned from {}", self.from)));
        Ok(ExitCode::SUCCESS)
    }
}
