//! Another version for a tenant: which one is meant, and its record with that.

use rootfs_tools::{
    diff::{Change, PackageChange},
    store::Lock as ImagesLock,
};
use tenant::{
    Allocation, Plan, TenantName,
    config::profile,
    files::sources,
    model::{
        allocation::Pinned,
        image::{ImageRef, InvalidImageRef, Manifest, VersionRef},
    },
    plan::swap,
};
use wire::{FileChange, FileDifference, PackageDifference, RebasePlan, RebaseRequest, Verdict};

use super::{
    Store, StoreError,
    differences::{self, Differences},
    drift::{Subject, refuse_install, shadowed},
    images,
    stamp::now,
};
use crate::drift::{area::Area, lineage::Boot};

/// A tenant with another version, planned. As long as it is kept, no version of any image is removed.
#[derive(Debug)]
pub struct Repinned {
    /// The record as it is.
    pub before: Allocation,
    /// The record with the version.
    pub after: Allocation,
    /// The version.
    pub manifest: Manifest,
    /// How the tenant is started with it.
    pub plan: Plan,
    _images: ImagesLock,
}

/// What a request says of a version of a tenant that has one.
fn target(text: &str, has: &Pinned) -> Result<ImageRef, InvalidImageRef> {
    match text.parse() {
        Ok(version) => Ok(ImageRef { image: has.image.clone(), version }),
        Err(error) if text.starts_with(':') => Err(error),
        Err(_) => text.parse(),
    }
}

impl Store {
    /// The version that a request means; without a word what the tenant follows, or what its `image` names.
    ///
    /// # Errors
    /// [`StoreError::Target`], [`StoreError::NoPrevious`].
    pub fn rebase_target(&self, name: &TenantName, to: Option<&str>) -> Result<ImageRef, StoreError> {
        let record = self.ready(name)?;
        match to {
            None => {
                let tenant = self.tenant(name)?;
                let version = tenant.follow.map_or(tenant.image.version, VersionRef::Channel);
                Ok(ImageRef { image: tenant.image.image, version })
            }
            Some(RebaseRequest::PREVIOUS) => {
                let none = || StoreError::NoPrevious(record.pinned.to_string());
                let Pinned { image, digest } = record.previous().ok_or_else(none)?;
                Ok(ImageRef { image, version: VersionRef::Prefix(digest.hex()) })
            }
            Some(text) => target(text, &record.pinned)
                .map_err(|error| StoreError::Target { text: text.to_owned(), reason: error.to_string() }),
        }
    }

    /// A tenant's record with another version; nothing is changed yet.
    ///
    /// # Errors
    /// There is no such version, it is one of another image, or the tenant cannot be planned with it.
    pub fn propose_rebase(
        &self,
        name: &TenantName,
        target: &ImageRef,
        cross_image: bool,
    ) -> Result<Repinned, StoreError> {
        let before = self.ready(name)?;
        // Held until the record says it: a version that is pinned is not removed.
        let _images = ImagesLock::shared(&self.layout)?;
        let (config, nics) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
        let pinned = images::resolve(&self.layout, target, &config)?;
        if pinned.image != before.pinned.image && !cross_image {
            let has = before.pinned.image.to_string();
            return Err(StoreError::OtherImage { has, wanted: pinned.to_string() });
        }
        let mut after = before.clone();
        after.pin(pinned, now());
        let manifest = sources::load_manifest(&self.layout, &after.pinned, &config)?;
        let tenant = self.resolve(name, &self.config_text(name)?, &config, &nics)?;
        let plan = self.plan_of(&tenant, &after, &manifest, &config, None)?;
        refuse_install(&plan)?;
        Ok(Repinned { before, after, manifest, plan, _images })
    }

    /// What it takes to give a tenant that has `from` another version.
    ///
    /// # Errors
    /// A version cannot be read.
    pub fn outlook(
        &self,
        from: &Pinned,
        repinned: &Repinned,
        boot: Option<Boot>,
    ) -> Result<RebasePlan, StoreError> {
        let (to, plan) = (&repinned.after.pinned, &repinned.plan);
        let mut outlook = RebasePlan {
            name: plan.tenant.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            verdict: Verdict::Unchanged,
            reasons: Vec::new(),
            swapped: Vec::new(),
            rest: Vec::new(),
            packages: Vec::new(),
            shadowed: Vec::new(),
            left_out: Vec::new(),
            files: Vec::new(),
        };
        if from == to {
            return Ok(outlook);
        }
        let old = sources::read_manifest(&self.layout, from)?;
        let areas = Area::all(plan);
        let Differences { packages, files } =
            differences::of(&areas, images::changes(&self.layout, from, to)?);
        let look = self.look(Subject {
            areas,
            history: repinned.before.history(),
            now: to.clone(),
            boot,
            notes: self.notes(&repinned.before.name)?,
        })?;
        outlook.shadowed = shadowed(look.files());
        outlook.left_out = look.take_left_out();
        outlook.packages = packages.into_iter().map(package).collect();
        outlook.files = files.into_iter().map(file).collect();
        outlook.verdict = match swap::plan(&self.layout, plan, &old, &repinned.manifest) {
            Err(refusal) => {
                outlook.reasons = vec![refusal.to_string()];
                Verdict::Restart
            }
            Ok(swap) => {
                outlook.swapped = swap.mounts.iter().map(|mount| mount.at.to_string()).collect();
                outlook.rest = swap.rest.iter().map(ToString::to_string).collect();
                if outlook.files.is_empty() { Verdict::Live } else { Verdict::LiveWithRest }
            }
        };
        Ok(outlook)
    }

    /// Writes the record: from here on the tenant's next start boots that version. `boot` is the one under way.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn commit_rebase(&self, repinned: &mut Repinned, boot: Option<Boot>) -> Result<(), StoreError> {
        let Repinned { before, after, plan, .. } = &*repinned;
        if before.pinned != after.pinned {
            self.note_hidden(&before.name, plan, (&before.history(), boot), &after.pinned);
        }
        self.update(&repinned.before, &mut repinned.after)
    }

    /// The record as it was before [`Self::commit_rebase`].
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn undo_rebase(&self, name: &TenantName, before: &Allocation) -> Result<(), StoreError> {
        let now = self.record(name)?;
        let (pinned, generations) = (before.pinned.clone(), before.generations.clone());
        let mut restored = Allocation { pinned, generations, ..now.clone() };
        self.update(&now, &mut restored)
    }
}

fn package(change: PackageChange) -> PackageDifference {
    let PackageChange { package, from, to } = change;
    PackageDifference { package, from, to }
}

fn file(found: differences::FileDifference) -> FileDifference {
    let differences::FileDifference { path, change, is_hidden } = found;
    let change = match change {
        Change::Added => FileChange::Added,
        Change::Removed => FileChange::Removed,
        Change::Changed => FileChange::Changed,
    };
    FileDifference { path, change, hidden: is_hidden }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_in_many_ways() {
        let digest = tenant::model::ids::Digest::from_bytes([0; 32]);
        let has = Pinned { image: "debian".parse().unwrap(), digest };
        for (text, meant) in [
            (":candidate", "debian:candidate"),
            (":stable", "debian"),
            ("alpine:edge", "alpine:edge"),
            ("alpine", "alpine"),
            ("0123ab", "debian@sha256:0123ab"),
            ("sha256:0123ab", "debian@sha256:0123ab"),
            ("alpine@0123ab", "alpine@sha256:0123ab"),
            // Too short for a version, and the name of an image.
            ("cafe", "cafe"),
        ] {
            assert_eq!(target(text, &has).unwrap().to_string(), meant, "{text}");
        }
        for text in ["", ":", "Debian", "@0123ab", "debian@", "a b"] {
            assert!(target(text, &has).is_err(), "{text}");
        }
    }
}
