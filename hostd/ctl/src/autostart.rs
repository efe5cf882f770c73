use clap::Args;
use wire::ConfigChange;

use super::{Context, config, select::Selection};

/// Start tenants at each boot of the host from now on
#[derive(Debug, Args)]
pub(super) struct Enable {
    #[command(flatten)]
    selection: Selection,
}

/// Do not start tenants at a boot of the host any more
#[derive(Debug, Args)]
pub(super) struct Disable {
    #[command(flatten)]
    selection: Selection,
}

impl Enable {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        autostart(context, &self.selection, true).await
    }
}

impl Disable {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        autostart(context, &self.selection, false).await
    }
}

/// Sets the key `autostart`, which hostd and systemd go by.
async fn autostart(context: &Context, selection: &Selection, wanted: bool) -> super::Result {
    let chosen = selection.resolve(&context.client).await?;
    let set = vec![format!("autostart={wanted}")];
    let change = ConfigChange { set, ..ConfigChange::default() };
    config::change(context, &chosen, if wanted { "enabled" } else { "disabled" }, change).await
}
