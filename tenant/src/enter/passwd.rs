//! Users of a tenant: its own `/etc/passwd` and `/etc/group`, read by a process that is already
//! inside. See passwd(5) and group(5).

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
};

/// Most bytes of a file that are looked at.
const MAX_FILE: u64 = 4 << 20;
/// Most groups a user can be in here; the kernel's limit is 65,536.
const MAX_GROUPS: usize = 1024;

/// A user of the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
    pub(super) shell: String,
}

impl User {
    /// Root as every system has it, for a tenant whose files say nothing.
    fn root() -> Self {
        Self { name: "root".into(), uid: 0, gid: 0, home: "/root".into(), shell: "/bin/sh".into() }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        let or =
            |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        Some(Self {
            name: name.to_owned(),
            uid: uid.parse().ok().filter(|uid| *uid < 65_536)?,
            gid: gid.parse().ok().filter(|gid| *gid < 65_536)?,
            home: or(home, "/"),
            shell: or(shell, "/bin/sh"),
        })
    }
}

/// Finds a user by name, or by number, in the text of `/etc/passwd`. Root is always there.
pub(super) fn find(passwd: &str, wanted: &str) -> Option<User> {
    let by_name = passwd.lines().filter_map(User::parse).find(|user| user.name == wanted);
    let number = wanted.parse::<u32>().ok().filter(|uid| *uid < 65_536);
    let by_number = || passwd.lines().filter_map(User::parse).find(|user| Some(user.uid) == number);
    by_name.or_else(by_number).or_else(|| match (wanted, number) {
        ("root", _) | (_, Some(0)) => Some(User::root()),
        (_, Some(uid)) => {
            Some(User { name: uid.to_string(), uid, gid: uid, home: "/".into(), shell: "/bin/sh".into() })
        }
        _ => None,
    })
}

/// The groups of a user in the text of `/etc/group`, its own first.
pub(super) fn groups(group: &str, user: &User) -> Vec<u32> {
    let mut groups = vec![user.gid];
    for line in group.lines() {
        let mut fields = line.split(':').skip(2);
        let (Some(gid), Some(members)) = (fields.next(), fields.next()) else { continue };
        let Some(gid) = gid.parse().ok().filter(|gid| *gid < 65_536) else { continue };
        let is_member = members.split(',').any(|member| member == user.name);
        if is_member && !groups.contains(&gid) && groups.len() < MAX_GROUPS {
            groups.push(gid);
        }
    }
    groups
}

/// Reads a file of the tenant; what is not a plain file of a sane size counts as empty.
pub(super) fn read(path: &str) -> io::Result<String> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nbad line\nann:x:1000:1000:A,,,:/home/ann:\nbig:x:70000:1:::\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,ann\nann:x:1000:\nhuge:x:99999:ann\nadm2:x:4:ann\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(find(PASSWD, "root").unwrap().shell, "/bin/bash");
        let ann = find(PASSWD, "ann").unwrap();
        assert_eq!((ann.uid, ann.shell.as_str()), (1000, "/bin/sh"));
        assert_eq!(find(PASSWD, "1000").unwrap(), ann);
        assert_eq!(find(PASSWD, "12").unwrap().gid, 12);
        assert_eq!(find("", "root"), Some(User::root()));
        assert_eq!(find("", "0"), Some(User::root()));
        assert!(find(PASSWD, "nobody").is_none());
        assert!(find(PASSWD, "big").is_none());
        assert!(find(PASSWD, "70000").is_none());
    }

    #[test]
    fn groups_come_from_inside_and_stay_in_range() {
        assert_eq!(groups(GROUP, &find(PASSWD, "ann").unwrap()), [1000, 4]);
        assert_eq!(groups(GROUP, &find(PASSWD, "root").unwrap()), [0]);
    }
}
