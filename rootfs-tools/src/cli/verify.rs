//! `rootfsctl verify`, and the way into a version however it is stored.

use std::io;

use rootfs_tools::{
    Outcome, digest, erofs::ErofsError, progress::Progress, store::Trust, tree, tree::TreeError, verity,
};
use rustix::io::Errno;
use serde::Serialize;
use tenant::{
    kernel::image::{Contents, ImageError},
    model::{
        ids::Digest,
        image::{ImageFormat, ImageName, ImageRef, ImageSource},
    },
};

use super::context::{Context, Failure, Refusal, printable};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE, IMAGE:CHANNEL or IMAGE@VERSION [default: all versions of all images].
    image: Vec<ImageRef>,
}

#[derive(Serialize)]
struct Verified {
    image: ImageName,
    digest: Digest,
    intact: bool,
    /// Who made it, as far as its signature tells.
    signature: Trust,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// The files of a version.
pub(crate) fn open(context: &Context, image: &ImageName, digest: &Digest) -> Result<Contents, Failure> {
    let manifest = context.store.manifest(image, digest)?;
    Ok(Contents::open(&ImageSource::of(&context.layout, &manifest)).map_err(ErofsError::from)?)
}

/// Whether the disk, or dm-verity or fs-verity above it, reports damaged data.
fn is_damage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::UCLEAN))
}

/// What is wrong with a version; none if it is intact.
fn damage(context: &Context, image: &ImageName, digest: &Digest) -> Result<Option<String>, Failure> {
    let manifest = context.store.manifest(image, digest)?;
    let contents = match Contents::open(&ImageSource::of(&context.layout, &manifest)) {
        Ok(contents) => contents,
        Err(error) if matches!(ImageError::of(&error), Some(ImageError::Damaged(_))) => {
            return Ok(Some(format!("{error}: {}", error.source)));
        }
        Err(error) => return Err(ErofsError::from(error).into()),
    };
    let path = contents.path();
    let read = || {
        let entries = tree::walk(&path)?;
        Ok((digest::digest(&path, &entries)?, entries))
    };
    let (found, entries) = match read() {
        Ok(found) => found,
        Err(TreeError::Read { path: file, source }) if is_damage(&source) => {
            let file = file.strip_prefix(&path).unwrap_or(&file);
            return Ok(Some(format!("/{} cannot be read: {source}", printable(&file.to_string_lossy()))));
        }
        Err(error) => return Err(error.into()),
    };
    if digest::of_version(&found, manifest.format, manifest.verity.is_some()) != *digest {
        return Ok(Some("its files or their contents have changed".to_owned()));
    }
    let Some(protected) = manifest.verity.filter(|_| manifest.format == ImageFormat::Tree) else {
        return Ok(None);
    };
    Ok(match verity::measure(&path, &entries)? {
        Err(file) => Some(format!("/{} is not protected", printable(&file.to_string_lossy()))),
        Ok(found) if found != protected => Some("the fs-verity digests of its files have changed".to_owned()),
        Ok(_) => None,
    })
}

fn trust(trust: &Trust) -> String {
    match trust {
        Trust::Signed => ", signed".to_owned(),
        Trust::Unsigned => String::new(),
        Trust::Untrusted { reason } => format!(", signature not trusted: {}", printable(reason)),
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
        let damage = damage(context, &image, &digest)?;
        let signature = context.store.trust(&image, &digest)?;
        verified.push(Verified { image, digest, intact: damage.is_none(), signature, damage });
    }
    progress.finish();
    context.print(&verified, || {
        let line = |v: &Verified| match &v.damage {
            None => format!("intact {}@{}{}\n", v.image, v.digest, trust(&v.signature)),
            Some(damage) => format!("DAMAGED {}@{}: {damage}\n", v.image, v.digest),
        };
        verified.iter().map(line).collect()
    })?;
    match verified.iter().find(|version| !version.intact) {
        None => Ok(()),
        Some(version) => Err(Refusal {
            message: format!(
                "version {} of image \"{}\" is damaged",
                version.digest.short(),
                version.image
            ),
            help: Some("build it again, move its tenants and channels to the new version, then remove it with rootfsctl rm".to_owned()),
            outcome: Outcome::Failed,
        }
        .into()),
    }
}
