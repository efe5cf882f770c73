//! A tree with all that an archive can hold, and what can be told of a tree.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    os::{
        fd::AsFd as _,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, Timespec, Timestamps};

use crate::cases::Holds;

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A file of `size` bytes whose parts, given by offset and length, are no holes.
pub(crate) fn sparse(path: &Path, size: u64, parts: impl IntoIterator<Item = (u64, usize)>) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, length) in parts {
        file.write_all_at(&vec![b'x'; length], offset).unwrap();
    }
}

pub(crate) fn node(dir: &Path, name: &str, kind: FileType, device: u64) {
    let dir = File::open(dir).unwrap();
    rustix::fs::mknodat(&dir, name, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// An ACL of the kernel: owner, user `lp` (7), group, group `adm` (4), mask, others.
pub(crate) fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1, 7, none), (2, 5, 7), (4, 5, none), (8, 4, 4), (16, 5, none), (32, 0, none)];
    let entry = |(tag, bits, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [&2_u32.to_le_bytes()[..], &entries.map(entry).concat()].concat()
}

/// `cap_net_raw=ep`
pub(crate) const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A root filesystem with everything that the format holds.
pub(crate) fn make(root: &Path, holds: Holds) {
    for (path, content) in [
        ("sbin/init", &b"#!/bin/sh\n"[..]),
        ("etc/passwd", b"root:x:0:0::/:/bin/sh\nlp:x:7:7::/:/bin/sh\n"),
        ("etc/group", b"root:x:0:\nadm:x:4:\n"),
        ("etc/empty", b""),
        ("var/511", &[7; 511]),
        ("var/512", &[7; 512]),
        ("var/513", &[7; 513]),
        ("var/large", &[7; 200_000]),
        ("odd/ blank ", b"1"),
        ("odd/new\nline", b"2"),
        ("odd/back\\slash\t", b"3"),
        ("odd/-rf", b"4"),
        ("odd/a=b%3Dc", b"5"),
    ] {
        write(&root.join(path), content);
    }
    write(&root.join(OsString::from_vec(b"odd/\xff\xfe".to_vec())), "6");
    fs::create_dir_all(root.join("srv/empty")).unwrap();
    fs::hard_link(root.join("var/512"), root.join("var/512b")).unwrap();
    fs::hard_link(root.join("var/512"), root.join("etc/512c")).unwrap();
    symlink("../sbin/init", root.join("etc/link")).unwrap();
    symlink("/proc/self/mounts", root.join("etc/mtab")).unwrap();
    symlink("nowhere", root.join("etc/dangling")).unwrap();
    sparse(&root.join("var/hole"), 8 << 20, [(3_000_000, 5)]);
    sparse(&root.join("var/hole-first"), 100_000, [(90_000, 10_000)]);
    sparse(&root.join("var/hole-last"), 100_000, [(0, 10_000)]);
    sparse(&root.join("var/only-hole"), 1 << 20, []);
    sparse(&root.join("var/holes"), 4 << 20, (0..200).map(|at| (at * 16_384, 4096)));
    if holds.long {
        let deep = root.join("long").join("d".repeat(120)).join("e".repeat(255)).join("f".repeat(100));
        write(&deep.join("g".repeat(200)), "long");
        fs::hard_link(deep.join("g".repeat(200)), root.join("long/link")).unwrap();
        symlink("t".repeat(300), root.join("long/symlink")).unwrap();
        sparse(&deep.join("s".repeat(150)), 1 << 20, [(500_000, 100)]);
        write(&root.join("long").join("n".repeat(100)), "exactly 100");
    }
    if holds.nodes {
        node(&root.join("var"), "fifo", FileType::Fifo, 0);
        fs::create_dir(root.join("dev")).unwrap();
        node(&root.join("dev"), "null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        node(&root.join("dev"), "sda", FileType::BlockDevice, rustix::fs::makedev(8, 300));
        fs::hard_link(root.join("dev/null"), root.join("dev/nil")).unwrap();
    }
    describe(root, holds);
}

/// Owners, attributes, modes, times.
pub(crate) fn describe(root: &Path, holds: Holds) {
    for (path, uid, gid) in
        [("etc/empty", 7, 4), ("var/512", 65_535, 65_534), ("etc/link", 1000, 100), ("srv", 33, 33)]
    {
        std::os::unix::fs::lchown(root.join(path), Some(uid), Some(gid)).unwrap();
    }
    if holds.attributes {
        for (path, name, value) in [
            ("etc/passwd", "user.plain", &b"value"[..]),
            ("etc/passwd", "user.lines", b"a\nb=c\n\n12 x=y\n"),
            ("etc/passwd", "user.bytes", b"\0\xff\n\0"),
            ("etc/passwd", "user.empty", b""),
            ("etc", "user.dir", b"x"),
            ("sbin/init", "security.capability", &CAPABILITY),
            ("etc/passwd", "trusted.mine", b"left out"),
            ("etc/empty", "system.posix_acl_access", &acl()),
            ("srv", "system.posix_acl_access", &acl()),
            ("srv", "system.posix_acl_default", &acl()),
        ] {
            xattr::set(root.join(path), name, value).unwrap();
        }
    }
    for (path, mode) in [
        ("sbin/init", 0o6755),
        ("var/513", 0o000),
        ("srv", 0o2750),
        ("srv/empty", 0o1777),
        ("odd", 0o555),
        ("", 0o711),
    ] {
        fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap();
    }
    round_times(root, holds.grain);
    let nanoseconds = 623_456_789 / holds.grain * holds.grain;
    let oldest = if holds.old { -1_000_000_001 } else { 1 };
    // The root last: its own time is the last that is set.
    for (path, seconds) in [
        ("etc/passwd", 1_000_000_000),
        ("etc/empty", oldest),
        ("var/511", 4_102_444_800),
        ("etc/mtab", 999_999_999),
        ("srv/empty", 5),
        ("srv", 1_600_000_000),
        ("odd", 1_600_000_001),
        ("", 1_600_000_002),
    ] {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        let at = rustix::fs::CWD;
        rustix::fs::utimensat(at, root.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Rounds all times down.
pub(crate) fn round_times(root: &Path, grain: i64) {
    for entry in rootfs_tools::tree::walk(root).unwrap() {
        let path = root.join(&entry.path);
        let meta = fs::symlink_metadata(&path).unwrap();
        let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() / grain * grain };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// All that can be told of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) size: u64,
    pub(crate) device: u64,
    /// First of the names of the same file.
    pub(crate) same_as: PathBuf,
    pub(crate) target: Option<PathBuf>,
    pub(crate) attributes: BTreeMap<OsString, Vec<u8>>,
    pub(crate) content: Vec<u8>,
    /// Where data begins and ends.
    pub(crate) data: Vec<(u64, u64)>,
}

/// What lies below `root`, by path; `keep` chooses the attributes.
pub(crate) fn look(root: &Path, keep: impl Fn(&OsStr) -> bool) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    for entry in rootfs_tools::tree::walk(root).unwrap() {
        let path = root.join(&entry.path);
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let same_as = inodes.entry(meta.ino()).or_insert_with(|| entry.path.clone()).clone();
        let name = match () {
            () if kind.is_dir() => "directory",
            () if kind.is_file() => "file",
            () if kind.is_symlink() => "link",
            () if kind.is_fifo() => "pipe",
            () if kind.is_char_device() => "character device",
            () if kind.is_block_device() => "block device",
            () => "other",
        };
        let seen = Seen {
            kind: name,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            size: if kind.is_file() { meta.size() } else { 0 },
            device: meta.rdev(),
            same_as,
            target: fs::read_link(&path).ok(),
            attributes: entry.xattrs.into_iter().filter(|(name, _)| keep(name)).collect(),
            content: if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() },
            data: if kind.is_file() { data(&path) } else { Vec::new() },
        };
        found.insert(entry.path, seen);
    }
    found
}

pub(crate) fn data(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Ok(start) = rustix::fs::seek(file.as_fd(), SeekFrom::Data(at)) {
        let end = rustix::fs::seek(file.as_fd(), SeekFrom::Hole(start)).unwrap();
        parts.push((start, end));
        at = end;
    }
    parts
}

/// What an image keeps.
pub(crate) fn kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"user.") || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

pub(crate) fn everything(_: &OsStr) -> bool {
    true
}

/// Compares two trees, and says of the first that differs what does.
pub(crate) fn assert_same(what: &str, ours: &BTreeMap<PathBuf, Seen>, other: &BTreeMap<PathBuf, Seen>) {
    let names = |tree: &BTreeMap<PathBuf, Seen>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(other), "{what}: other files");
    for (path, seen) in ours {
        let expected = &other[path];
        if seen == expected {
            continue;
        }
        assert_eq!(seen.content.len(), expected.content.len(), "{what}: {path:?}: length");
        assert!(seen.content == expected.content, "{what}: {path:?}: content");
        let short = |seen: &Seen| format!("{:#?}", Seen { content: Vec::new(), ..copy(seen) });
        panic!("{what}: {path:?} is {} and should be {}", short(seen), short(expected));
    }
}

pub(crate) fn copy(seen: &Seen) -> Seen {
    Seen {
        same_as: seen.same_as.clone(),
        target: seen.target.clone(),
        attributes: seen.attributes.clone(),
        content: Vec::new(),
        data: seen.data.clone(),
        ..*seen
    }
}

/// Device nodes are left out of images.
pub(crate) fn without_devices(mut tree: BTreeMap<PathBuf, Seen>) -> BTreeMap<PathBuf, Seen> {
    tree.retain(|_, seen| !seen.kind.ends_with("device"));
    tree
}
