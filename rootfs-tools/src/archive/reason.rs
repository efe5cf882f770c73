//! Why an archive is refused, and what to do about it.

/// What is wrong with an entry, to be read behind its name: "the archive's entry "x" …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The checksum of a header is not that of its bytes.
    #[error("is followed by a damaged header: its checksum is wrong")]
    Checksum,
    /// A number of the header cannot be read.
    #[error("has a damaged header: its {0} is not a number that can be used")]
    Number(&'static str),
    /// The archive ends before the entry does.
    #[error("ends in the middle: the archive is cut off, or the first of several volumes")]
    Truncated,
    /// The end of the archive is not marked.
    #[error("is the last, and no end of the archive is marked behind it: the archive is cut off")]
    NoEnd,
    /// Bytes follow the end of the archive.
    #[error("is the last before the end of the archive, and more follows that end")]
    AfterEnd,
    /// A part of a file that began in another volume, or any entry of such an archive.
    #[error("is part of an archive of several volumes")]
    MultiVolume,
    /// What GNU tar writes with `--listed-incremental`.
    #[error("is part of an incremental archive, which holds only what has changed")]
    Incremental,
    /// A type of entry that is not known.
    #[error("is of the type {0}, which a root filesystem has no use for")]
    Type(String),
    /// A record of an extended header cannot be read.
    #[error("has a damaged extended header: {0}")]
    Extended(&'static str),
    /// A record of a global header that would change every file.
    #[error("is preceded by a global header that sets {0} of every entry")]
    Global(String),
    /// An extension that describes content in a way that is not read.
    #[error("uses the extension {0}, which is not read")]
    Extension(String),
    /// The map of a sparse file cannot be used.
    #[error("has a damaged map of its holes: {0}")]
    Sparse(&'static str),
    /// A name that is too long, empty or has a NUL in it.
    #[error("has a name that is empty, longer than 3072 bytes or holds a NUL")]
    Name,
    /// A component that is too long.
    #[error("has a name of more than 255 bytes")]
    LongName,
    /// `..` in a name.
    #[error("leads out of the image by \"..\"")]
    ParentDir,
    /// Too many levels.
    #[error("lies too many directories deep")]
    TooDeep,
    /// More entries than allowed.
    #[error("is one too many")]
    TooMany,
    /// More bytes than allowed.
    #[error("makes the image larger than an image may be")]
    TooLarge,
    /// Something other than a directory takes the place of the root.
    #[error("replaces the root directory")]
    Root,
    /// Something other than a directory takes the place of one with files in it.
    #[error("replaces a directory that has files in it")]
    NotEmpty,
    /// A file takes the place of one whose ACL is still to be set.
    #[error("was replaced under one of its names, and its access control list cannot be set")]
    Replaced,
    /// A link without a target.
    #[error("is a link to nowhere")]
    NoTarget,
    /// A hard link to a file that did not come before it.
    #[error("is a hard link to a file that is not there")]
    HardLink,
    /// The mark of a removed file.
    #[error("is a whiteout: it says that a file of a layer below is removed")]
    Whiteout,
    /// An attribute that only makes sense above another layer.
    #[error("has the attribute {0}: it is meant to lie over a layer below")]
    Layer(String),
    /// An owner that a tenant cannot have.
    #[error("belongs to the user or group {id}, or has rights for it, which is {}", unmapped(*.mapped))]
    Owner {
        /// The owner, group, user or group of an ACL, or root of a capability.
        id: u64,
        /// Whether owners are mapped.
        mapped: bool,
    },
    /// An access control list that cannot be read.
    #[error("has an access control list that cannot be read: {0}")]
    Acl(&'static str),
    /// An access control list names somebody who has no number.
    #[error("has an access control list for the {kind} {name:?}, whose number in the image is not certain")]
    AclName {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An access control list of another system.
    #[error("has an access control list of NFSv4, which Linux cannot keep")]
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
                "fetch or make the archive again; tar -tvf shows how far it can be read".to_owned()
            }
            Self::AfterEnd => {
                "archives that were joined are unpacked with tar -xif; import the directory then".to_owned()
            }
            Self::MultiVolume => "unpack it with tar -xMf; import the directory then".to_owned(),
            Self::Incremental => {
                "unpack the full archive and then each increment with tar --listed-incremental=/dev/null -xf; \
                 import the directory then"
                    .to_owned()
            }
            Self::Whiteout | Self::Layer(_) => {
                "import the merged tree: mount the layers with mount -t overlay, or have the tool that made them \
                 export the whole; if it belongs to containers inside, leave their storage out, e.g. tar \
                 --exclude=./var/lib/docker"
                    .to_owned()
            }
            Self::Owner { id, mapped: false } => match shift(*id) {
                Some(base) => format!(
                    "the owners of an unprivileged container are shifted; give the owner of its root directory, \
                     e.g. --idmap b:0:{base}:65536"
                ),
                None => "change its owner, or map it with --idmap".to_owned(),
            },
            Self::Owner { mapped: true, .. } => {
                "give a range of --idmap that holds it, as in the container's lxc.idmap".to_owned()
            }
            Self::AclName { .. } => {
                "make the archive with tar --xattrs and without --acls: then it holds numbers".to_owned()
            }
            Self::AclNfs => "make the archive without ACLs: bsdtar --no-acls, tar without --acls".to_owned(),
            Self::Extension(_) | Self::Sparse(_) => {
                "unpack it with the program that made it; import the directory then".to_owned()
            }
            _ => "nothing was imported; look into the archive with tar -tvf".to_owned(),
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
