//! `rootfsctl channel`.

use rootfs_tools::Outcome;
use serde::Serialize;
use tenant::model::{
    ids::Digest,
    image::{ChannelName, ImageName, ImageRef},
};

use super::context::{Context, Failure, Refusal, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image.
    image: ImageName,
    /// The channel.
    channel: Option<ChannelName>,
    /// Version to point the channel at: leading hex digits of its digest, or `:CHANNEL` for the version of that channel.
    #[arg(requires = "channel")]
    version: Option<String>,
    /// Point the channel at a signed version that is older than one it has had. Without it a host that requires
    /// signatures refuses that.
    #[arg(long, requires = "version")]
    allow_older: bool,
    /// Remove the channel; its version stays.
    #[arg(long, requires = "channel", conflicts_with = "version")]
    remove: bool,
}

#[derive(Serialize)]
struct Moved {
    image: ImageName,
    channel: ChannelName,
    digest: Option<Digest>,
    changed: bool,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let image = args.image;
    let moved = match (args.channel, args.version) {
        (Some(channel), _) if args.remove => {
            context.store.remove_channel(&image, &channel)?;
            Moved { image, channel, digest: None, changed: true }
        }
        (Some(channel), Some(version)) => {
            let digest = context.store.resolve(&reference(&image, &version)?)?;
            let way = context.way(args.allow_older)?;
            let changed = context.store.set_channel(&image, &channel, &digest, way)?;
            Moved { image, channel, digest: Some(digest), changed }
        }
        (only, None) => {
            context.store.versions(&image)?;
            let mut channels = context.store.channels(&image)?;
            channels.retain(|channel, _| only.as_ref().is_none_or(|only| only == channel));
            let rows =
                || channels.iter().map(|(channel, digest)| vec![channel.to_string(), digest.to_string()]);
            return context.print(&channels, || table(&["CHANNEL", "VERSION"], rows()));
        }
        (None, Some(_)) => unreachable!("clap wants a channel with a version"),
    };
    context.print(&moved, || match &moved.digest {
        None => format!("removed channel {} of {}\n", moved.channel, moved.image),
        Some(digest) => {
            let verb = if moved.changed { "moved" } else { "unchanged" };
            format!("{verb} {}:{} -> {digest}\n", moved.image, moved.channel)
        }
    })
}

pub(super) fn reference(image: &ImageName, version: &str) -> Result<ImageRef, Failure> {
    let parsed = version.parse().map(|version| ImageRef { image: image.clone(), version });
    parsed.map_err(|error| {
        let help = Some(format!("rootfsctl list {image} shows the versions"));
        Refusal { message: error.to_string(), help, outcome: Outcome::Failed }.into()
    })
}
