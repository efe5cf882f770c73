//! `rootfsctl update`: builds the version of a channel again, from its recipe.

use std::path::Path;

use rootfs_tools::{
    Content, Outcome, busybox, changes, debian,
    diff::PackageChange,
    digest::{self, ContentHash},
    erofs::ErofsError,
    first_boot::Origin,
    installed::Packages,
    inventory::Inventory,
    progress::Progress,
    publish::{self, Request},
    recipe,
    rootdir::RootDir,
    staging::Staging,
    tree::{self, Entry},
};
use serde::Serialize;
use tenant::{
    kernel::image::Contents,
    model::{
        ids::Digest,
        image::{ChannelName, ImageName, ImageRef, ImageSource, Manifest, VersionRef},
        recipe::Recipe,
    },
};

use super::{
    build::{self, Built},
    context::{Context, Failure, Refusal},
    diff,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image.
    image: ImageName,
    /// Channel whose version is built again.
    #[arg(long, default_value = "stable", value_name = "CHANNEL")]
    from: ChannelName,
    /// Channel to point at the new version.
    #[arg(long, default_value = "candidate")]
    channel: ChannelName,
    /// A mirror, as of `build debian`; a recipe has no names and passwords of mirrors [default: as the recipe says].
    #[arg(long, value_name = "MIRROR")]
    mirror: Vec<String>,
    /// Build it and say what would change, but publish nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Happened {
    /// The same packages give the same version: nothing was published.
    Unchanged,
    /// It would have been published.
    WouldPublish,
    /// It was published.
    Published,
}

#[derive(Serialize)]
struct Updated {
    result: Happened,
    image: ImageName,
    /// The version that was built again.
    from: Digest,
    /// The version that came of it.
    digest: Digest,
    packages: Vec<PackageChange>,
    /// Number of files.
    added: usize,
    removed: usize,
    changed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Built>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let refused = |failure: Failure| failure.context(format!("cannot update image \"{}\"", args.image));
    let progress = Progress::stderr();
    let updated = update(context, &args, &progress);
    progress.finish();
    let updated = updated.map_err(refused)?;
    context.print(&updated, || updated.describe(&args))
}

fn update(context: &Context, args: &Args, progress: &Progress) -> Result<Updated, Failure> {
    let reference = ImageRef { image: args.image.clone(), version: VersionRef::Channel(args.from.clone()) };
    let from = context.store.resolve(&reference)?;
    let manifest = context.store.manifest(&args.image, &from)?;
    let recipe = recipe_of(&manifest, args)?;
    let staging = Staging::new(&context.layout)?;
    let (line, tuning, recipe) = make(context, &staging, &manifest, recipe, &args.mirror, progress)?;
    let prepared = build::prepare(&staging, Origin::Packages, tuning, progress)?;
    progress.step("comparing it with the version that there is");
    let tree = staging.tree();
    let entries = tree::walk(&tree)?;
    let contents = digest::contents(&tree, &entries)?;
    let digest = digest::combine(&entries, &contents);
    let digest = digest::of_version(&digest, manifest.format, manifest.verity.is_some());
    let mut updated = Updated {
        result: Happened::Unchanged,
        image: args.image.clone(),
        from,
        digest,
        packages: Vec::new(),
        added: 0,
        removed: 0,
        changed: 0,
        published: None,
    };
    if digest == from {
        return Ok(updated);
    }
    let changes = changes(&context.store.content(&args.image, &from)?, &content(&tree, &entries, &contents)?);
    [updated.added, updated.removed, updated.changed] = changes.count();
    updated.packages = changes.packages;
    updated.result = Happened::WouldPublish;
    if !args.dry_run {
        let (image, channel) = (args.image.clone(), args.channel.clone());
        let request = Request {
            sets: manifest.sets.clone(),
            tuned: tuning,
            verity: manifest.verity.is_some(),
            recipe: Some(recipe),
            parent: Some(from),
            ..Request::new(image, channel, manifest.format, line)
        };
        let published = publish::publish(&context.layout, &staging, &request, progress)?;
        updated.published = Some(prepared.built(published));
        updated.result = Happened::Published;
    }
    Ok(updated)
}

/// The recipe of a version that can be built again.
fn recipe_of<'a>(manifest: &'a Manifest, args: &Args) -> Result<&'a Recipe, Failure> {
    let Args { image, channel, .. } = args;
    let version = manifest.digest.short();
    let (message, help) = match &manifest.recipe {
        Some(Recipe::Import { from }) => (
            format!("version {version} was not built here: it came from {from:?}"),
            format!(
                "get the new files from where these came from: rootfsctl {} --name {image} --channel {channel}",
                manifest.source
            ),
        ),
        Some(Recipe::Unknown) => (
            format!("version {version} was made in a way that this release does not know"),
            "update Tenantry on this host".to_owned(),
        ),
        Some(recipe) => return Ok(recipe),
        None => (
            format!("version {version} has no recipe: it was published by an earlier release"),
            format!("build it once more by hand: rootfsctl build debian --name {image} --channel {channel}"),
        ),
    };
    Err(Refusal { message, help: Some(help), outcome: Outcome::Refused }.into())
}

/// Makes the staged tree by the recipe; the line for the manifest that names its origin, whether it is to be tuned, and the
/// recipe with the mirrors that it was made from.
fn make(
    context: &Context,
    staging: &Staging,
    manifest: &Manifest,
    recipe: &Recipe,
    mirrors: &[String],
    progress: &Progress,
) -> Result<(String, bool, Recipe), Failure> {
    let source = ImageSource::of(&context.layout, manifest);
    let old = Contents::open(&source).map_err(ErofsError::from)?;
    let Some(mut options) = recipe::debian_options(recipe, &old.path())? else {
        return Ok((busybox::build(&staging.tree())?, true, recipe.clone()));
    };
    drop(old);
    if !mirrors.is_empty() {
        options.mirrors = mirrors.to_vec();
    }
    let tuning = matches!(recipe, Recipe::Debian { tuning: true, .. });
    let recipe = recipe::of_debian(&options, tuning);
    Ok((debian::build(&context.layout, staging, &options, progress)?, tuning, recipe))
}

/// What the staged tree contains.
fn content(tree: &Path, entries: &[Entry], contents: &[Option<ContentHash>]) -> Result<Content, Failure> {
    let packages = RootDir::open(tree).and_then(|root| Packages::of_tree(&root));
    let packages =
        packages.map_err(|e| Failure::plain(format!("cannot read the packages of {tree:?}"), e))?;
    Ok(Content { inventory: Inventory::of(entries, contents), packages })
}

impl Updated {
    fn describe(&self, args: &Args) -> String {
        let (image, short) = (&self.image, self.from.short());
        if self.result == Happened::Unchanged {
            return format!("unchanged {image}@{short}: a build of today gives the same version\n");
        }
        let mut text = diff::packages(&self.packages);
        text += &format!(
            "{} packages differ from {image}@{short}; files: {} new, {} gone, {} changed\n",
            self.packages.len(),
            self.added,
            self.removed,
            self.changed
        );
        match &self.published {
            Some(built) => text += &built.describe(),
            None => text += &format!("would publish it in the channel {}\n", args.channel),
        }
        text
    }
}
