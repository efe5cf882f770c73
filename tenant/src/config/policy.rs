//! What a directory of the tenant is.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::model::limits::ByteSize;

/// The policy of one directory.
///
/// In TOML: `"shared"`, `"overlay"`, `"private"`, `"empty"`, `"tmpfs"`, `{ tmpfs = "64M" }`,
/// `{ bind = "/srv/data", writable = true }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The image's directory, read-only, never copied.
    Shared,
    /// The image's directory with the tenant's changes on top.
    Overlay,
    /// A directory of the tenant alone, seeded once from the image.
    Private,
    /// An empty, read-only directory of the skeleton: a place to mount on that costs nothing.
    Empty,
    /// Empty at each boot.
    Tmpfs {
        /// Most bytes in it.
        size: ByteSize,
    },
    /// A directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Whether the tenant may write there.
        writable: bool,
    },
}

impl Policy {
    /// Size of a tmpfs that names none.
    pub const TMPFS_SIZE: ByteSize = ByteSize(64 << 20);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tmpfs: Option<ByteSize>,
    bind: Option<PathBuf>,
    writable: Option<bool>,
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if let Some(word) = value.as_str() {
            return match word {
                "shared" => Ok(Self::Shared),
                "overlay" => Ok(Self::Overlay),
                "private" => Ok(Self::Private),
                "empty" => Ok(Self::Empty),
                "tmpfs" => Ok(Self::Tmpfs { size: Self::TMPFS_SIZE }),
                other => Err(de::Error::unknown_variant(
                    other,
                    &["shared", "overlay", "private", "empty", "tmpfs"],
                )),
            };
        }
        match value.try_into().map_err(de::Error::custom)? {
            Table { tmpfs: Some(size), bind: None, writable: None } => Ok(Self::Tmpfs { size }),
            Table { tmpfs: None, bind: Some(source), writable } => {
                Ok(Self::Bind { source, writable: writable.unwrap_or(false) })
            }
            _ => Err(de::Error::custom("write either `tmpfs` or `bind` (with `writable`)")),
        }
    }
}
