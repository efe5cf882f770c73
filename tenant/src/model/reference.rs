//! Names of images, channels and profiles, and what names a version of an image.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a string is not an image name, channel or reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what}: {reason}")]
pub struct InvalidImageRef {
    pub(super) what: &'static str,
    pub(super) text: String,
    pub(super) reason: &'static str,
}

pub(crate) fn check_label(what: &'static str, text: &str) -> Result<(), InvalidImageRef> {
    let refuse = |reason| {
        let text = text.chars().take(64).collect();
        Err(InvalidImageRef { what, text, reason })
    };
    if text.is_empty() || text.len() > 64 {
        return refuse("it is not 1 to 64 bytes long");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return refuse("it does not start with a-z or 0-9");
    }
    if !text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_')) {
        return refuse("it contains a character other than a-z, 0-9, '-', '.' and '_'");
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::reference::InvalidImageRef;

            fn from_str(text: &str) -> Result<Self, $crate::model::reference::InvalidImageRef> {
                $crate::model::reference::check_label($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        $crate::model::text::text_form!($name, $crate::model::reference::InvalidImageRef);
    };
}
pub(crate) use label;

label!(
    /// The name of an image, e.g. `debian`: 1 to 64 of a-z, 0-9, `-`, `.`, `_`.
    ImageName,
    "an image name"
);
label!(
    /// A movable name of a version in an image, e.g. `stable`.
    ChannelName,
    "a channel name"
);
label!(
    /// The name of a profile, e.g. `shared-os`.
    ProfileName,
    "a profile name"
);

impl ChannelName {
    /// The channel that a reference without one means.
    pub fn stable() -> Self {
        Self("stable".to_owned())
    }
}

/// Which version of an image is wanted: `NAME`, `NAME:CHANNEL` or `NAME@sha256:PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// The image.
    pub image: ImageName,
    /// The version in it.
    pub version: VersionRef,
}

/// The part of an [`ImageRef`] behind the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VersionRef {
    /// What the channel points at when the tenant is created or upgraded.
    Channel(ChannelName),
    /// The version whose digest starts with these hex digits (6 to 64 of them).
    Prefix(String),
}

impl VersionRef {
    /// How many hex digits name a version.
    const DIGITS: RangeInclusive<usize> = 6..=64;

    /// The version whose digest starts with these lower-case hex digits, written as a digest is or alone.
    pub fn by_digits(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-")).unwrap_or(text);
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && Self::DIGITS.contains(&hex.len())).then(|| Self::Prefix(hex.to_owned()))
    }
}

impl FromStr for VersionRef {
    type Err = InvalidImageRef;

    /// `:CHANNEL`, or hex digits.
    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        if let Some(channel) = text.strip_prefix(':') {
            return channel.parse().map(Self::Channel);
        }
        Self::by_digits(text).ok_or_else(|| InvalidImageRef {
            what: "a version",
            text: text.chars().take(160).collect(),
            reason: "it is neither :CHANNEL nor 6 to 64 lower-case hex digits",
        })
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImageRef;

    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        if let Some((image, digest)) = text.split_once('@') {
            let version = VersionRef::by_digits(digest).ok_or_else(|| InvalidImageRef {
                what: "an image reference",
                text: text.chars().take(160).collect(),
                reason: "'@' must be followed by 6 to 64 lower-case hex digits of a version",
            })?;
            return Ok(Self { image: image.parse()?, version });
        }
        let (image, channel) = match text.split_once(':') {
            Some((image, channel)) => (image, channel.parse()?),
            None => (text, ChannelName::stable()),
        };
        Ok(Self { image: image.parse()?, version: VersionRef::Channel(channel) })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = InvalidImageRef;

    fn try_from(text: String) -> Result<Self, InvalidImageRef> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(reference: ImageRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            VersionRef::Channel(channel) if channel.as_str() == "stable" => self.image.fmt(f),
            VersionRef::Channel(channel) => write!(f, "{}:{channel}", self.image),
            VersionRef::Prefix(hex) => write!(f, "{}@sha256:{hex}", self.image),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_channel_or_digits() {
        let digits = |text: &str| Ok(VersionRef::Prefix(text.to_owned()));
        assert_eq!(":edge".parse(), Ok(VersionRef::Channel("edge".parse().unwrap())));
        for text in ["0123ab", "sha256:0123ab", "sha256-0123ab"] {
            assert_eq!(text.parse(), digits("0123ab"));
        }
        for bad in ["", ":", ":A b", "01234", "0123AB", "edge", "sha256:", &"0".repeat(65)] {
            assert!(bad.parse::<VersionRef>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_reference_round_trips() {
        for text in ["debian", "debian:candidate", "debian@sha256:0123ab"] {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
        }
        assert_eq!("debian:stable".parse::<ImageRef>().unwrap().to_string(), "debian");
        for bad in ["", "Debian", "a b", "a@", "a@xyz", "a:", "../x", "a@sha256:01"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?} was accepted");
        }
    }
}
