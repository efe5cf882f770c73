//! `rootfsctl list`.

use tenant::model::image::{ImageName, Manifest};

use super::context::{Context, Failure, bytes, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this image.
    image: Option<ImageName>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let images = match args.image {
        Some(image) => vec![image],
        None => context.store.images()?,
    };
    let versions = context.store.list(&images)?;
    context.print(&versions, || {
        let header = ["IMAGE", "VERSION", "CHANNELS", "TENANTS", "SIZE", "FORMAT", "TUNED", "CREATED", "OS"];
        let rows = versions.iter().map(|version| {
            let manifest = &version.manifest;
            let channels: Vec<_> = version.channels.iter().map(ToString::to_string).collect();
            vec![
                manifest.image.to_string(),
                manifest.digest.short(),
                channels.join(","),
                version.tenants.len().to_string(),
                bytes(manifest.size_bytes),
                format(manifest),
                if manifest.tuned { "yes" } else { "no" }.to_owned(),
                manifest.created.clone(),
                manifest.os.clone(),
            ]
        });
        table(&header, rows)
    })
}

/// `tree`, `erofs`, or with a hash tree `erofs+verity`.
fn format(manifest: &Manifest) -> String {
    let verity = if manifest.verity.is_some() { "+verity" } else { "" };
    format!("{:?}{verity}", manifest.format).to_lowercase()
}
