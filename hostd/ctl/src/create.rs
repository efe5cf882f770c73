use clap::Args;
use wire::{CreateRequest, Done, StartRequest};

use super::{Context, candidates, many, select::Chosen};

/// Create tenants
///
/// A tenant that already exists with these settings is not changed.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Names of the tenants
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Image: NAME, NAME:CHANNEL or NAME@VERSION
    #[arg(long, value_name = "IMAGE", add = candidates::of(candidates::image_references))]
    image: Option<String>,
    /// Profile
    #[arg(long, add = candidates::of(candidates::profiles))]
    profile: Option<String>,
    /// Set a key of the configuration, e.g. memory_max=1G (repeatable)
    #[arg(long, value_name = "KEY=VALUE", add = candidates::of(candidates::settings))]
    set: Vec<String>,
    /// Also start them
    #[arg(long)]
    start: bool,
}

impl Create {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let request = CreateRequest {
            name: String::new(),
            image: self.image.clone(),
            profile: self.profile.clone(),
            set: self.set.clone(),
        };
        let start = self.start;
        let create = move |client: client::Client, name: String| {
            let request = CreateRequest { name: name.clone(), ..request.clone() };
            async move {
                let done: Done = client.post("/v1/tenants", &request).await?;
                if start {
                    let started = super::start::start(&client, &name, &StartRequest::default()).await?;
                    let warnings = [done.warnings, started.warnings].concat();
                    return Ok(Done { warnings, ..started });
                }
                Ok(done)
            }
        };
        let verb = if start { "created and started" } else { "created" };
        let chosen = Chosen { names: self.names.clone(), is_one: self.names.len() == 1 };
        let at_once = (!start).then_some(many::WAITS_AT_ONCE);
        many::each(context, &chosen, (verb, at_once), create, |done| many::sentence(done, verb)).await
    }
}
