//! Which versions registries were sent, each on top of which others: `pushed/IMAGE.json`.
//!
//! A registry has the layers of a version as they were sent: those of each version below it, then its own. They are made
//! again with the same bytes only from the same versions in the same order. And only what a place was sent before may be
//! sent there again: a version may have been mended because there was a secret in it.

use serde::{Deserialize, Serialize};
use tenant::{
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::{ids::Digest, image::ImageName},
};

use super::{Store, error::StoreError, lock::Lock};

/// The most versions whose layers are put on top of each other; then one is sent whole.
const MAX_CHAIN: usize = 16;

/// A version that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pushed {
    /// Where to, without a tag.
    place: String,
    /// The versions whose layers it consists of, the lowest first; at the end itself.
    chain: Vec<Digest>,
}

impl Store {
    /// The versions below a version that is to be sent to a place: those that its nearest ancestor was sent there on top
    /// of, and that one. None where no ancestor was sent there, or what it consists of is not here any more.
    ///
    /// # Errors
    /// No such version.
    pub fn pushed_parents(
        &self,
        image: &ImageName,
        digest: &Digest,
        place: &str,
    ) -> Result<Vec<Digest>, StoreError> {
        let (versions, pushed) = (self.versions(image)?, self.pushed(image));
        let mut next = self.manifest(image, digest)?.parent;
        // No more steps than there are versions: a manifest from elsewhere may name any parent.
        for _ in 0..versions.len() {
            let Some(ancestor) = next.filter(|ancestor| versions.contains(ancestor)) else { break };
            let is_it = |one: &&Pushed| one.place == place && one.chain.last() == Some(&ancestor);
            if let Some(found) = pushed.iter().find(is_it) {
                let is_whole = found.chain.iter().all(|digest| versions.contains(digest));
                return Ok(match is_whole && found.chain.len() < MAX_CHAIN {
                    true => found.chain.clone(),
                    false => Vec::new(),
                });
            }
            next = self.manifest(image, &ancestor)?.parent;
        }
        Ok(Vec::new())
    }

    /// Notes that a place was sent a version; versions that are not here any more are forgotten.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn note_pushed(&self, image: &ImageName, place: &str, chain: &[Digest]) -> Result<(), StoreError> {
        let _lock = Lock::exclusive(&self.layout)?;
        let (versions, mut pushed) = (self.versions(image)?, self.pushed(image));
        pushed.retain(|one| {
            let is_replaced = one.place == place && one.chain.last() == chain.last();
            !is_replaced && one.chain.iter().all(|digest| versions.contains(digest))
        });
        pushed.push(Pushed { place: place.to_owned(), chain: chain.to_vec() });
        let path = self.layout.pushed(image);
        let dir = path.parent().expect("a note lies in a directory");
        record::make_dirs(dir).map_err(FileError::when("make", dir))?;
        let text = serde_json::to_vec_pretty(&pushed).expect("it has only types that JSON can hold");
        Ok(record::write(&path, &text, Durability::Durable)?)
    }

    /// What is noted. What cannot be read costs no more than that a version is sent whole.
    fn pushed(&self, image: &ImageName) -> Vec<Pushed> {
        let text = record::read(&self.layout.pushed(image)).ok();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }
}
