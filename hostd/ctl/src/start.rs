use clap::Args;
use client::Client;
use wire::{Done, Failure, StartRequest};

use super::{Context, many, select::Selection};

/// Start tenants and wait until they are ready
/// A tenant that is already running is not changed.
#[derive(Debug, Args)]
pub(super) struct Start {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    limits: Unenforced,
}

/// Handling of limits that this host cannot enforce
#[derive(Debug, Args)]
pub(super) struct Unenforced {
    /// Start even if this host cannot enforce a limit
    #[arg(long)]
    allow_unenforced: bool,
    /// Refuse to start if this host cannot enforce a default limit either
    #[arg(long, conflicts_with = "allow_unenforced")]
    strict: bool,
}

impl Unenforced {
    /// A request to start with them.
    pub(super) fn request(&self) -> StartRequest {
        StartRequest { allow_unenforced: self.allow_unenforced, strict: self.strict }
    }
}

/// Starts one tenant.
pub(super) async fn start(api: &Client, name: &str, request: &StartRequest) -> Result<Done, Failure> {
    api.post(&client::tenant(name, "/start"), request).await
}

impl Start {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let request = self.limits.request();
        let begin = move |api: Client, name: String| {
            let request = request.clone();
            async move { start(&api, &name, &request).await }
        };
        many::each(context, &chosen, ("started", None), begin, |done| many::sentence(done, "started")).await
    }
}
