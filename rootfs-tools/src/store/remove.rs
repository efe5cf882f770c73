//! How versions are removed.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    mount::UnmountFlags,
};
use tenant::{
    files::{file_error::FileError, record},
    model::{allocation::Pinned, ids::Digest, image::ImageName},
};

use super::{Store, error::StoreError, lock::Lock, names, pointing_at};

impl Store {
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
            for channel in &channels {
                let path = self.layout.channel(image, channel);
                fs::remove_file(&path).map_err(FileError::when("remove", &path))?;
            }
            if !channels.is_empty() {
                // None may be there after a power cut that leads to what is gone.
                let dir = self.layout.channels(image);
                record::sync_dir(&dir).map_err(FileError::when("sync", &dir))?;
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
        let staging = self.layout.staging();
        let version = self.layout.version(image, digest);
        let failed = FileError::when("remove", &version);
        // With a name that what a power cut has left cannot have.
        let make = || {
            record::make_dirs(&staging)?;
            Ok(tempfile::Builder::new().prefix("gone-").tempdir_in(&staging)?.keep())
        };
        let gone = make().map_err(failed)?;
        let hide = || {
            let held = File::create_new(gone.join("lock"))?;
            flock(&held, FlockOperation::LockExclusive)?;
            fs::rename(&version, gone.join("version"))?;
            record::sync_dir(&self.layout.versions(image))?;
            Ok(held)
        };
        let held = hide().map_err(|source| {
            let _ = fs::remove_dir_all(&gone);
            failed(source)
        })?;
        self.forget_empty(image)?;
        Ok((gone, held))
    }

    /// Removes the directory of an image without versions and channels.
    fn forget_empty(&self, image: &ImageName) -> Result<(), StoreError> {
        if names::<Digest>(&self.layout.versions(image))?.is_empty() && self.channels(image)?.is_empty() {
            // What else lies there is an admin's.
            for dir in [self.layout.versions(image), self.layout.channels(image), self.layout.image(image)] {
                let _ = fs::remove_dir(dir);
            }
        }
        Ok(())
    }

    /// Removes what interrupted writes and removals have left: files that were to take the place of others, and images
    /// without versions and channels. What was being built or removed is [`crate::staging::sweep`]'s.
    ///
    /// # Errors
    /// A directory cannot be read, or a file in it cannot be removed.
    pub fn sweep(&self) -> Result<(), StoreError> {
        let _lock = Lock::exclusive(&self.layout)?;
        let sweep = |dir: &Path| record::remove_temporaries(dir).map_err(FileError::when("clean up", dir));
        sweep(&self.layout.all_pushed())?;
        for image in names::<ImageName>(&self.layout.images())? {
            sweep(&self.layout.channels(&image))?;
            sweep(&self.layout.all_newest_signed(&image))?;
            for digest in names::<Digest>(&self.layout.versions(&image))? {
                sweep(&self.layout.version(&image, &digest))?;
            }
            self.forget_empty(&image)?;
        }
        Ok(())
    }

    /// Versions that no channel points at and no tenant boots, without the `keep` newest of them of each image, and
    /// without the last `keep` that each tenant had before its present one: it may be rolled back to those.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn garbage(&self, keep: usize) -> Result<Vec<(ImageName, Digest)>, StoreError> {
        let (pins, records) = self.uses()?;
        let earlier: HashSet<Pinned> = records.iter().flat_map(|record| record.earlier(keep)).collect();
        let mut garbage = Vec::new();
        for image in self.images()? {
            let unused = self
                .list_one(&image, &pins)?
                .into_iter()
                .filter(|version| version.channels.is_empty() && version.tenants.is_empty())
                .skip(keep)
                .map(|version| Pinned { image: image.clone(), digest: version.manifest.digest });
            garbage.extend(unused.filter(|version| !earlier.contains(version)));
        }
        Ok(garbage.into_iter().map(|Pinned { image, digest }| (image, digest)).collect())
    }
}
