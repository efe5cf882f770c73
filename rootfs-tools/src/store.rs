//! The image store: images, their versions and channels.
//!
//! ```text
//! images/.lock                                    flock(2): exclusive to publish, move a channel or remove
//! images/IMAGE/versions/sha256-HEX/               never changed
//! images/IMAGE/channels/CHANNEL                   a digest and a newline
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    mount::UnmountFlags,
};
use serde::Serialize;
use tenant::{
    Allocation, Layout, TenantName,
    files::{
        file_error::FileError,
        record::{self, Durability},
        state::RunState,
    },
    model::{
        ids::Digest,
        image::{ChannelName, ImageName, ImageRef, Manifest, ManifestError, VersionRef},
    },
};

use crate::explain::{Explain, Outcome};

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such image.
    #[error("image {0:?} does not exist")]
    NoImage(String),
    /// No such channel.
    #[error("image {image:?} has no channel {channel:?}")]
    NoChannel {
        /// The image.
        image: String,
        /// The channel.
        channel: String,
    },
    /// No version starts with these digits.
    #[error("image {image:?} has no version \"sha256:{prefix}…\"")]
    NoVersion {
        /// The image.
        image: String,
        /// The hex digits that were given.
        prefix: String,
    },
    /// More than one version starts with these digits.
    #[error("image {image:?} has {count} versions that start with \"sha256:{prefix}\"")]
    Ambiguous {
        /// The image.
        image: String,
        /// The hex digits that were given.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// Tenants boot it.
    #[error("version {} of image {image:?} is in use by {}", digest.short(), tenants(.users))]
    InUse {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
        /// The tenants that pin it.
        users: Vec<TenantName>,
    },
    /// Channels point at it.
    #[error("version {} of image {image:?} is the target of channel {}", digest.short(), .channels.join(", "))]
    InChannel {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
        /// The channels.
        channels: Vec<String>,
    },
    /// A manifest that cannot be used.
    #[error("cannot read the manifest {path:?}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ManifestError,
    },
    /// An allocation that cannot be read: which version its tenant boots is unknown.
    #[error("cannot determine the version that tenant {tenant:?} boots")]
    Allocation {
        /// The tenant.
        tenant: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

fn tenants(users: &[TenantName]) -> String {
    let named: Vec<_> = users.iter().take(3).map(TenantName::as_str).collect();
    match users.len() {
        0..=3 => named.join(", "),
        more => format!("{} and {} more", named.join(", "), more - 3),
    }
}

impl Explain for StoreError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoImage(_) => {
                "rootfsctl list shows the images; rootfsctl build debian builds one".to_owned()
            }
            Self::NoChannel { image, .. } | Self::NoVersion { image, .. } => {
                format!("rootfsctl list {image}")
            }
            Self::Ambiguous { .. } => "write more digits".to_owned(),
            Self::InUse { .. } => "first destroy the tenants or set them to another version".to_owned(),
            Self::InChannel { image, channels, .. } => {
                format!("move the channel first: rootfsctl channel {image} {} VERSION", channels[0])
            }
            Self::Allocation { .. } => "repair or remove the tenant's allocation.toml".to_owned(),
            Self::File(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root".to_owned()
            }
            Self::Manifest { .. } | Self::File(_) => return None,
        })
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::NoImage(_) | Self::NoChannel { .. } | Self::NoVersion { .. } => Outcome::NotFound,
            Self::InUse { .. }
            | Self::InChannel { .. }
            | Self::Ambiguous { .. }
            | Self::Allocation { .. } => Outcome::Refused,
            Self::Manifest { .. } | Self::File(_) => Outcome::Failed,
        }
    }
}

/// The lock of the store, held as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] Option<File>);

impl Lock {
    /// Waits for the lock under which no version is removed and no channel moves. A host without a store has nothing
    /// to lock.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn shared(layout: &Layout) -> Result<Self, StoreError> {
        match fs::metadata(layout.images()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self(None)),
            _ => Self::take(layout, FlockOperation::LockShared),
        }
    }

    /// Waits for the lock that publishing, moving a channel and removing need.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn exclusive(layout: &Layout) -> Result<Self, StoreError> {
        Self::take(layout, FlockOperation::LockExclusive)
    }

    fn take(layout: &Layout, operation: FlockOperation) -> Result<Self, StoreError> {
        let path = layout.images_lock();
        let lock = || {
            fs::create_dir_all(layout.images())?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            flock(&file, operation)?;
            Ok(Self(Some(file)))
        };
        Ok(lock().map_err(FileError::when("lock", &path))?)
    }
}

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
        let path = self.layout.manifest(image, digest);
        let text = record::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                StoreError::NoVersion { image: image.to_string(), prefix: digest.hex() }
            }
            _ => e.into(),
        })?;
        Manifest::parse(&text).map_err(|source| StoreError::Manifest { path, source })
    }

    /// The channels of an image and the versions they point at.
    ///
    /// # Errors
    /// A channel cannot be read.
    pub fn channels(&self, image: &ImageName) -> Result<BTreeMap<ChannelName, Digest>, StoreError> {
        let dir = self.layout.image(image).join("channels");
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

    /// The tenants that boot each version, or are still running it, by image and digest.
    ///
    /// # Errors
    /// [`StoreError::Allocation`] for a record that cannot be read: better to keep a version too many.
    pub fn pins(&self) -> Result<BTreeMap<(ImageName, Digest), Vec<TenantName>>, StoreError> {
        let mut pins: BTreeMap<_, Vec<_>> = BTreeMap::new();
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
            let pinned = Allocation::parse(&text).map_err(|e| unknown(e.into()))?.pinned;
            let state = RunState::read(&self.layout.run_state(&tenant)).map_err(|e| unknown(e.into()))?;
            let booted = state.filter(RunState::is_supervised).and_then(|state| state.digest);
            if let Some(booted) = booted.filter(|booted| *booted != pinned.digest) {
                // It was pinned to another version while running: until its next start it needs the old one as well.
                for image in self.images()?.into_iter().filter(|i| self.layout.version(i, &booted).exists()) {
                    pins.entry((image, booted)).or_default().push(tenant.clone());
                }
            }
            pins.entry((pinned.image, pinned.digest)).or_default().push(tenant);
        }
        Ok(pins)
    }

    /// All versions of an image, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, image: &ImageName) -> Result<Vec<Version>, StoreError> {
        let channels = self.channels(image)?;
        let mut pins = self.pins()?;
        let mut versions = Vec::new();
        for digest in self.versions(image)? {
            versions.push(Version {
                manifest: self.manifest(image, &digest)?,
                channels: pointing_at(&channels, &digest),
                tenants: pins.remove(&(image.clone(), digest)).unwrap_or_default(),
            });
        }
        versions.sort_by(|a, b| b.manifest.created.cmp(&a.manifest.created));
        Ok(versions)
    }

    /// Points a channel at a version and says whether it pointed elsewhere.
    ///
    /// # Errors
    /// No such version.
    pub fn set_channel(
        &self,
        image: &ImageName,
        channel: &ChannelName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let _lock = Lock::exclusive(&self.layout)?;
        self.manifest(image, digest)?;
        point_channel(&self.layout, image, channel, digest)
    }

    /// Removes a channel; its version stays.
    ///
    /// # Errors
    /// No such channel.
    pub fn remove_channel(&self, image: &ImageName, channel: &ChannelName) -> Result<(), StoreError> {
        let _lock = Lock::exclusive(&self.layout)?;
        self.channel(image, channel)?;
        let path = self.layout.channel(image, channel);
        Ok(fs::remove_file(&path).map_err(FileError::when("remove", &path))?)
    }

    /// Removes a version.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if a tenant boots it, [`StoreError::InChannel`] if a channel points at it.
    pub fn remove(&self, image: &ImageName, digest: &Digest) -> Result<(), StoreError> {
        self.remove_if(image, digest, false)
    }

    /// Removes a version and the channels that point at it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if a tenant boots it.
    pub fn remove_with_channels(&self, image: &ImageName, digest: &Digest) -> Result<(), StoreError> {
        self.remove_if(image, digest, true)
    }

    fn remove_if(&self, image: &ImageName, digest: &Digest, with_channels: bool) -> Result<(), StoreError> {
        let (gone, _held) = {
            let _lock = Lock::exclusive(&self.layout)?;
            match self.manifest(image, digest) {
                Ok(_) | Err(StoreError::Manifest { .. }) => {}
                Err(e) => return Err(e),
            }
            if let Some(users) = self.pins()?.remove(&(image.clone(), *digest)) {
                return Err(StoreError::InUse { image: image.to_string(), digest: *digest, users });
            }
            let channels = pointing_at(&self.channels(image)?, digest);
            if !channels.is_empty() && !with_channels {
                let channels = channels.iter().map(ToString::to_string).collect();
                return Err(StoreError::InChannel { image: image.to_string(), digest: *digest, channels });
            }
            for channel in channels {
                let path = self.layout.channel(image, &channel);
                fs::remove_file(&path).map_err(FileError::when("remove", &path))?;
            }
            self.hide(image, digest)?
        };
        self.unmount(digest)?;
        // It is invisible already: the slow part holds no lock, and the next build finishes an interrupted one.
        Ok(fs::remove_dir_all(&gone).map_err(FileError::when("remove", &gone))?)
    }

    /// Removes the mount that tenants of an erofs version clone; other formats have none.
    fn unmount(&self, digest: &Digest) -> Result<(), StoreError> {
        let at = self.layout.image_mount(digest);
        match rustix::mount::unmount(&at, UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(FileError::new("unmount", at, e).into()),
        }
        for leftover in [fs::remove_dir(&at), fs::remove_file(at.with_extension("lock"))] {
            match leftover {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::new("remove", at, e).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves a version out of sight, into a staging directory that is held while the file lives.
    fn hide(&self, image: &ImageName, digest: &Digest) -> Result<(PathBuf, File), StoreError> {
        let gone = self.layout.staging().join(format!("gone-{}-{}", std::process::id(), digest.short()));
        let hide = || {
            fs::create_dir_all(&gone)?;
            let held = File::create_new(gone.join("lock"))?;
            flock(&held, FlockOperation::LockExclusive)?;
            fs::rename(self.layout.version(image, digest), gone.join("version"))?;
            File::open(self.layout.versions(image))?.sync_all()?;
            Ok(held)
        };
        let held = hide().map_err(|source| {
            let _ = fs::remove_dir_all(&gone);
            FileError::when("remove", &self.layout.version(image, digest))(source)
        })?;
        if names::<Digest>(&self.layout.versions(image))?.is_empty() && self.channels(image)?.is_empty() {
            let _ = fs::remove_dir_all(self.layout.image(image));
        }
        Ok((gone, held))
    }

    /// Versions that no channel points at, no tenant boots, and that are not among the `keep` newest of
    /// their image.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn garbage(&self, keep: usize) -> Result<Vec<(ImageName, Digest)>, StoreError> {
        let mut garbage = Vec::new();
        for image in self.images()? {
            let unused =
                self.list(&image)?.into_iter().filter(|v| v.channels.is_empty() && v.tenants.is_empty());
            garbage.extend(unused.skip(keep).map(|v| (image.clone(), v.manifest.digest)));
        }
        Ok(garbage)
    }
}

fn pointing_at(channels: &BTreeMap<ChannelName, Digest>, digest: &Digest) -> Vec<ChannelName> {
    channels.iter().filter(|(_, at)| *at == digest).map(|(channel, _)| channel.clone()).collect()
}

/// Writes a channel file; the caller holds the lock and knows that the version exists.
pub(crate) fn point_channel(
    layout: &Layout,
    image: &ImageName,
    channel: &ChannelName,
    digest: &Digest,
) -> Result<bool, StoreError> {
    let path = layout.channel(image, channel);
    let text = format!("{digest}\n");
    if record::read(&path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    let dir = path.parent().expect("a channel lies in a directory").to_owned();
    fs::create_dir_all(&dir).map_err(FileError::when("make", &dir))?;
    record::write(&path, text.as_bytes(), Durability::Durable)?;
    Ok(true)
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
