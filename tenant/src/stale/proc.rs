//! What `/proc` says, as data: maps, mounts, status and command lines; see proc(5).

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::model::mountinfo::{self, Device, unescaped};

/// Part of a file that a process has in memory and may execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    /// Where: the name of a link in `/proc/PID/map_files`.
    pub range: &'a str,
    /// The filesystem.
    pub device: Device,
    /// The inode in it.
    pub inode: u64,
    /// How its mount namespace calls it; a file of a mount that is not attached any more, from the root of that mount.
    /// Made of a name that a tenant may have chosen.
    pub path: PathBuf,
}

/// The files in a text of `/proc/PID/maps` from which code is executed. What is only read is no code: a locale archive,
/// a cache, a table.
pub(super) fn executable(maps: &[u8]) -> impl Iterator<Item = Mapping<'_>> {
    maps.split(|byte| *byte == b'\n').filter_map(mapping)
}

fn mapping(line: &[u8]) -> Option<Mapping<'_>> {
    let (range, rest) = word(line)?;
    let (permissions, rest) = word(rest)?;
    if permissions.get(2) != Some(&b'x') {
        return None;
    }
    let (_offset, rest) = word(rest)?;
    let (device, rest) = word(rest)?;
    let (inode, path) = word(rest)?;
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    let inode: u64 = std::str::from_utf8(inode).ok()?.parse().ok()?;
    if inode == 0 {
        return None;
    }
    Some(Mapping {
        range: std::str::from_utf8(range).ok()?,
        device: Device { major: hex(major)?, minor: hex(minor)? },
        inode,
        path: unescaped(path),
    })
}

/// The first word of a line, and what is behind it and the blanks.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    (!word.is_empty()).then_some((word, &rest[blanks..]))
}

/// An overlay that is mounted at the root or at a directory of the top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopOverlay {
    /// Its filesystem.
    pub device: Device,
    /// Where.
    pub at: PathBuf,
    /// Whether it cannot be written to there.
    pub is_read_only: bool,
}

/// The overlays of a text of `/proc/PID/mountinfo` that a tenant's directories are.
pub(super) fn top_overlays(mountinfo: &[u8]) -> Vec<TopOverlay> {
    let mounts = mountinfo::mounts(mountinfo)
        .filter(|mount| mount.kind == b"overlay" && mount.at.components().count() <= 2);
    let top = |mount: mountinfo::Mount<'_>| TopOverlay {
        device: mount.shows.device,
        is_read_only: mount.is_read_only(),
        at: mount.at,
    };
    mounts.map(top).collect()
}

/// A field of a text of `/proc/PID/status`.
pub(super) fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"))
}

/// The arguments of a process, from `/proc/PID/cmdline`.
pub(super) fn arguments(cmdline: &[u8]) -> Vec<&Path> {
    let text = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    text.split(|byte| *byte == 0).map(|word| Path::new(std::ffi::OsStr::from_bytes(word))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
5628b90c9000-5628b90cb000 r--p 00000000 00:28 5431479                    /bin/sleep\n\
5628b90cb000-5628b90d0000 r-xp 00002000 00:28 5431479                    /bin/sleep\n\
7f0000000000-7f0000010000 r--s 00000000 00:28 77   /lib/locale/locale-archive\n\
7f0000020000-7f0000030000 rwxp 00000000 00:00 0 \n\
7f0000040000-7f0000050000 r-xs 00000000 00:01 1029   /memfd:jit (deleted)\n\
7f0000060000-7f0000070000 r-xp 00000000 00:28 99   /lib/a b\\012c\n\
7ffc0f5d0000-7ffc0f5d2000 r-xp 00000000 00:00 0                          [vdso]\n";

    #[test]
    fn code_is_what_a_process_may_execute_of_a_file() {
        let found: Vec<_> = executable(MAPS).map(|map| (map.inode, map.path)).collect();
        let expected = [(5_431_479, "/bin/sleep"), (1029, "/memfd:jit (deleted)"), (99, "/lib/a b\nc")];
        assert_eq!(found, expected.map(|(inode, path)| (inode, PathBuf::from(path))));
        let first = executable(MAPS).next().unwrap();
        assert_eq!(first.range, "5628b90cb000-5628b90d0000");
        assert_eq!(first.device, Device { major: 0, minor: 40 });
    }

    #[test]
    fn the_directories_of_a_tenant_are_overlays_of_the_top_level() {
        let text = b"\
410 409 0:52 / / ro,relatime shared:1 - tmpfs tmpfs ro\n\
411 410 0:40 / /usr ro,nodev,relatime shared:2 - overlay overlay ro,lowerdir=/x\n\
412 410 0:41 / /etc rw,nodev,relatime shared:3 master:9 - overlay overlay rw\n\
413 410 0:42 / /var/lib/inner rw,relatime - overlay overlay rw\n\
414 410 254:0 /x /home rw,relatime - ext4 /dev/vda rw\n\n";
        let found: Vec<_> =
            top_overlays(text).into_iter().map(|top| (top.device.minor, top.at, top.is_read_only)).collect();
        assert_eq!(found, [(40, "/usr".into(), true), (41, "/etc".into(), false)]);
    }

    #[test]
    fn nothing_in_a_line_makes_a_reader_fail() {
        for line in [&b""[..], b"a", b"a b", b"- - - - - - -", b"1-2 r-xp 0 00 1 /x", b"1-2 r-xp 0 0:0 x"] {
            assert_eq!(executable(line).count(), 0);
            assert_eq!(top_overlays(line), []);
        }
        assert_eq!(field("Name:\tx\nPPid:\t7\n", "PPid"), Some("7"));
        assert_eq!(field("Name:\tx\n", "Nam"), None);
        assert_eq!(arguments(b"perl\0-w\0/usr/bin/x\0"), ["perl", "-w", "/usr/bin/x"].map(Path::new));
    }
}
