use clap::Args;

use super::{Context, client, many, many::Names};
use crate::api::types::{Done, KillRequest};

/// Kill everything in tenants, or send a signal to their init
#[derive(Debug, Args)]
pub(super) struct Kill {
    #[command(flatten)]
    names: Names,
    /// Send only this signal, and only to init
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<String>,
}

impl Kill {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let names = self.names.resolve(&context.client).await?;
        let request = KillRequest { signal: self.signal.clone() };
        let verb = if self.signal.is_some() { "signalled" } else { "killed" };
        let kill = move |api: super::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/kill"), &request).await }
        };
        many::each(context, names, kill, |done| many::sentence(done, verb)).await
    }
}
