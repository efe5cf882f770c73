use clap::Args;

use super::{
    Context,
    client::{self, Client},
    many,
    many::Names,
};
use crate::{
    api::types::{Done, StartRequest},
    error::Failure,
};

/// Start tenants and wait until they are ready
///
/// A tenant that runs is left alone.
#[derive(Debug, Args)]
pub(super) struct Start {
    #[command(flatten)]
    names: Names,
    /// Start even where a limit cannot be enforced on this host
    #[arg(long)]
    allow_unenforced: bool,
}

/// Starts one tenant.
pub(super) async fn start(api: &Client, name: &str, allow_unenforced: bool) -> Result<Done, Failure> {
    api.post(&client::tenant(name, "/start"), &StartRequest { allow_unenforced }).await
}

impl Start {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let names = self.names.resolve(&context.client).await?;
        let allow = self.allow_unenforced;
        let request = move |api: Client, name: String| async move { start(&api, &name, allow).await };
        many::each(context, names, request, |done| many::sentence(done, "started")).await
    }
}
