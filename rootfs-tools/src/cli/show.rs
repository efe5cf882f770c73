//! `rootfsctl show`.

use serde::Serialize;
use tenant::model::image::{ChannelName, ImageRef, ImageSource, Manifest};

use super::context::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE, IMAGE:CHANNEL or IMAGE@VERSION.
    image: ImageRef,
}

#[derive(Serialize)]
struct Shown {
    manifest: Manifest,
    channels: Vec<ChannelName>,
    tenants: Vec<tenant::TenantName>,
    path: std::path::PathBuf,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let digest = context.store.resolve(&args.image)?;
    let image = &args.image.image;
    let manifest = context.store.manifest(image, &digest)?;
    let channels = context.store.channels(image)?;
    let shown = Shown {
        channels: channels.into_iter().filter(|(_, at)| *at == digest).map(|(channel, _)| channel).collect(),
        tenants: context.store.pins()?.remove(&(image.clone(), digest)).unwrap_or_default(),
        path: match ImageSource::of(&context.layout, &manifest) {
            ImageSource::Tree(tree) => tree,
            ImageSource::Erofs { image, .. } => image.file,
        },
        manifest,
    };
    context.print(&shown, || {
        let names = |names: Vec<String>| if names.is_empty() { "-".to_owned() } else { names.join(" ") };
        format!(
            "# path: {}\n# channels: {}\n# tenants: {}\n{}",
            shown.path.display(),
            names(shown.channels.iter().map(ToString::to_string).collect()),
            names(shown.tenants.iter().map(ToString::to_string).collect()),
            shown.manifest.render(),
        )
    })
}
