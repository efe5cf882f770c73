use clap::Args;
use wire::Done;

use super::{Context, many, select::Selection, start::Unenforced};

/// Stop tenants if they are running, and start them
#[derive(Debug, Args)]
pub(super) struct Restart {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    limits: Unenforced,
}

impl Restart {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let request = self.limits.request();
        let restart = move |api: client::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/restart"), &request).await }
        };
        many::each(context, &chosen, ("restarted", None), restart, |done| many::sentence(done, "restarted"))
            .await
    }
}
