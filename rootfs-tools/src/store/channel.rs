//! How channels are moved.
//!
//! Where signatures are required the newest version that a channel has had is noted, *after* the channel leads to it:
//! what fails before that leaves both as they were. A process that is killed in between leaves a channel that leads to
//! a newer version than the one that is noted, which the next one that moves it, or creates a tenant by it, catches up with.

use std::fs;

use tenant::{
    Layout,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    kernel::signature::Version,
    model::{
        host::HostConfig,
        ids::Digest,
        image::{ChannelName, ImageName},
    },
};

use super::{Store, error::StoreError, lock::Lock};

/// Where a channel may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// To any version: this host asks for no signatures, or the version is built here and is to be signed.
    #[default]
    Anywhere,
    /// To a signed version that is no older than those which it has led to.
    Onward,
    /// To a signed version, also to an older one.
    Back,
}

impl Way {
    /// Where the channels of a host may lead.
    pub fn of(host: &HostConfig, allow_older: bool) -> Self {
        match (host.require_signature, allow_older) {
            (false, _) => Self::Anywhere,
            (true, false) => Self::Onward,
            (true, true) => Self::Back,
        }
    }
}

impl Store {
    /// Points a channel at a version and says whether it pointed elsewhere.
    ///
    /// # Errors
    /// No such version, or one that the channel may not lead to.
    pub fn set_channel(
        &self,
        image: &ImageName,
        channel: &ChannelName,
        digest: &Digest,
        way: Way,
    ) -> Result<bool, StoreError> {
        let lock = Lock::exclusive(&self.layout)?;
        self.manifest(image, digest)?;
        self.point(image, channel, digest, way, &lock)
    }

    /// Looks whether a channel may lead to a version.
    ///
    /// # Errors
    /// No such version, or [`StoreError::Signature`].
    pub fn check_way(
        &self,
        image: &ImageName,
        channel: &ChannelName,
        digest: &Digest,
        way: Way,
    ) -> Result<(), StoreError> {
        if way == Way::Anywhere {
            return Ok(());
        }
        let (text, manifest) = self.manifest_text(image, digest)?;
        let version = Version { layout: &self.layout, image, digest, text: &text, manifest: &manifest };
        version.check()?;
        if way == Way::Onward {
            self.catch_up(image, channel)?;
            version.refuse_older(channel)?;
        }
        Ok(())
    }

    /// Points a channel at a version that exists, and says whether it pointed elsewhere.
    pub(crate) fn point(
        &self,
        image: &ImageName,
        channel: &ChannelName,
        digest: &Digest,
        way: Way,
        _lock: &Lock,
    ) -> Result<bool, StoreError> {
        self.check_way(image, channel, digest, way)?;
        let has_moved = write(&self.layout, image, channel, digest)?;
        if way != Way::Anywhere {
            let (text, manifest) = self.manifest_text(image, digest)?;
            let version = Version { layout: &self.layout, image, digest, text: &text, manifest: &manifest };
            version.note_newest(channel)?;
        }
        Ok(has_moved)
    }

    /// Notes the version that a channel leads to, if it is one that counts and is not noted yet.
    fn catch_up(&self, image: &ImageName, channel: &ChannelName) -> Result<(), StoreError> {
        let Ok(digest) = self.channel(image, channel) else { return Ok(()) };
        let Ok((text, manifest)) = self.manifest_text(image, &digest) else { return Ok(()) };
        let version =
            Version { layout: &self.layout, image, digest: &digest, text: &text, manifest: &manifest };
        match version.check().and_then(|()| version.never_back(channel)) {
            Err(error) if !error.is_refusal() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes a channel; its version stays.
    ///
    /// # Errors
    /// No such channel.
    pub fn remove_channel(&self, image: &ImageName, channel: &ChannelName) -> Result<(), StoreError> {
        let _lock = Lock::exclusive(&self.layout)?;
        self.channel(image, channel)?;
        let path = self.layout.channel(image, channel);
        fs::remove_file(&path).map_err(FileError::when("remove", &path))?;
        // What it led to may be removed next; it must not come back without that.
        record::settle_dir(&self.layout.channels(image));
        Ok(())
    }
}

/// Writes a channel's file, and says whether it was another one.
fn write(
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
    record::make_dirs(&dir).map_err(FileError::when("make", &dir))?;
    record::write(&path, text.as_bytes(), Durability::Durable)?;
    Ok(true)
}
