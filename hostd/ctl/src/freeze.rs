use clap::Args;
use wire::Done;

use super::{Context, many, select::Selection};

/// Freeze all processes of tenants
#[derive(Debug, Args)]
pub(super) struct Freeze {
    #[command(flatten)]
    selection: Selection,
}

/// Resume the processes of frozen tenants
#[derive(Debug, Args)]
pub(super) struct Thaw {
    #[command(flatten)]
    selection: Selection,
}

/// Park tenants: they stand still until they are needed
#[derive(Debug, Args)]
pub(super) struct Park {
    #[command(flatten)]
    selection: Selection,
}

/// Wake parked tenants
#[derive(Debug, Args)]
pub(super) struct Wake {
    #[command(flatten)]
    selection: Selection,
}

impl Park {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        request(context, &self.selection, "/park", "parked").await
    }
}

impl Wake {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        request(context, &self.selection, "/wake", "woken").await
    }
}

impl Freeze {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        request(context, &self.selection, "/freeze", "frozen").await
    }
}

impl Thaw {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        request(context, &self.selection, "/thaw", "thawed").await
    }
}

async fn request(context: &Context, selection: &Selection, path: &'static str, verb: &str) -> super::Result {
    let chosen = selection.resolve(&context.client).await?;
    let post = move |api: client::Client, name: String| async move {
        api.post::<Done>(&client::tenant(&name, path), &()).await
    };
    many::each(context, &chosen, (verb, None), post, |done| many::sentence(done, verb)).await
}
