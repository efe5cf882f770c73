//! Why an archive is refused, and what to do about it.

/// What is wrong with an entry, to be read behind its name: "the archive's entry "x" …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The checksum of a header is not that of its bytes.
    #[error("is followed by a damaged header: its checksum is wrong")]
    Checksum,
    /// A number of the header cannot be read.
    #[error("has a damaged header: its {0} is not a valid number")]
    Number(&'static str),
    /// The archive ends before the entry does.
    #[error("is incomplete: the archive is truncated, or is the first of several volumes")]
    Truncated,
    /// The end of the archive is not marked.
    #[error("is not followed by an end-of-archive marker: the archive is truncated")]
    NoEnd,
    /// Bytes follow the end of the archive.
    #[error("is followed by data after the end-of-archive marker")]
    AfterEnd,
    /// A part of a file that began in another volume, or any entry of such an archive.
    #[error("is part of a multi-volume archive")]
    MultiVolume,
    /// What GNU tar writes with `--listed-incremental`.
    #[error("is part of an incremental archive, which contains only changed files")]
    Incremental,
    /// A type of entry that is not known.
    #[error("has the type {0}, which cannot be part of a root filesystem")]
    Type(String),
    /// A record of an extended header cannot be read.
    #[error("has a damaged extended header: {0}")]
    Extended(&'static str),
    /// A record of a global header that would change every file.
    #[error("is preceded by a global header that sets {0} for every entry")]
    Global(String),
    /// An extension that describes content in a way that is not read.
    #[error("uses the extension {0}, which is not supported")]
    Extension(String),
    /// The map of a sparse file cannot be used.
    #[error("has a damaged sparse map: {0}")]
    Sparse(&'static str),
    /// A name that is too long, empty or has a NUL in it.
    #[error("has a name that is empty, longer than 3072 bytes or contains a NUL")]
    Name,
    /// A component that is too long.
    #[error("has a name component longer than 255 bytes")]
    LongName,
    /// `..` in a name.
    #[error("leaves the image through \"..\"")]
    ParentDir,
    /// Too many levels.
    #[error("is nested too deeply")]
    TooDeep,
    /// More entries than allowed.
    #[error("exceeds the maximum number of entries")]
    TooMany,
    /// More bytes than allowed.
    #[error("makes the image exceed its maximum size")]
    TooLarge,
    /// Something other than a directory takes the place of the root.
    #[error("replaces the root directory")]
    Root,
    /// Something other than a directory takes the place of one with files in it.
    #[error("replaces a directory that is not empty")]
    NotEmpty,
    /// A file takes the place of one whose ACL is still to be set.
    #[error("was replaced later in the archive, so its access control list cannot be set")]
    Replaced,
    /// A link without a target.
    #[error("is a link without a target")]
    NoTarget,
    /// A hard link to a file that did not come before it.
    #[error("is a hard link to a file that is not in the archive")]
    HardLink,
    /// The marker of a removed file.
    #[error("is a whiteout: it marks a file of a lower layer as removed")]
    Whiteout,
    /// An attribute that only has a meaning above another layer.
    #[error("has the attribute {0}: it belongs to an upper layer of an overlay")]
    Layer(String),
    /// An owner that a tenant cannot have.
    #[error("has an owner or an access control entry with the id {id}, which is {}", unmapped(*.mapped))]
    Owner {
        /// The owner, group, user or group of an ACL, or root of a capability.
        id: u64,
        /// Whether owners are mapped.
        mapped: bool,
    },
    /// An access control list that cannot be read.
    #[error("has an access control list that cannot be read: {0}")]
    Acl(&'static str),
    /// An access control list names a user or group whose number is unknown.
    #[error("has an access control list for the {kind} {name:?}, whose number in the image is unknown")]
    AclName {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An access control list of another system.
    #[error("has an NFSv4 access control list, which Linux cannot store")]
    AclNfs,
}

fn unmapped(mapped: bool) -> &'static str {
    if mapped { "in none of the ranges of --idmap" } else { "above 65535" }
}

impl Reason {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Truncated | Self::NoEnd | Self::Checksum => {
                "download or create the archive again; tar -tvf shows how far it is readable".to_owned()
            }
            Self::AfterEnd => {
                "unpack concatenated archives with tar -xif, then import the directory".to_owned()
            }
            Self::MultiVolume => "unpack it with tar -xMf, then import the directory".to_owned(),
            Self::Incremental => {
                "unpack the full archive and then each increment with tar --listed-incremental=/dev/null -xf, \
                 then import the directory"
                    .to_owned()
            }
            Self::Whiteout | Self::Layer(_) => {
                "import the merged tree: mount the layers with mount -t overlay, or export the image with the \
                 tool that made them; if the layers belong to nested containers, exclude their storage, e.g. tar \
                 --exclude=./var/lib/docker"
                    .to_owned()
            }
            Self::Owner { id, mapped: false } => match shift(*id) {
                Some(base) => format!(
                    "the owners look shifted, as in an unprivileged container; map them by the owner of its \
                     root directory, e.g. --idmap b:0:{base}:65536"
                ),
                None => "change its owner, or map it with --idmap".to_owned(),
            },
            Self::Owner { mapped: true, .. } => {
                "add an --idmap range that contains it, as in the container's lxc.idmap".to_owned()
            }
            Self::AclName { .. } => {
                "create the archive with tar --xattrs and without --acls, which records numbers".to_owned()
            }
            Self::AclNfs => "create the archive without ACLs: bsdtar --no-acls, or tar without --acls".to_owned(),
            Self::Extension(_) | Self::Sparse(_) => {
                "unpack it with the program that created it, then import the directory".to_owned()
            }
            _ => "nothing was imported; inspect the archive with tar -tvf".to_owned(),
        }
    }
}

/// Where the range of ids that holds `id` is likely to begin.
fn shift(id: u64) -> Option<u64> {
    match id {
        0..=65_535 => None,
        // The first ranges of /etc/subuid on Debian, each 65536 wide.
        100_000..=9_999_999 => Some(100_000 + (id - 100_000) / 65_536 * 65_536),
        _ => Some(id / 65_536 * 65_536),
    }
}
