//! `rootfsctl log`: the versions of an image, and what changed with each.

use rootfs_tools::{diff::PackageChange, store::Version};
use serde::Serialize;
use tenant::{
    TenantName,
    model::{
        ids::Digest,
        image::{ChannelName, ImageName},
        recipe::Recipe,
    },
};

use super::{
    context::{Context, Failure},
    diff,
};

/// Packages that are named for each version; the others are counted.
const NAMED: usize = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image.
    image: ImageName,
}

/// A version.
#[derive(Serialize)]
struct Logged {
    digest: Digest,
    created: String,
    os: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<Recipe>,
    /// The version that it follows.
    parent: Option<Digest>,
    channels: Vec<ChannelName>,
    /// Tenants that boot it, or are still running it.
    tenants: Vec<TenantName>,
    /// Number of packages.
    packages: usize,
    /// Packages that differ from the parent; none if there is no parent, or it was removed.
    changes: Option<Vec<PackageChange>>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let mut log = Vec::new();
    for version in context.store.list(std::slice::from_ref(&args.image))? {
        log.push(Logged::of(context, &args.image, version)?);
    }
    context.print(&log, || {
        log.iter().map(|version| version.describe(&args.image)).collect::<Vec<_>>().join("\n")
    })
}

impl Logged {
    fn of(context: &Context, image: &ImageName, version: Version) -> Result<Self, Failure> {
        let Version { manifest, channels, tenants } = version;
        let packages = context.store.packages(image, &manifest.digest)?;
        let parent = manifest.parent.filter(|parent| context.layout.version(image, parent).exists());
        let changes = match parent {
            Some(parent) => Some(context.store.packages(image, &parent)?.changes(&packages)),
            None => None,
        };
        Ok(Self {
            digest: manifest.digest,
            created: manifest.created,
            os: manifest.os,
            source: manifest.source,
            recipe: manifest.recipe,
            parent: manifest.parent,
            channels,
            tenants,
            packages: packages.len(),
            changes,
        })
    }

    fn describe(&self, image: &ImageName) -> String {
        let names = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(" ") };
        let channels: Vec<_> = self.channels.iter().map(ToString::to_string).collect();
        let tenants: Vec<_> = self.tenants.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match self.tenants.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let parent = match (&self.parent, &self.changes) {
            (None, _) => "-".to_owned(),
            (Some(parent), None) => format!("{} (removed)", parent.short()),
            (Some(parent), Some(_)) => parent.short(),
        };
        format!(
            "version   {image}@{}\ncreated   {} ({})\nparent    {parent}\nchannels  {}\ntenants   {}{more}\npackages  {}{}\n",
            self.digest.short(),
            self.created,
            self.source,
            names(&channels),
            names(&tenants),
            self.packages,
            self.describe_changes(),
        )
    }

    fn describe_changes(&self) -> String {
        let Some(changes) = &self.changes else { return String::new() };
        let line = |change: &PackageChange| format!("\n    {}", diff::package(change));
        let named: String = changes.iter().take(NAMED).map(line).collect();
        match (changes.len(), changes.len().saturating_sub(NAMED)) {
            (0, _) => ", none changed".to_owned(),
            (count, 0) => format!(", {count} changed{named}"),
            (count, more) => format!(", {count} changed{named}\n    and {more} more: rootfsctl diff"),
        }
    }
}
