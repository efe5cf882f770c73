use clap::Args;
use wire::Done;

use super::{
    Context,
    many::{self, Names},
    start::Unenforced,
};

/// Stop tenants if they are running, and start them
#[derive(Debug, Args)]
pub(super) struct Restart {
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    limits: Unenforced,
}

impl Restart {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let names = self.names.resolve(&context.client).await?;
        let request = self.limits.request();
        let restart = move |api: client::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/restart"), &request).await }
        };
        many::each(context, names, restart, |done| many::sentence(done, "restarted")).await
    }
}
