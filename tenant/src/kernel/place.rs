//! Why a mount of a tenant has no place in its root.

/// Why a mount of a tenant has no place in its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The directory is missing, and cannot be made.
    #[error("the image has no such directory, and what is above it is read-only")]
    Absent,
    /// A link is on the way: the tenant may have put it there.
    #[error("a link is on the way, and no link is followed")]
    Link,
    /// A file is on the way, or there.
    #[error("it is not a directory")]
    NotDirectory,
}

impl PlaceError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Absent => {
                "mount it below a directory of the tenant's own, or make the directory in the image; both are shown by \
                 tenantctl plan NAME"
            }
            Self::Link => "write the path without links into the [dirs] table: tenantctl edit NAME",
            Self::NotDirectory => {
                "only directories can be mounted on; correct the [dirs] table: tenantctl edit NAME"
            }
        }
    }
}
