use clap::Args;
use wire::{Done, StartRequest};

use super::{Context, many, select::Selection};

/// Apply the current files of tenants to running tenants
///
/// Use it after editing files by hand: limits, `group`, `net_rate` and `ports` take effect at once; keys
/// that take effect at the next start are listed.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    selection: Selection,
    /// Accept a limit that cannot be enforced on this host
    #[arg(long)]
    allow_unenforced: bool,
}

impl Reload {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let request = StartRequest { allow_unenforced: self.allow_unenforced, strict: false };
        let reload = move |api: client::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/reload"), &request).await }
        };
        many::each(context, &chosen, ("reloaded", None), reload, |done| many::sentence(done, "reloaded"))
            .await
    }
}
