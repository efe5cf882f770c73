use std::process::ExitCode;

use clap::Args;
use wire::{Done, RenameRequest};

use super::{Context, candidates, many};

/// Give a tenant that is down another name
///
/// It keeps its number, uid range, addresses, directories and log. A host name that is its name becomes the new one.
#[derive(Debug, Args)]
pub(super) struct Rename {
    /// Name of the tenant
    #[arg(value_name = "OLD", add = candidates::of(candidates::tenants))]
    name: String,
    /// The name that it gets
    new: String,
}

impl Rename {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let request = RenameRequest { name: self.new.clone() };
        let done: Done = context.client.post(&client::tenant(&self.name, "/rename"), &request).await?;
        context.output.print(&done, |done| many::sentence(done, &format!("renamed, was {}", self.name)));
        Ok(ExitCode::SUCCESS)
    }
}
