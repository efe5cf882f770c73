//! A tenant as hostd lists it, with what selections look at.

use serde::{Deserialize, Serialize};
use wire::{MemoryUse, Summary, image_and_digits};

use super::glob;

/// One tenant of hostd's list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Listed {
    /// What hostd says of it.
    pub(super) summary: Summary,
    /// What its memory is made of, where a column shows that.
    #[serde(skip)]
    pub(super) memory: Option<MemoryUse>,
}

impl Listed {
    /// Whether it boots `IMAGE`, or `IMAGE@VERSION`: a digest, whole or its first digits.
    pub(super) fn is_of(&self, image: &str) -> bool {
        let (name, digits) = image_and_digits(image);
        glob::matches(name, &self.summary.image) && self.summary.has_version(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_of_its_image_and_of_its_version_however_that_is_written() {
        let alice: Listed = serde_json::from_value(serde_json::json!({
            "name": "a", "state": "running", "ipv4": "", "ipv6": "", "image": "debian", "version": "2f2f0123abcd",
        }))
        .unwrap();
        for image in ["debian", "deb*", "debian@2f2f0123abcd", "debian@sha256:2f2f0123abcd99", "debian@2f2f"]
        {
            assert!(alice.is_of(image), "{image}");
        }
        for image in ["deb", "debian-stock", "busybox", "debian@2f2e", "debian@sha256:2f2f0123abce"] {
            assert!(!alice.is_of(image), "{image}");
        }
    }
}
