//! `rootfsctl pull`, and imports of images that are not in a registry.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rootfs_tools::{
    first_boot::Origin as Files,
    import,
    progress::Progress,
    publish::{self, Request},
    registry::{self, Cache, Image, Layout, Origin, Place, RegistryError, Transfer},
    rootdir::RootDir,
    staging::Staging,
    store::{StoreError, Way},
};
use tenant::{
    files::file_error::FileError,
    kernel::signature::{SignatureError, Version},
    model::{image::ImageName, recipe::Recipe},
};

use super::{
    build::{self, Built, Source, Target},
    context::{Context, Failure},
    named,
    push::RegistryArgs,
};

/// The tag of an image on its way.
const TAG: &str = "pulled";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// REGISTRY/NAME:TAG, or oci:DIR:TAG for a directory.
    from: Place,
    /// Do not tune an image that was not made by rootfsctl; only remove what tenants must not share.
    #[arg(long)]
    stock: bool,
    /// Take a version that is older than one that the channel has had, although this host requires signatures.
    #[arg(long)]
    allow_older: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    target: Target,
}

/// An image on its way into the store.
struct Arrival<'a> {
    context: &'a Context,
    layout: &'a Layout,
    image: &'a Image,
    target: &'a Target,
    /// Where it comes from, for the manifest of a foreign one.
    line: String,
    /// What it is called where it comes from.
    called: PathBuf,
    stock: bool,
    allow_older: bool,
    progress: &'a Progress,
}

impl Arrival<'_> {
    fn publish(self) -> Result<Built, Failure> {
        match Origin::of(&self.image.config)? {
            Some(origin) => self.publish_version(origin),
            None => self.publish_foreign(),
        }
    }

    /// An image that was made by rootfsctl: the same version as on the host that has pushed it.
    fn publish_version(self, mut origin: Origin) -> Result<Built, Failure> {
        let Self { context, layout, image, target, progress, .. } = self;
        let mut notes = Vec::new();
        let name = target.name.clone().unwrap_or_else(|| origin.manifest.image.clone());
        if name != origin.manifest.image {
            if origin.signature.take().is_some() {
                notes.push(format!(
                    "not signed any more: the signature is of an image {:?}",
                    origin.manifest.image.as_str()
                ));
            }
            origin.manifest.image = name.clone();
            origin.text = origin.manifest.render();
        }
        let way = context.way(self.allow_older)?;
        if way != Way::Anywhere {
            // Again when the channel is moved; here because unpacking takes long.
            self.check(&name, &origin, way).map_err(StoreError::from)?;
        }
        let staging = Staging::new(&context.layout)?;
        let left_out = registry::unpack(layout, image, &staging.tree(), progress)?;
        origin.write(&staging.version())?;
        let manifest = &origin.manifest;
        let request = Request {
            sets: manifest.sets.clone(),
            tuned: manifest.tuned,
            verity: manifest.verity.is_some(),
            recipe: manifest.recipe.clone(),
            parent: manifest.parent,
            way,
            ..Request::new(name, target.channel.clone(), manifest.format, manifest.source.clone())
        };
        let published = publish::publish(&context.layout, &staging, &request, progress)?;
        if published.has_got_signature {
            notes.push("it was here already, and has got its signature".to_owned());
        }
        Ok(Built::untouched(published, left_out, notes))
    }

    fn check(&self, name: &ImageName, origin: &Origin, way: Way) -> Result<(), SignatureError> {
        let Origin { text, manifest, signature } = origin;
        let layout = &self.context.layout;
        let version = Version { layout, image: name, digest: &manifest.digest, text, manifest };
        let Some(signature) = signature else {
            let image = name.to_string();
            return Err(SignatureError::Unsigned { image, digest: manifest.digest });
        };
        version.check_with(signature.as_bytes())?;
        match way {
            Way::Onward => version.refuse_older(&self.target.channel),
            Way::Anywhere | Way::Back => Ok(()),
        }
    }

    /// Any other image: its files are treated like those of an import.
    fn publish_foreign(self) -> Result<Built, Failure> {
        let Self { context, layout, image, target, progress, .. } = self;
        let name = named::image_name(&self.called, target)?;
        let staging = Staging::new(&context.layout)?;
        let tree = staging.tree();
        let left_out = registry::unpack(layout, image, &tree, progress)?;
        import::recognize(&self.called, &tree, true)?;
        let root = RootDir::open(&tree).map_err(|e| Failure::plain(format!("cannot open {tree:?}"), e))?;
        let runs = registry::app(&image.config, &root);
        drop(root);
        let source = Source {
            recipe: Recipe::Import { from: self.called.to_string_lossy().into_owned() },
            line: self.line,
            sets: Vec::new(),
            origin: Files::System,
            tune: !self.stock,
            app: runs.app,
        };
        let mut built = build::finish(context, &staging, target, name, source, progress)?;
        built.left_out = Some(left_out);
        built.notes = runs.notes.into_iter().map(|note| format!("left out: {note}")).collect();
        Ok(built)
    }
}

/// Runs a verb that publishes, and prints what came of it.
fn finish(
    context: &Context,
    what: &str,
    make: impl FnOnce(&Progress) -> Result<Built, Failure>,
) -> Result<(), Failure> {
    let progress = Progress::stderr();
    let built = make(&progress);
    progress.finish();
    build::report(context, &built.map_err(|error| error.context(format!("cannot {what}")))?)
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    finish(context, &format!("pull {}", args.from), |progress| {
        let cache = Cache::open(&context.layout)?;
        progress.step(&format!("fetching {}", args.from));
        let blobs = Some(cache.blobs().to_owned());
        let how = Transfer { shared_blobs: blobs, ..args.registry.transfer(cache.pull()) };
        let to = Place::local("oci", cache.pull(), Some(TAG));
        registry::copy(&args.from, &to, &how, progress)?;
        let layout = Layout::open(cache.pull(), Some(cache.blobs()))?;
        let image = layout.image(Some(TAG))?;
        let arrival = Arrival {
            context,
            layout: &layout,
            image: &image,
            target: &args.target,
            line: format!("pull {}", args.from),
            called: args.from.called().into(),
            stock: args.stock,
            allow_older: args.allow_older,
            progress,
        };
        let built = arrival.publish()?;
        cache.used(&layout, &image.layers);
        Ok(built)
    })
}

/// `PATH:TAG`, where `PATH` may contain a colon as well.
fn path_and_tag(text: &Path) -> (PathBuf, Option<String>) {
    let split = text.to_str().filter(|_| !text.exists()).and_then(|text| {
        let (path, tag) = text
            .match_indices(':')
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .find(|(path, _)| Path::new(path).exists())?;
        Some((PathBuf::from(path), tag.to_owned()))
    });
    match split {
        Some((path, tag)) => (path, Some(tag)),
        None => (text.to_owned(), None),
    }
}

/// `rootfsctl import --oci`.
pub(super) fn import_layout(
    context: &Context,
    from: &Path,
    target: &Target,
    stock: bool,
) -> Result<(), Failure> {
    finish(context, &format!("import {from:?}"), |progress| {
        let (dir, tag) = path_and_tag(from);
        let layout = Layout::open(&dir, None)?;
        let image = layout.image(tag.as_deref())?;
        arrive(context, (&layout, &image), &dir, target, stock, progress)
    })
}

/// `rootfsctl import --docker-archive`.
pub(super) fn import_archive(
    context: &Context,
    from: &Path,
    target: &Target,
    stock: bool,
) -> Result<(), Failure> {
    finish(context, &format!("import {from:?}"), |progress| {
        let (file, name) = path_and_tag(from);
        let whole =
            fs::canonicalize(&file).map_err(FileError::when("read", &file)).map_err(RegistryError::from)?;
        let staging = Staging::new(&context.layout)?;
        // Names of files with a colon are not understood by skopeo(1).
        let (link, dir) = (staging.scratch().join("archive"), staging.scratch().join("oci"));
        symlink(&whole, &link).map_err(FileError::when("make", &link)).map_err(RegistryError::from)?;
        progress.step("reading the archive");
        let how = Transfer { scratch: Some(staging.scratch().to_owned()), ..Transfer::default() };
        let to = Place::local("oci", &dir, Some(TAG));
        let read = |transport| {
            let from = Place::local(transport, &link, name.as_deref());
            registry::copy(&from, &to, &how, progress)
        };
        match read("docker-archive") {
            // What podman(1) saves with --format oci-archive.
            Err(RegistryError::Skopeo { said }) if said.contains("manifest.json") => read("oci-archive")?,
            other => other?,
        }
        let layout = Layout::open(&dir, None)?;
        let image = layout.image(Some(TAG))?;
        arrive(context, (&layout, &image), &file, target, stock, progress)
    })
}

fn arrive(
    context: &Context,
    (layout, image): (&Layout, &Image),
    from: &Path,
    target: &Target,
    stock: bool,
    progress: &Progress,
) -> Result<Built, Failure> {
    let line = format!("import {}", named::file_name(from));
    let called = from.to_owned();
    Arrival { context, layout, image, target, line, called, stock, allow_older: false, progress }.publish()
}
