//! The channel that a tenant follows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::image::{ChannelName, InvalidImageRef};

/// The channel of its image that a tenant follows: `:CHANNEL`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Follow(pub ChannelName);

impl FromStr for Follow {
    type Err = InvalidImageRef;

    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        let channel = text.strip_prefix(':').ok_or_else(|| InvalidImageRef {
            what: "a channel to follow",
            text: text.chars().take(64).collect(),
            reason: "it is not ':' and the name of a channel, e.g. \":stable\"",
        })?;
        Ok(Self(channel.parse()?))
    }
}

impl TryFrom<String> for Follow {
    type Error = InvalidImageRef;

    fn try_from(text: String) -> Result<Self, InvalidImageRef> {
        text.parse()
    }
}

impl From<Follow> for String {
    fn from(follow: Follow) -> Self {
        follow.to_string()
    }
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ":{}", self.0)
    }
}
