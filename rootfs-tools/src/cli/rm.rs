//! `rootfsctl rm`.

use serde::Serialize;
use tenant::model::{
    ids::Digest,
    image::{ImageName, ImageRef},
};

use super::context::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE@VERSION, IMAGE:CHANNEL or IMAGE.
    image: ImageRef,
    /// Also remove the channels that point at it.
    #[arg(long)]
    channels: bool,
}

#[derive(Serialize)]
struct Removed {
    image: ImageName,
    digest: Digest,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let digest = context.store.resolve(&args.image)?;
    let image = args.image.image.clone();
    let remove = || -> Result<(), Failure> {
        if args.channels {
            context.store.remove_with_channels(&image, &digest)?;
        } else {
            context.store.remove(&image, &digest)?;
        }
        Ok(())
    };
    remove().map_err(|e| e.context(format!("cannot remove \"{}\"", args.image)))?;
    context.print(&Removed { image: image.clone(), digest }, || format!("removed {image}@{digest}\n"))
}
