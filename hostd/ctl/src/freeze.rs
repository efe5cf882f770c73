use clap::Args;
use wire::Done;

use super::{
    Context,
    many::{self, Names},
};

/// Freeze all processes of tenants
#[derive(Debug, Args)]
pub(super) struct Freeze {
    #[command(flatten)]
    names: Names,
}

/// Resume the processes of frozen tenants
#[derive(Debug, Args)]
pub(super) struct Thaw {
    #[command(flatten)]
    names: Names,
}

impl Freeze {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        request(context, &self.names, "/freeze", "frozen").await
    }
}

impl Thaw {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        request(context, &self.names, "/thaw", "thawed").await
    }
}

async fn request(context: &Context, names: &Names, path: &'static str, verb: &str) -> super::Result {
    let names = names.resolve(&context.client).await?;
    let post = move |api: client::Client, name: String| async move {
        api.post::<Done>(&client::tenant(&name, path), &()).await
    };
    many::each(context, names, post, |done| many::sentence(done, verb)).await
}
