use clap::Args;
use wire::{Done, StopRequest};

use super::{Context, many, select::Selection};

/// Ask tenants to power off and wait until they are down
#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    selection: Selection,
    /// Kill after this many seconds; default: stop_timeout_sec of the tenant
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

impl Stop {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let request = StopRequest { timeout_sec: self.timeout, ask_only: false };
        let stop = move |api: client::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/stop"), &request).await }
        };
        many::each(context, &chosen, ("stopped", Some(many::WAITS_AT_ONCE)), stop, |done| {
            many::sentence(done, "stopped")
        })
        .await
    }
}
