//! `rootfsctl sign`.

use std::path::PathBuf;

use rootfs_tools::store::Trust;
use serde::Serialize;
use tenant::model::{
    ids::Digest,
    image::{ImageName, ImageRef},
};

use super::context::{Context, Failure, printable};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE, IMAGE:CHANNEL or IMAGE@VERSION.
    image: ImageRef,
    /// The private key, or the public one of a key that ssh-agent(1) holds.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Serialize)]
struct Signed {
    image: ImageName,
    digest: Digest,
    /// What this host makes of the signature.
    signature: Trust,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let digest = context.store.resolve(&args.image)?;
    let image = args.image.image;
    let refused = |failure: Failure| failure.context(format!("cannot sign {image}@{}", digest.short()));
    let signature =
        context.store.sign(&image, &digest, &args.key).map_err(|error| refused(Failure::from(error)))?;
    let signed = Signed { image, digest, signature };
    context.print(&signed, || {
        let Signed { image, digest, signature } = &signed;
        format!("signed {image}@{digest}\n{}", describe(signature, context))
    })
}

/// A line about a signature that does not count here, and what to do about it.
fn describe(trust: &Trust, context: &Context) -> String {
    match trust {
        Trust::Signed | Trust::Unsigned => String::new(),
        Trust::Untrusted { reason } => format!(
            "  note: {}; to trust the key here, put its public half into {}\n",
            printable(reason),
            context.layout.keys().join("NAME.pub").display()
        ),
    }
}
