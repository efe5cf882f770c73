//! The image store: images, their versions and channels.
//!
//! ```text
//! images/.lock                                    flock(2): exclusive to publish, move a channel or remove
//! images/IMAGE/versions/sha256-HEX/               never changed
//! images/IMAGE/channels/CHANNEL                   a digest and a newline
//! ```

mod channel;
mod error;
mod lock;
mod pushed;
mod remove;
mod signature;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use serde::Serialize;
use tenant::{
    Allocation, Layout, TenantName,
    files::{file_error::FileError, record, state::RunState},
    model::{
        allocation::Pinned,
        ids::Digest,
        image::{ChannelName, ImageName, ImageRef, Manifest, VersionRef},
        snapshot::{Snapshot, SnapshotName},
    },
};

pub use self::{
    channel::Way,
    error::StoreError,
    lock::Lock,
    signature::{SignError, Trust},
};

/// A version with what points at it.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// What it is.
    pub manifest: Manifest,
    /// Channels that point at it.
    pub channels: Vec<ChannelName>,
    /// Tenants that boot it.
    pub tenants: Vec<TenantName>,
}

/// Tenants by the versions that they need, each by its image and digest.
pub type Pins = BTreeMap<(ImageName, Digest), Vec<TenantName>>;

/// The store of one host.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
}

impl Store {
    /// The store of this layout; it need not exist yet.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// Its layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Names of all images with at least one version, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn images(&self) -> Result<Vec<ImageName>, StoreError> {
        let mut images = Vec::new();
        for image in names::<ImageName>(&self.layout.images())? {
            match self.versions(&image) {
                Ok(versions) if versions.is_empty() => {}
                Ok(_) => images.push(image),
                // Not a directory of versions.
                Err(StoreError::NoImage(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    /// Digests of an image's versions, sorted.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], or the directory cannot be read.
    pub fn versions(&self, image: &ImageName) -> Result<Vec<Digest>, StoreError> {
        let dir = self.layout.versions(image);
        match fs::metadata(&dir) {
            Ok(_) => names(&dir),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::NoImage(image.to_string())),
            // Unprivileged users are not told whether it exists.
            Err(e) => Err(FileError::new("read", dir, e).into()),
        }
    }

    /// The manifest of a version.
    ///
    /// # Errors
    /// It is absent or malformed.
    pub fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest, StoreError> {
        Ok(self.manifest_text(image, digest)?.1)
    }

    /// The text of a version's manifest, which is what is signed, and the manifest.
    ///
    /// # Errors
    /// It is absent or malformed.
    pub fn manifest_text(
        &self,
        image: &ImageName,
        digest: &Digest,
    ) -> Result<(String, Manifest), StoreError> {
        let path = self.layout.manifest(image, digest);
        let text = record::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                StoreError::NoVersion { image: image.to_string(), prefix: digest.hex() }
            }
            _ => error.into(),
        })?;
        let manifest = Manifest::parse(&text).map_err(|source| StoreError::Manifest { path, source })?;
        Ok((text, manifest))
    }

    /// The channels of an image and the versions they point at.
    ///
    /// # Errors
    /// A channel cannot be read.
    pub fn channels(&self, image: &ImageName) -> Result<BTreeMap<ChannelName, Digest>, StoreError> {
        let dir = self.layout.channels(image);
        let mut channels = BTreeMap::new();
        for channel in names::<ChannelName>(&dir)? {
            let digest = self.channel(image, &channel)?;
            channels.insert(channel, digest);
        }
        Ok(channels)
    }

    fn channel(&self, image: &ImageName, channel: &ChannelName) -> Result<Digest, StoreError> {
        let missing = || StoreError::NoChannel { image: image.to_string(), channel: channel.to_string() };
        let text = record::read(&self.layout.channel(image, channel)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => e.into(),
        })?;
        text.trim().parse().map_err(|_| missing())
    }

    /// The version that a reference means now.
    ///
    /// # Errors
    /// No such image, channel or version, or more than one version.
    pub fn resolve(&self, reference: &ImageRef) -> Result<Digest, StoreError> {
        let versions = self.versions(&reference.image)?;
        let image = reference.image.to_string();
        match &reference.version {
            VersionRef::Channel(channel) => {
                let digest = self.channel(&reference.image, channel)?;
                if versions.contains(&digest) {
                    return Ok(digest);
                }
                Err(StoreError::NoVersion { image, prefix: digest.hex() })
            }
            VersionRef::Prefix(prefix) => {
                let mut found = versions.into_iter().filter(|digest| digest.hex().starts_with(prefix));
                match (found.next(), found.count()) {
                    (None, _) => Err(StoreError::NoVersion { image, prefix: prefix.clone() }),
                    (Some(digest), 0) => Ok(digest),
                    (Some(_), more) => {
                        Err(StoreError::Ambiguous { image, prefix: prefix.clone(), count: more + 1 })
                    }
                }
            }
        }
    }

    /// The tenants that boot each version, or are still running it.
    ///
    /// # Errors
    /// [`StoreError::Allocation`] for a record that cannot be read: better to keep a version too many.
    pub fn pins(&self) -> Result<Pins, StoreError> {
        Ok(self.uses()?.0)
    }

    /// [`Self::pins`], and the records of all tenants.
    fn uses(&self) -> Result<(Pins, Vec<Allocation>), StoreError> {
        let (mut pins, mut records) = (Pins::new(), Vec::new());
        let mut images: Option<Vec<ImageName>> = None;
        for tenant in names::<TenantName>(&self.layout.tenants())? {
            let unknown = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Allocation {
                tenant: tenant.to_string(),
                source,
            };
            let text = match record::read(&self.layout.allocation(&tenant)) {
                Ok(text) => text,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(unknown(e.into())),
            };
            let record = Allocation::parse(&text).map_err(|e| unknown(e.into()))?;
            let Pinned { image, digest } = record.pinned.clone();
            let state = RunState::read(&self.layout.run_state(&tenant)).map_err(|e| unknown(e.into()))?;
            let in_use = state.filter(RunState::is_supervised).into_iter().flat_map(|state| {
                // It may have got others while it is running: until its next start it needs the old ones as well.
                state.in_use().filter(|booted| *booted != digest).collect::<Vec<_>>()
            });
            for booted in in_use {
                // Only where a tenant has had another version, and once for all of them.
                let images = match &mut images {
                    Some(images) => images,
                    none => none.insert(self.images()?),
                };
                for image in images.iter().filter(|image| self.layout.version(image, &booted).exists()) {
                    pins.entry((image.clone(), booted)).or_default().push(tenant.clone());
                }
            }
            for kept in self.snapshots(&tenant)? {
                // Its files lie over that version: without it they cannot be put back as they were.
                if kept != record.pinned {
                    pins.entry((kept.image, kept.digest)).or_default().push(tenant.clone());
                }
            }
            pins.entry((image, digest)).or_default().push(tenant);
            records.push(record);
        }
        Ok((pins, records))
    }

    /// The versions that a tenant's snapshots lie over, each once.
    fn snapshots(&self, tenant: &TenantName) -> Result<Vec<Pinned>, StoreError> {
        let mut kept = Vec::new();
        for snapshot in names::<SnapshotName>(&self.layout.snapshots(tenant))? {
            // One that cannot be read cannot be restored.
            let path = self.layout.snapshot(tenant, &snapshot).join(Snapshot::FILE);
            let read = record::read(&path).ok().and_then(|text| Snapshot::parse(&text).ok());
            kept.extend(read.map(|snapshot| snapshot.pinned));
        }
        kept.sort();
        kept.dedup();
        Ok(kept)
    }

    /// All versions of some images, those of one image the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, images: &[ImageName]) -> Result<Vec<Version>, StoreError> {
        let pins = self.pins()?;
        let mut versions = Vec::new();
        for image in images {
            versions.extend(self.list_one(image, &pins)?);
        }
        Ok(versions)
    }

    fn list_one(&self, image: &ImageName, pins: &Pins) -> Result<Vec<Version>, StoreError> {
        let channels = self.channels(image)?;
        let mut versions = Vec::new();
        for digest in self.versions(image)? {
            versions.push(Version {
                manifest: self.manifest(image, &digest)?,
                channels: pointing_at(&channels, &digest),
                tenants: pins.get(&(image.clone(), digest)).cloned().unwrap_or_default(),
            });
        }
        versions.sort_by(|a, b| b.manifest.created.cmp(&a.manifest.created));
        Ok(versions)
    }
}

fn pointing_at(channels: &BTreeMap<ChannelName, Digest>, digest: &Digest) -> Vec<ChannelName> {
    channels.iter().filter(|(_, at)| *at == digest).map(|(channel, _)| channel.clone()).collect()
}

/// Entries of a directory whose names parse, sorted; none if it is absent.
fn names<T: std::str::FromStr + Ord>(dir: &Path) -> Result<Vec<T>, StoreError> {
    let failed = FileError::when("read", dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e).into()),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(names.into_iter().collect())
}
