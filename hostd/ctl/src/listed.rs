//! A tenant as hostd lists it, with what selections look at.

use serde::{Deserialize, Serialize};
use wire::{Summary, image_and_digits};

use super::glob;

/// One tenant of hostd's list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Listed {
    /// What hostd says of it.
    pub(super) summary: Summary,
}

impl Listed {
    /// Whether it boots `IMAGE`, or `IMAGE@VERSION`: a digest, whole or its first digits.
    pub(super) fn is_of(&self, image: &str) -> bool {
        let (name, digits) = image_and_digits(image);
        glob::matches(name, &self.summary.image) && self.summary.has_version(digits)
    }

    /// Whether it has the label `KEY`; for `KEY=VALUE` with that value, which may be a pattern; for `KEY!=VALUE`, whether
    /// it has it not, or with another value.
    pub(super) fn has_label(&self, label: &str) -> bool {
        let has = |key: &str, value: &str| {
            self.summary.labels.get(key).is_some_and(|own| glob::matches(value, own))
        };
        match label.split_once('=') {
            Some((key, value)) => match key.strip_suffix('!') {
                Some(key) => !has(key, value),
                None => has(key, value),
            },
            None => self.summary.labels.contains_key(label),
        }
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

    #[test]
    fn a_label_is_asked_for_with_or_without_a_value() {
        let alice: Listed = serde_json::from_value(serde_json::json!({
            "name": "a", "state": "running", "ipv4": "", "ipv6": "", "image": "debian", "version": "2f",
            "labels": { "tier": "gold", "tested": "" },
        }))
        .unwrap();
        for label in ["tier", "tested", "tier=gold", "tier=g*", "tier!=silver", "zone!=x", "tested="] {
            assert!(alice.has_label(label), "{label}");
        }
        for label in ["zone", "tier=silver", "tier!=gold", "tier=", "zone=x"] {
            assert!(!alice.has_label(label), "{label}");
        }
    }
}
