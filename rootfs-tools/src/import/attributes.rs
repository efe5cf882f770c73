//! Which attributes a file of an image may have.

use std::{
    borrow::Cow,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path},
};

use super::IdMap;
use filetree::archive::{Kind, Member, Reason};

/// File capabilities, see capabilities(7).
pub(super) const CAPABILITY: &str = "security.capability";
/// Attributes that overlayfs interprets: such a file shows or hides a file of a lower layer.
const LAYERED: [&str; 5] = ["opaque", "redirect", "metacopy", "whiteout", "whiteouts"];

/// What happens to an attribute.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Keep<'a> {
    /// It is set, with this value.
    As(Cow<'a, [u8]>),
    /// It is left out.
    Not,
}

/// File capabilities and user attributes are kept; attributes that overlayfs or a security module interprets are not.
///
/// # Errors
/// A capability bound to the root of a user namespace that a tenant cannot have.
pub(super) fn keep<'a>(name: &OsStr, value: &'a [u8], kind: Kind, idmap: &IdMap) -> Result<Keep<'a>, Reason> {
    let bytes = name.as_bytes();
    let is_users = bytes.starts_with(b"user.") && !bytes.starts_with(b"user.overlay.");
    Ok(match kind {
        Kind::File if name == CAPABILITY => Keep::As(capability(value, idmap)?),
        Kind::File | Kind::Directory if is_users => Keep::As(value.into()),
        _ => Keep::Not,
    })
}

/// The bytes of `struct vfs_ns_cap_data`, whose last four are the root of the user namespace that it is valid in.
const REVISION_3: u32 = 0x0300_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION: u32 = 0xff00_0000;

/// A capability bound to the tenant's root.
pub(super) fn capability<'a>(value: &'a [u8], idmap: &IdMap) -> Result<Cow<'a, [u8]>, Reason> {
    let Ok(bytes) = <[u8; 24]>::try_from(value) else { return Ok(value.into()) };
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if word(0) & REVISION != REVISION_3 {
        return Ok(value.into());
    }
    let id = u64::from(word(20));
    let root = idmap.user(id).ok_or(Reason::Owner { id, mapped: !idmap.is_empty() })?;
    let mut mapped = bytes.to_vec();
    if root == 0 {
        // Without a root id it is valid in every user namespace that sees the file.
        mapped[..4].copy_from_slice(&(word(0) & !REVISION | REVISION_2).to_le_bytes());
        mapped.truncate(20);
    } else {
        mapped[20..].copy_from_slice(&root.to_le_bytes());
    }
    Ok(mapped.into())
}

/// Refuses entries that are not files but markers for a lower layer: as files they would be wrong.
///
/// # Errors
/// [`Reason::Whiteout`], [`Reason::Layer`].
pub(super) fn check_layer(path: &Path, member: &Member) -> Result<(), Reason> {
    let is_mark = |component: Component<'_>| component.as_os_str().as_bytes().starts_with(b".wh.");
    if path.components().any(is_mark) || member.kind == Kind::Char(0, 0) {
        return Err(Reason::Whiteout);
    }
    member.attributes.iter().try_for_each(|(name, _)| check_name(name))
}

/// Refuses an attribute that overlayfs would interpret.
///
/// # Errors
/// [`Reason::Layer`].
pub(super) fn check_name(name: &OsStr) -> Result<(), Reason> {
    let text = name.to_string_lossy();
    let obeyed = text.strip_prefix("trusted.overlay.").or_else(|| text.strip_prefix("user.overlay."));
    match obeyed {
        Some(word) if LAYERED.contains(&word) => Err(Reason::Layer(text.into_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_of_a_shifted_root_becomes_one_of_the_tenants() {
        let mut shifted = [0; 24];
        shifted[..4].copy_from_slice(&(REVISION_3 | 1).to_le_bytes());
        shifted[4] = 0x20;
        shifted[20..].copy_from_slice(&100_000_u32.to_le_bytes());
        let idmap = IdMap::new(vec!["b:0:100000:65536".parse().unwrap()]).unwrap();
        let mapped = capability(&shifted, &idmap).unwrap();
        assert_eq!((mapped.len(), mapped[..5].to_vec()), (20, vec![1, 0, 0, 2, 0x20]));
        assert!(matches!(
            capability(&shifted, &IdMap::default()),
            Err(Reason::Owner { id: 100_000, mapped: false })
        ));
        shifted[20..].copy_from_slice(&100_007_u32.to_le_bytes());
        assert_eq!(capability(&shifted, &idmap).unwrap()[20..], [7, 0, 0, 0]);
        let plain = [1, 0, 0, 2, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(capability(&plain, &idmap).unwrap()[..], plain);
    }

    #[test]
    fn only_what_does_no_harm_is_kept() {
        for (name, kept) in [
            ("user.mine", true),
            (CAPABILITY, true),
            ("user.overlay.origin", false),
            ("trusted.x", false),
            ("security.selinux", false),
            ("security.ima", false),
            ("system.nfs4_acl", false),
        ] {
            let found = keep(OsStr::new(name), b"v", Kind::File, &IdMap::default()).unwrap();
            assert_eq!(found != Keep::Not, kept, "{name}");
        }
        assert_eq!(keep(OsStr::new("user.mine"), b"v", Kind::Symlink, &IdMap::default()), Ok(Keep::Not));
        for name in ["trusted.overlay.opaque", "user.overlay.metacopy", "trusted.overlay.redirect"] {
            assert!(check_name(OsStr::new(name)).is_err(), "{name}");
        }
        check_name(OsStr::new("trusted.overlay.origin")).unwrap();
    }
}
