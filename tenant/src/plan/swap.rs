//! What it takes to give a running tenant another version of its image, as data.

use std::fmt;

use super::{Plan, RootStep};
use crate::{
    files::layout::Layout,
    model::{
        allocation::Pinned,
        ids::{Digest, UidRange},
        image::{ImageSource, Manifest, TopEntry},
        path::TenantPath,
    },
};

/// What mountinfo shows as the source of an overlay over a version.
pub fn source_name(image: &impl fmt::Display, digest: &Digest) -> String {
    format!("{image}@{}", digest.short())
}

/// Whether a mount source is one of [`source_name`].
pub fn is_source_name(source: &str) -> bool {
    let hex = |digits: &str| digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    source.rsplit_once('@').is_some_and(|(image, digits)| !image.is_empty() && hex(digits))
}

/// What helps where a version cannot come live; `NAME` stands for the tenant.
pub const RESTART_INTO_IT: &str = "restart it into that version: tenantctl rebase NAME --restart";

/// A version of an image, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which.
    pub pinned: Pinned,
    /// Where.
    pub image: ImageSource,
}

impl Version {
    fn of(layout: &Layout, manifest: &Manifest) -> Self {
        let pinned = Pinned { image: manifest.image.clone(), digest: manifest.digest };
        Self { pinned, image: ImageSource::of(layout, manifest) }
    }

    /// What mountinfo shows.
    pub fn source_name(&self) -> String {
        source_name(&self.pinned.image, &self.pinned.digest)
    }
}

/// A mount of the root that shows nothing but the image, so that another version can take its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapMount {
    /// Where.
    pub at: TenantPath,
    /// The mount that it is mounted on, relative to the root, which is `""`.
    pub parent: String,
    /// Whether it is one path out of an overlay over the whole image.
    pub is_path: bool,
}

impl SwapMount {
    /// Whether an image may lack it, as [`RootStep::is_optional`].
    pub fn is_optional(&self) -> bool {
        !self.is_path && self.at.depth() > 1
    }

    /// Where, relative to the mount that it is mounted on.
    pub fn below_parent(&self) -> &str {
        self.at.relative().strip_prefix(&self.parent).unwrap_or(self.at.relative()).trim_start_matches('/')
    }
}

/// The mounts of a root that can be exchanged, parents first.
pub fn swappable(root: &[RootStep]) -> Vec<SwapMount> {
    let mut found = Vec::new();
    for (number, step) in root.iter().enumerate() {
        let (at, is_path) = match step {
            RootStep::Shared { at } => (at, false),
            RootStep::Path { at } => (at, true),
            _ => continue,
        };
        let is_above =
            |other: &&str| at.relative().strip_prefix(*other).is_some_and(|rest| rest.starts_with('/'));
        let before = root[..number].iter().filter_map(RootStep::at);
        let parent = before.filter(is_above).max_by_key(|other| other.len()).unwrap_or_default().to_owned();
        found.push(SwapMount { at: at.clone(), parent, is_path });
    }
    found
}

/// How a running tenant gets another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapPlan {
    /// The version that it was last given.
    pub from: Version,
    /// The version that it gets.
    pub to: Version,
    /// The mounts that are exchanged, in this order.
    pub mounts: Vec<SwapMount>,
    /// Directories that have the version from the next start on: the tenant's changes lie over them.
    pub rest: Vec<TenantPath>,
    /// The directory that is covered while mounts are made.
    pub place: std::path::PathBuf,
    /// The tenant's uids on the host.
    pub uids: UidRange,
}

/// Why a version cannot come to a running tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwapRefusal {
    /// Its root is an install of its own.
    #[error("it has an install of its own, which its image was only the seed of")]
    OwnInstall,
    /// Nothing of the image is shown unchanged.
    #[error("no directory of it shows the image alone")]
    NothingShared,
    /// The versions differ in what is fixed for a boot.
    #[error("{}", .0.join("; "))]
    Differs(Vec<String>),
}

impl SwapRefusal {
    /// The remedy; `NAME` stands for the tenant.
    pub fn help(&self) -> &'static str {
        match self {
            Self::OwnInstall => "update it from inside, with its own package manager: tenantctl shell NAME",
            Self::NothingShared | Self::Differs(_) => RESTART_INTO_IT,
        }
    }
}

/// Decides how a tenant that is running by a plan gets from one version to another. Does no I/O.
///
/// # Errors
/// [`SwapRefusal`]: it takes a restart, or cannot be.
pub fn plan(
    layout: &Layout,
    running: &Plan,
    from: &Manifest,
    to: &Manifest,
) -> Result<SwapPlan, SwapRefusal> {
    if running.root.iter().any(|step| matches!(step, RootStep::Whole { .. })) {
        return Err(SwapRefusal::OwnInstall);
    }
    let reasons = differences(from, to);
    if !reasons.is_empty() {
        return Err(SwapRefusal::Differs(reasons));
    }
    let mounts = swappable(&running.root);
    if mounts.is_empty() {
        return Err(SwapRefusal::NothingShared);
    }
    let rest = running.root.iter().filter_map(|step| match step {
        RootStep::Overlay { at, .. } => Some(at.clone()),
        _ => None,
    });
    Ok(SwapPlan {
        from: Version::of(layout, from),
        to: Version::of(layout, to),
        mounts,
        rest: rest.collect(),
        place: running.dirs.clone(),
        uids: running.uids,
    })
}

/// What of two versions differs that only a boot brings, one sentence each.
fn differences(from: &Manifest, to: &Manifest) -> Vec<String> {
    let mut reasons = Vec::new();
    if from.arch != to.arch {
        reasons.push(format!("its architecture changes from {} to {}", from.arch, to.arch));
    }
    if from.init_kind.is_some() && to.init_kind.is_some() && from.init_kind != to.init_kind {
        reasons.push("it has another kind of init".to_owned());
    }
    let (old, new) = (&from.boot, &to.boot);
    if (&old.init, &old.stop_signal, old.ready) != (&new.init, &new.stop_signal, new.ready) {
        reasons.push("its init is started or stopped in another way".to_owned());
    }
    let lacks = |has: &[TopEntry], of: &[TopEntry]| -> Vec<String> {
        let is_there = |entry: &&TopEntry| {
            has.iter().any(|other| other.name == entry.name && other.target == entry.target)
        };
        of.iter().filter(|entry| !is_there(entry)).map(|entry| format!("/{}", entry.name)).collect()
    };
    let (new, gone) = (lacks(&from.top, &to.top), lacks(&to.top, &from.top));
    if !new.is_empty() || !gone.is_empty() {
        let mut names = new;
        names.extend(gone);
        names.sort();
        names.dedup();
        reasons.push(format!("its top level differs at {}", names.join(", ")));
    }
    reasons
}

impl fmt::Display for SwapPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from        {}", self.from.source_name())?;
        writeln!(f, "to          {}, {}", self.to.source_name(), self.to.image)?;
        for mount @ SwapMount { at, parent, is_path } in &self.mounts {
            let what = if *is_path { ", only this path" } else { "" };
            let optional = if mount.is_optional() { ", where the image has it" } else { "" };
            writeln!(f, "swap        {at} overlay ro: image{at}{what}, on /{parent}{optional}")?;
        }
        for at in &self.rest {
            writeln!(f, "next start  {at}")?;
        }
        Ok(())
    }
}
