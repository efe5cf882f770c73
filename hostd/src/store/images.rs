//! From an image reference to the version a tenant boots.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use tenant::{
    Layout,
    allocation::Pinned,
    file_error::FileError,
    ids::Digest,
    image::{ImageRef, Manifest, VersionRef},
    kernel::image::Contents,
    plan::ImageSource,
    record,
};

use super::StoreError;

/// While it lives no version is removed and no channel moves: the shared lock of the image store.
#[derive(Debug)]
pub struct ImagesLock(#[expect(dead_code, reason = "the open file is the lock")] Option<File>);

impl ImagesLock {
    /// Waits for the lock. A host without an image store has nothing to lock.
    ///
    /// # Errors
    /// The lock file cannot be opened or locked.
    pub fn shared(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.images_lock();
        let failed = FileError::when("lock", &path);
        if !layout.images().is_dir() {
            return Ok(Self(None));
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        flock(&file, FlockOperation::LockShared).map_err(|errno| failed(errno.into()))?;
        Ok(Self(Some(file)))
    }
}

/// The version that a reference means now; the caller holds the lock.
///
/// # Errors
/// No such image, channel or version, or more than one version.
pub fn resolve(layout: &Layout, reference: &ImageRef) -> Result<Pinned, StoreError> {
    let image = reference.image.clone();
    let missing = |what: String| StoreError::NoImage { image: image.to_string(), what };
    let versions = layout.versions(&image);
    if !versions.is_dir() {
        return Err(missing(String::new()));
    }
    let digest = match &reference.version {
        VersionRef::Channel(channel) => {
            let none = || missing(format!("channel {:?}", channel.as_str()));
            let text =
                record::read(&layout.channel(&image, channel)).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => none(),
                    _ => error.into(),
                })?;
            text.trim().parse::<Digest>().map_err(|_| none())?
        }
        VersionRef::Prefix(prefix) => by_prefix(&versions, prefix)?
            .map_err(|count| missing(format!("single version \"sha256:{prefix}…\" ({count} match)")))?,
    };
    if !layout.manifest(&image, &digest).is_file() {
        return Err(missing(format!("version \"{digest}\"")));
    }
    Ok(Pinned { image, digest })
}

/// The only version whose digest starts like this, or how many do.
fn by_prefix(versions: &Path, prefix: &str) -> Result<Result<Digest, usize>, StoreError> {
    let failed = FileError::when("read", versions);
    let mut found = Vec::new();
    for entry in fs::read_dir(versions).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let digest = name.to_str().and_then(|name| name.parse::<Digest>().ok());
        found.extend(digest.filter(|digest| digest.hex().starts_with(prefix)));
    }
    Ok(match found[..] {
        [digest] => Ok(digest),
        _ => Err(found.len()),
    })
}

/// The files of a version.
///
/// # Errors
/// They cannot be mounted.
pub fn contents(layout: &Layout, manifest: &Manifest) -> Result<Contents, StoreError> {
    Ok(Contents::open(&ImageSource::of(layout, manifest))?)
}
