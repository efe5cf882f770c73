use clap::Args;

use super::{Context, client, many, many::Names};
use crate::api::types::{Done, StartRequest};

/// Stop tenants if they run, and start them
#[derive(Debug, Args)]
pub(super) struct Restart {
    #[command(flatten)]
    names: Names,
    /// Start even where a limit cannot be enforced on this host
    #[arg(long)]
    allow_unenforced: bool,
    /// Refuse to start also where this host cannot enforce a limit that it has by default
    #[arg(long, conflicts_with = "allow_unenforced")]
    strict: bool,
}

impl Restart {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let names = self.names.resolve(&context.client).await?;
        let request = StartRequest { allow_unenforced: self.allow_unenforced, strict: self.strict };
        let restart = move |api: super::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/restart"), &request).await }
        };
        many::each(context, names, restart, |done| many::sentence(done, "restarted")).await
    }
}
