//! `rootfsctl verify`, and the way into a version however it is stored.

use std::path::PathBuf;

use rootfs_tools::{Outcome, digest, erofs::Mounted, progress::Progress, tree};
use serde::Serialize;
use tenant::{
    ids::Digest,
    image::{ImageFormat, ImageName, ImageRef},
};

use super::{Context, Failure, Refusal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE, IMAGE:CHANNEL or IMAGE@VERSION; all versions of all images if none is given.
    image: Vec<ImageRef>,
}

#[derive(Serialize)]
struct Verified {
    image: ImageName,
    digest: Digest,
    intact: bool,
}

/// The files of a version: its tree, or its erofs file mounted for this process alone.
pub(crate) enum Contents {
    Tree(PathBuf),
    Erofs(Mounted),
}

impl Contents {
    pub(crate) fn open(context: &Context, image: &ImageName, digest: &Digest) -> Result<Self, Failure> {
        Ok(match context.store.manifest(image, digest)?.format {
            ImageFormat::Tree => Self::Tree(context.layout.tree(image, digest)),
            ImageFormat::Erofs => Self::Erofs(Mounted::open(&context.layout.erofs(image, digest))?),
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Tree(path) => path.clone(),
            Self::Erofs(mounted) => mounted.path(),
        }
    }

    fn digest(&self) -> Result<Digest, Failure> {
        let path = self.path();
        let found = digest::digest(&path, &tree::walk(&path)?)?;
        Ok(match self {
            Self::Tree(_) => found,
            Self::Erofs(_) => digest::of_erofs(&found),
        })
    }
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let mut versions = Vec::new();
    for reference in &args.image {
        versions.push((reference.image.clone(), context.store.resolve(reference)?));
    }
    if args.image.is_empty() {
        for image in context.store.images()? {
            versions
                .extend(context.store.versions(&image)?.into_iter().map(|digest| (image.clone(), digest)));
        }
    }
    let progress = Progress::stderr();
    let mut verified = Vec::new();
    for (image, digest) in versions {
        progress.step(&format!("reading {image}@{}", digest.short()));
        let intact = Contents::open(context, &image, &digest)?.digest()? == digest;
        verified.push(Verified { image, digest, intact });
    }
    progress.finish();
    context.print(&verified, || {
        let line = |v: &Verified| {
            format!("{} {}@{}\n", if v.intact { "intact" } else { "DAMAGED" }, v.image, v.digest)
        };
        verified.iter().map(line).collect()
    })?;
    match verified.iter().find(|version| !version.intact) {
        None => Ok(()),
        Some(version) => Err(Refusal {
            message: format!(
                "version {} of image \"{}\" is not what it was published as",
                version.digest.short(),
                version.image
            ),
            help: Some("build it again and move its tenants and channels; then rootfsctl rm".to_owned()),
            outcome: Outcome::Failed,
        }
        .into()),
    }
}
