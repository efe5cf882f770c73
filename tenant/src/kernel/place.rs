//! Why a mount of a tenant has no place in its root.

/// Why a mount of a tenant has no place in its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The directory is missing, and cannot be made.
    #[error("the directory does not exist in the image, and its parent is read-only")]
    Absent,
    /// A link is on the way: the tenant may have put it there.
    #[error("its path contains a symbolic link, and links are not followed")]
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
                "mount it below a writable directory of the tenant, or create the directory in the image: tenantctl \
                 plan NAME"
            }
            Self::Link => "use the path without links in the [dirs] table: tenantctl edit NAME",
            Self::NotDirectory => "a mount needs a directory; correct the [dirs] table: tenantctl edit NAME",
        }
    }
}
