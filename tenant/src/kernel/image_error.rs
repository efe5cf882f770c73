//! Why an image cannot be mounted.

/// Why an image cannot be mounted, where more is known than the kernel's error.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// There is no veritysetup(8).
    #[error("veritysetup is not installed")]
    NotInstalled,
    /// What veritysetup says first.
    #[error("veritysetup: {0}")]
    Said(String),
    /// It is a plain file, and neither the kernel nor the filesystem below it mounts those.
    #[error("the kernel cannot mount a file from this filesystem")]
    NoFile,
    /// What was read is no filesystem, or not what was published.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl ImageError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotInstalled => "install it: apt-get install cryptsetup-bin",
            Self::Said(_) => "load dm-verity: modprobe dm-verity; or publish the image without --verity",
            Self::NoFile => {
                "use Linux 6.12 or newer with CONFIG_EROFS_FS_BACKED_BY_FILE, and an image store on ext4, xfs or btrfs \
                 (not tmpfs); or publish the image with --format tree"
            }
            Self::Damaged(_) => {
                "find the damaged versions: rootfsctl verify; then publish the image again and move its tenants to the new version"
            }
        }
    }
}
