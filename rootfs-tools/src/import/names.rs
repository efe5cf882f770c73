//! Numbers of the users and groups named in access control lists.
//!
//! tar(1) writes names, even with `--numeric-owner`: those of the machine where it ran, which may have been this one,
//! or the container itself. Names that mean the same number on both, names whose number the archive contains, and names
//! with the same number on every Debian are resolved; all others are refused.

use std::{collections::HashMap, path::Path};

use filetree::archive::{Member, Reason, acl::Id};

use super::IdMap;
use crate::rootdir::RootDir;

/// Maximum number of names of either kind.
const MAX: usize = 1 << 16;
/// Ids below this are the same on every Debian (Debian Policy, 9.2.2).
const GLOBAL: u32 = 100;

/// What names mean.
#[derive(Debug, Default)]
pub(super) struct Names {
    users: Meanings,
    groups: Meanings,
}

/// What names of one kind mean.
#[derive(Debug, Default)]
struct Meanings {
    /// Ids on disk, from the owners of entries.
    archive: HashMap<Vec<u8>, u64>,
    /// Ids in the image.
    image: HashMap<Vec<u8>, u32>,
    /// Ids on this machine.
    host: HashMap<Vec<u8>, u32>,
}

impl Names {
    /// Takes the names of an entry's owner and group.
    pub(super) fn learn(&mut self, member: &Member) {
        self.users.learn(&member.user_name, member.uid);
        self.groups.learn(&member.group_name, member.gid);
    }

    /// Reads users and groups of the image and of this machine, whose root directory is `host`.
    pub(super) fn look_up(&mut self, image: &RootDir, host: &Path) {
        self.users.look_up(image, host, "etc/passwd");
        self.groups.look_up(image, host, "etc/group");
    }

    /// The user inside that an entry names.
    pub(super) fn user(&self, id: &Id, idmap: &IdMap) -> Result<u32, Reason> {
        self.users.find(id, |id| idmap.user(id), idmap, "user")
    }

    /// The group inside that an entry names.
    pub(super) fn group(&self, id: &Id, idmap: &IdMap) -> Result<u32, Reason> {
        self.groups.find(id, |id| idmap.group(id), idmap, "group")
    }
}

impl Meanings {
    fn learn(&mut self, name: &[u8], id: u64) {
        if !name.is_empty() && !self.archive.contains_key(name) && self.archive.len() < MAX {
            self.archive.insert(name.to_owned(), id);
        }
    }

    fn look_up(&mut self, image: &RootDir, host: &Path, file: &str) {
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            Some((name.as_bytes().to_owned(), id.parse::<u32>().ok()?))
        };
        let of = |root: &RootDir| {
            let text = root.text(file).ok().flatten().unwrap_or_default();
            text.lines().filter_map(entry).collect()
        };
        self.image = of(image);
        self.host = RootDir::open(host).map(|host| of(&host)).unwrap_or_default();
    }

    fn find(
        &self,
        id: &Id,
        map: impl Fn(u64) -> Option<u32>,
        idmap: &IdMap,
        kind: &'static str,
    ) -> Result<u32, Reason> {
        let mapped = |id: u64| map(id).ok_or(Reason::Owner { id, mapped: !idmap.is_empty() });
        let name = match id {
            Id::Number(number) => return mapped(*number),
            Id::Name(name) => name,
        };
        if let Some(number) = self.archive.get(name.as_bytes()) {
            return mapped(*number);
        }
        let (image, host) = (self.image.get(name.as_bytes()), self.host.get(name.as_bytes()));
        match (image, host) {
            (Some(id), None) if u16::try_from(*id).is_ok() => Ok(*id),
            (Some(id), Some(other)) if id == other && u16::try_from(*id).is_ok() => Ok(*id),
            (None, Some(id)) if *id < GLOBAL => Ok(*id),
            _ => Err(Reason::AclName { kind, name: name.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_number_if_all_that_know_it_agree() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        for (root, text) in [
            (&host, "a:x:1:\nb:x:2:\n4:x:4:\nf:x:100:\n"),
            (&dir.path().join("image"), "a:x:1:\nb:x:7:\nc:x:3:\n"),
        ] {
            std::fs::create_dir_all(root.join("etc")).unwrap();
            std::fs::write(root.join("etc/group"), text).unwrap();
        }
        let mut names = Names::default();
        names.look_up(&RootDir::open(&dir.path().join("image")).unwrap(), &host);
        let group =
            |names: &Names, name: &str| names.group(&Id::Name(name.to_owned()), &IdMap::default()).ok();
        let found = ["a", "b", "c", "4", "e", "f"].map(|name| group(&names, name));
        assert_eq!(found, [Some(1), None, Some(3), Some(4), None, None]);
        names.groups.learn(b"b", 2);
        assert_eq!(group(&names, "b"), Some(2));
    }
}
