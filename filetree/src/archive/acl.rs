//! POSIX access control lists: the text that archives have, and the bytes that the kernel takes.
//!
//! The text is that of acl(5), with lines or commas between entries, and with a number behind the permissions where
//! star or libarchive wrote it. The bytes are those of `include/uapi/linux/posix_acl_xattr.h`.

use super::Reason;

/// Version of the bytes.
const VERSION: u32 = 2;
/// Most bytes of an attribute, see xattr(7).
const MAX_BYTES: usize = 64 << 10;

/// The subject of an entry, in the order that the kernel expects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The file's owner.
    Owner,
    /// A user.
    User(Id),
    /// The file's group.
    OwningGroup,
    /// A group.
    Group(Id),
    /// The most that users and groups get.
    Mask,
    /// All others.
    Other,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// Its number.
    Number(u64),
    /// Its name where the archive was made.
    Name(String),
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<(Who, u16)>);

impl Acl {
    /// Name of the attribute that holds the list of a file.
    pub const ACCESS: &str = "system.posix_acl_access";
    /// Name of the attribute that holds the list that new files in a directory get.
    pub const DEFAULT: &str = "system.posix_acl_default";

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Reason::Acl`].
    pub fn from_text(text: &[u8]) -> Result<Self, Reason> {
        let text = std::str::from_utf8(text).map_err(|_| Reason::Acl("it is not text"))?;
        let mut entries = Vec::new();
        // The effective right follows a `#`, to the end of the line.
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        for entry in lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty()) {
            entries.push(entry_of(entry)?);
        }
        Ok(Self(entries))
    }

    /// Reads the kernel's form.
    ///
    /// # Errors
    /// [`Reason::Acl`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        let bad = Reason::Acl("its binary form is not the kernel's");
        let Some((version, entries)) = bytes.split_first_chunk::<4>() else { return Err(bad) };
        if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
            return Err(bad);
        }
        let entry = |bytes: &[u8]| {
            let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let id = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let id = Id::Number(u64::from(id));
            let who = match short(0) {
                0x01 => Who::Owner,
                0x02 => Who::User(id),
                0x04 => Who::OwningGroup,
                0x08 => Who::Group(id),
                0x10 => Who::Mask,
                0x20 => Who::Other,
                _ => return Err(Reason::Acl("it has an entry of an unknown kind")),
            };
            Ok((who, short(2)))
        };
        entries.chunks_exact(8).map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// Whether any entry has a name but no number.
    pub fn has_names(&self) -> bool {
        self.0.iter().any(|(who, _)| matches!(who, Who::User(Id::Name(_)) | Who::Group(Id::Name(_))))
    }

    /// The kernel's form, with ids as stored on disk.
    ///
    /// # Errors
    /// What `user` and `group` return; a list that is too long.
    pub fn to_bytes(
        &self,
        user: impl Fn(&Id) -> Result<u32, Reason>,
        group: impl Fn(&Id) -> Result<u32, Reason>,
    ) -> Result<Vec<u8>, Reason> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (who, permissions) in &self.0 {
            let (tag, id) = match who {
                Who::Owner => (0x01, u32::MAX),
                Who::User(id) => (0x02, user(id)?),
                Who::OwningGroup => (0x04, u32::MAX),
                Who::Group(id) => (0x08, group(id)?),
                Who::Mask => (0x10, u32::MAX),
                Who::Other => (0x20, u32::MAX),
            };
            entries.push((tag, id, *permissions));
        }
        entries.sort_unstable();
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, id, permissions) in entries {
            bytes.extend(u16::to_le_bytes(tag));
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        if bytes.len() > MAX_BYTES {
            return Err(Reason::Acl("it is too long for an attribute"));
        }
        Ok(bytes)
    }
}

/// `[default:]KIND:[NAME]:PERMISSIONS[:NUMBER]`; for mask and other, `KIND:PERMISSIONS` is enough.
fn entry_of(text: &str) -> Result<(Who, u16), Reason> {
    let mut fields: Vec<&str> = text.split(':').map(str::trim).collect();
    if matches!(fields.first(), Some(&("default" | "d"))) {
        fields.remove(0);
    }
    if let [kind @ ("mask" | "m" | "other" | "o"), permissions] = fields[..] {
        fields = vec![kind, "", permissions];
    }
    let (kind, name, permissions, number) = match fields[..] {
        [kind, name, permissions] => (kind, name, permissions, ""),
        [kind, name, permissions, number] => (kind, name, permissions, number),
        _ => return Err(Reason::Acl("an entry is not KIND:NAME:PERMISSIONS")),
    };
    let id = || match (number.parse(), name.parse()) {
        (Ok(number), _) | (_, Ok(number)) => Id::Number(number),
        _ => Id::Name(name.chars().take(64).collect()),
    };
    let who = match (kind, name) {
        ("user" | "u", "") => Who::Owner,
        ("user" | "u", _) => Who::User(id()),
        ("group" | "g", "") => Who::OwningGroup,
        ("group" | "g", _) => Who::Group(id()),
        ("mask" | "m", "") => Who::Mask,
        ("other" | "o", "") => Who::Other,
        _ => return Err(Reason::Acl("an entry has an unknown tag: expected user, group, mask or other")),
    };
    let permissions = permissions.chars().try_fold(0, |bits, c| match c {
        'r' => Some(bits | 4),
        'w' => Some(bits | 2),
        'x' => Some(bits | 1),
        '-' => Some(bits),
        _ => None,
    });
    Ok((who, permissions.ok_or(Reason::Acl("permissions contain characters other than r, w, x and -"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(id: &Id) -> Result<u32, Reason> {
        match id {
            Id::Number(number) => Ok(u32::try_from(*number).unwrap()),
            Id::Name(name) => Err(Reason::AclName { kind: "user", name: name.clone() }),
        }
    }

    #[test]
    fn all_spellings_give_the_same_bytes() {
        let texts = [
            "user::rwx\nuser:7:r-x\ngroup::r-x\ngroup:4:r--\nmask::r-x\nother::---\n",
            "user::rwx,user:lisa:r-x:7,group::r-x,group:adm:r--:4,mask::r-x,other::---",
            "u::rwx\ng::r-x\nu:7:rx\t#effective:r-x\nm:rx\no:-\ng:4:r",
            "default:user::rwx,default:user:7:r-x,default:group::r-x,default:group:4:r--,d:mask::r-x,d:other::---",
        ];
        let of = |text: &str| Acl::from_text(text.as_bytes()).unwrap().to_bytes(same, same).unwrap();
        let bytes = of(texts[0]);
        assert_eq!(bytes.len(), 4 + 6 * 8);
        assert_eq!(bytes[4..20], [1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 7, 0, 0, 0]);
        for text in texts {
            assert_eq!(of(text), bytes, "{text}");
        }
        assert_eq!(Acl::from_bytes(&bytes).unwrap().to_bytes(same, same).unwrap(), bytes);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["user", "user::rwz", "people::rwx", "user:a:b:c:d", "mask:x:rwx", "\u{0}"] {
            assert!(Acl::from_text(text.as_bytes()).is_err(), "{text:?}");
        }
        for bytes in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01", b"\x02\0\0\0\x03\0\0\0\0\0\0\0"] {
            assert!(Acl::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        let named = Acl::from_text(b"user:lisa:rwx").unwrap();
        assert!(named.has_names() && named.to_bytes(same, same).is_err());
    }
}
