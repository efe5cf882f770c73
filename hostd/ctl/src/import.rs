use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use client::segment;
use hyper::Method;
use wire::{Copied, StartRequest};

use super::{
    Context, candidates, output,
    snapshot::sentence,
    transfer::{bar, open, pieces},
};

/// Make a tenant of an archive that export has written
///
/// It gets numbers and addresses of this host. Its keys and ids stay, unless the tenant that it was made of is on this
/// host.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The archive, - for standard input
    file: PathBuf,
    /// Name of the new tenant; the one that it had if absent
    name: Option<String>,
    /// Lay its files over this version: IMAGE:CHANNEL or IMAGE@VERSION
    #[arg(long, value_name = "IMAGE", add = candidates::of(candidates::image_references))]
    base: Option<String>,
    /// Set a key in its configuration (repeatable)
    #[arg(long, value_name = "KEY=VALUE", add = candidates::of(candidates::settings))]
    set: Vec<String>,
    /// Leave a key out of its configuration (repeatable)
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Also start it
    #[arg(long)]
    start: bool,
}

impl Import {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let named = [("name", &self.name), ("base", &self.base)];
        let named = named.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)));
        let set = self.set.iter().map(|pair| ("set", pair));
        let unset = self.unset.iter().map(|key| ("unset", key));
        let query: Vec<String> =
            named.chain(set).chain(unset).map(|(key, value)| format!("{key}={}", segment(value))).collect();
        let path = format!("/v1/import?{}", query.join("&"));
        let bar = bar("importing");
        let pieces = pieces(open(&self.file)?, bar.clone());
        let done = context.client.upload::<Copied>(Method::POST, &path, pieces).await;
        bar.finish_and_clear();
        let done = done?;
        output::warnings(&done.warnings);
        if self.start {
            super::start::start(&context.client, &done.name, &StartRequest::default()).await?;
        }
        context.output.print(&done, |done| sentence(done, "imported"));
        Ok(ExitCode::SUCCESS)
    }
}
