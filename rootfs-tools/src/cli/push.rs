//! `rootfsctl push`.

use std::path::{Path, PathBuf};

use rootfs_tools::{
    Outcome,
    progress::Progress,
    registry::{self, Origin, Part, Place, Transfer, Tree},
    staging::Staging,
};
use serde::Serialize;
use tenant::{
    files::file_error::FileError,
    kernel::signature::Version,
    model::{
        ids::Digest,
        image::{ImageName, ImageRef},
    },
};

use super::{
    channel,
    context::{Context, Failure, Refusal, bytes},
    verify,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE, IMAGE:CHANNEL or IMAGE@VERSION.
    image: ImageRef,
    /// REGISTRY/NAME:TAG, or oci:DIR:TAG for a directory.
    to: Place,
    /// A version that the registry has been sent before, of which only what changed since is sent: leading hex digits,
    /// or :CHANNEL. May be repeated, the oldest first [default: what was sent there from here].
    #[arg(long, value_name = "VERSION")]
    parent: Vec<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// How a registry is spoken with.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    /// Speak with a registry without encryption, or with a certificate that this host does not know.
    #[arg(long)]
    insecure: bool,
    /// Credentials for registries [default: those of skopeo login].
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Directory with the certificate of the registry's CA, `ca.crt`, and of this client, `client.cert` and `client.key`
    /// [default: /etc/containers/certs.d/REGISTRY].
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

impl RegistryArgs {
    /// With a directory for large temporary files.
    pub(super) fn transfer(&self, scratch: &Path) -> Transfer {
        Transfer {
            insecure: self.insecure,
            authfile: self.authfile.clone(),
            cert_dir: self.cert_dir.clone(),
            shared_blobs: None,
            scratch: Some(scratch.to_owned()),
        }
    }
}

#[derive(Serialize)]
struct Pushed {
    image: ImageName,
    digest: Digest,
    to: String,
    signed: bool,
    /// The versions below it, of which the registry has the layers already; the oldest first.
    parents: Vec<Digest>,
    /// Layers, and their bytes together; what the registry had already is not sent.
    layers: usize,
    size_bytes: u64,
}

/// Writes the layers of a version and of the parents that it is sent on top of.
fn layers(
    context: &Context,
    layout: &registry::Layout,
    image: &ImageName,
    chain: &[Digest],
    progress: &Progress,
) -> Result<Vec<Part>, Failure> {
    let (mut parts, mut below) = (Vec::new(), None);
    for digest in chain {
        progress.step(&format!("reading {image}@{}", digest.short()));
        let contents = verify::open(context, image, digest)?;
        let tree = Tree::read(&contents.path())?;
        progress.step(&format!("writing the layers of {image}@{}", digest.short()));
        parts.extend(registry::write_layers(layout, below.as_ref().map(|(tree, _)| tree), &tree)?);
        below = Some((tree, contents));
    }
    Ok(parts)
}

/// The versions that one is sent on top of: those that are named, else those that were sent to the same place.
fn parents(context: &Context, args: &Args, digest: &Digest) -> Result<Vec<Digest>, Failure> {
    let image = &args.image.image;
    if args.parent.is_empty() {
        let place = args.to.repository();
        let known = place.map(|place| context.store.pushed_parents(image, digest, place)).transpose()?;
        return Ok(known.unwrap_or_default());
    }
    let named = |parent: &String| Ok(context.store.resolve(&channel::reference(image, parent)?)?);
    args.parent.iter().map(named).collect()
}

fn push(context: &Context, args: &Args, progress: &Progress) -> Result<Pushed, Failure> {
    let image = &args.image.image;
    let digest = context.store.resolve(&args.image)?;
    let (text, manifest) = context.store.manifest_text(image, &digest)?;
    let version =
        Version { layout: &context.layout, image, digest: &digest, text: &text, manifest: &manifest };
    let signature = version.signature().map_err(rootfs_tools::store::StoreError::from)?;
    let signature = signature.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let origin = Origin { signature, manifest: manifest.clone(), text: text.clone() };
    if !origin.is_reproducible() {
        return Err(Refusal {
            message: "the hash tree of an erofs version is of this one file, which layers do not carry"
                .to_owned(),
            help: Some("publish it without --verity, or as a tree, and push that".to_owned()),
            outcome: Outcome::Refused,
        }
        .into());
    }
    let mut chain = parents(context, args, &digest)?;
    chain.push(digest);
    let staging = Staging::new(&context.layout)?;
    let dir = staging.scratch().join("oci");
    std::fs::create_dir(&dir)
        .map_err(|e| Failure::plain("cannot push".to_owned(), FileError::new("make", &dir, e)))?;
    let layout = registry::Layout::create(&dir)?;
    let parts = layers(context, &layout, image, &chain, progress)?;
    let config = origin.config(parts.iter().map(|part| part.diff_id.clone()).collect());
    let layers: Vec<_> = parts.into_iter().map(|part| part.descriptor).collect();
    layout.add_image("pushed", &config, &layers)?;
    progress.step(&format!("sending it to {}", args.to));
    let how = args.registry.transfer(staging.scratch());
    let from = Place::local("oci", &dir, Some("pushed"));
    registry::copy(&from, &args.to, &how, progress)?;
    if let Some(place) = args.to.repository() {
        context.store.note_pushed(image, place, &chain)?;
    }
    chain.pop();
    Ok(Pushed {
        image: image.clone(),
        digest,
        to: args.to.to_string(),
        signed: origin.signature.is_some(),
        parents: chain,
        layers: layers.len(),
        size_bytes: layers.iter().map(|layer| layer.size).sum(),
    })
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let progress = Progress::stderr();
    let pushed = push(context, &args, &progress);
    progress.finish();
    let pushed =
        pushed.map_err(|error| error.context(format!("cannot push {} to {}", args.image, args.to)))?;
    context.print(&pushed, || {
        let Pushed { image, digest, to, signed, parents, layers, size_bytes } = &pushed;
        let signed = if *signed { ", signed" } else { "" };
        let below = match parents.last() {
            Some(parent) => format!(", on top of {}", parent.short()),
            None => String::new(),
        };
        format!("pushed {image}@{digest} to {to} ({layers} layers, {}{below}{signed})\n", bytes(*size_bytes))
    })
}
