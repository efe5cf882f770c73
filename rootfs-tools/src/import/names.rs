//! Numbers of users and groups that an access control list names.

use std::collections::HashMap;

use super::IdMap;
use crate::{
    archive::{Member, Reason, acl::Id},
    rootdir::RootDir,
};

/// Most names of either kind.
const MAX: usize = 1 << 16;

/// What names mean: where the archive was made, as the owners of its entries tell; else in the image.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Ids on disk.
    users: HashMap<Vec<u8>, u64>,
    groups: HashMap<Vec<u8>, u64>,
    /// Ids inside.
    passwd: HashMap<Vec<u8>, u32>,
    group: HashMap<Vec<u8>, u32>,
}

impl Names {
    /// Takes the names of an entry's owner and group.
    pub(super) fn learn(&mut self, member: &Member) {
        let learn = |names: &mut HashMap<Vec<u8>, u64>, name: &[u8], id: u64| {
            if !name.is_empty() && !names.contains_key(name) && names.len() < MAX {
                names.insert(name.to_owned(), id);
            }
        };
        learn(&mut self.users, &member.user_name, member.uid);
        learn(&mut self.groups, &member.group_name, member.gid);
    }

    /// Reads the image's own users and groups.
    pub(super) fn look_up(&mut self, root: &RootDir) {
        let read = |path: &str| -> HashMap<Vec<u8>, u32> {
            let text = root.text(path).ok().flatten().unwrap_or_default();
            let entry = |line: &str| {
                let mut fields = line.split(':');
                let (name, id) = (fields.next()?, fields.nth(1)?);
                Some((name.as_bytes().to_owned(), u32::from(id.parse::<u16>().ok()?)))
            };
            text.lines().filter_map(entry).collect()
        };
        self.passwd = read("etc/passwd");
        self.group = read("etc/group");
    }

    /// The user inside that an entry is about.
    pub(super) fn user(&self, id: &Id, idmap: &IdMap) -> Result<u32, Reason> {
        find(id, &self.users, &self.passwd, |id| idmap.user(id), idmap, "user")
    }

    /// The group inside that an entry is about.
    pub(super) fn group(&self, id: &Id, idmap: &IdMap) -> Result<u32, Reason> {
        find(id, &self.groups, &self.group, |id| idmap.group(id), idmap, "group")
    }
}

fn find(
    id: &Id,
    on_disk: &HashMap<Vec<u8>, u64>,
    inside: &HashMap<Vec<u8>, u32>,
    map: impl Fn(u64) -> Option<u32>,
    idmap: &IdMap,
    kind: &'static str,
) -> Result<u32, Reason> {
    let mapped = |id: u64| map(id).ok_or(Reason::Owner { id, mapped: !idmap.is_empty() });
    match id {
        Id::Number(number) => mapped(*number),
        Id::Name(name) => match (on_disk.get(name.as_bytes()), inside.get(name.as_bytes())) {
            (Some(number), _) => mapped(*number),
            (None, Some(id)) => Ok(*id),
            (None, None) => Err(Reason::AclName { kind, name: name.clone() }),
        },
    }
}
