//! Archives of every format, made by the programs that people make them with, imported here and extracted by GNU tar:
//! file by file the same. What is not read is refused with the entry's name.
//!
//! Needs root, tar, bsdtar (libarchive-tools) and python3.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::Read as _,
    os::{
        fd::AsFd as _,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use rootfs_tools::{
    archive::Reason,
    import::{self, ImportError, Options, Report},
    progress::Progress,
};
use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, Timespec, Timestamps};

/// What an archive can hold, or what a program puts into it.
#[derive(Clone, Copy)]
struct Holds {
    /// Names and links of more than 100 bytes.
    long: bool,
    /// Pipes and device nodes.
    nodes: bool,
    /// Times before 1970.
    old: bool,
    /// How fine times are, nanoseconds.
    grain: i64,
    /// Extended attributes and ACLs.
    attributes: bool,
    /// Holes.
    holes: bool,
}

const SECOND: i64 = 1_000_000_000;

const V7: Holds =
    Holds { long: false, nodes: false, old: false, grain: SECOND, attributes: false, holes: false };
const USTAR: Holds = Holds { nodes: true, ..V7 };
const GNU: Holds = Holds { long: true, old: true, ..USTAR };
const POSIX: Holds = Holds { grain: 1, ..GNU };

/// What programs of archives are called with, and what comes of it.
struct Case {
    program: &'static str,
    options: &'static [&'static str],
    holds: Holds,
}

const fn tar(options: &'static [&'static str], holds: Holds) -> Case {
    Case { program: "tar", options, holds }
}

const fn bsdtar(options: &'static [&'static str], holds: Holds) -> Case {
    Case { program: "bsdtar", options, holds }
}

const fn python(options: &'static [&'static str], holds: Holds) -> Case {
    Case { program: "python3", options, holds }
}

const CASES: &[Case] = &[
    tar(&["--format=v7"], V7),
    tar(&["--format=ustar"], USTAR),
    tar(&["--format=oldgnu"], GNU),
    tar(&["--format=oldgnu", "--sparse"], Holds { holes: true, ..GNU }),
    tar(&["--format=gnu"], GNU),
    tar(&["--format=gnu", "--sparse", "--hole-detection=raw"], Holds { holes: true, ..GNU }),
    tar(&["--format=gnu", "--label=backup", "--numeric-owner"], GNU),
    tar(&["--format=posix"], POSIX),
    tar(&["--format=posix", "--label=backup", "--pax-option=comment=made by hand,hdrcharset=BINARY"], POSIX),
    tar(
        &["--format=posix", "--pax-option=delete=mtime,delete=atime,delete=ctime"],
        Holds { grain: SECOND, old: false, ..POSIX },
    ),
    tar(&["--format=posix", "--sparse", "--sparse-version=0.0"], Holds { holes: true, ..POSIX }),
    tar(&["--format=posix", "--sparse", "--sparse-version=0.1"], Holds { holes: true, ..POSIX }),
    tar(&["--format=posix", "--sparse", "--sparse-version=1.0"], Holds { holes: true, ..POSIX }),
    tar(
        &["--format=posix", "--sparse", "--xattrs", "--xattrs-include=*", "--acls", "--selinux"],
        Holds { holes: true, attributes: true, ..POSIX },
    ),
    // ACLs by name although owners have none, and by number as attributes.
    tar(&["--format=posix", "--xattrs", "--acls", "--numeric-owner"], Holds { attributes: true, ..POSIX }),
    tar(&["--format=posix", "--xattrs", "--xattrs-include=*"], Holds { attributes: true, ..POSIX }),
    bsdtar(&["--format=v7", "--no-xattrs", "--no-acls"], V7),
    bsdtar(&["--format=ustar", "--no-xattrs", "--no-acls"], USTAR),
    bsdtar(&["--format=gnutar", "--no-xattrs", "--no-acls"], Holds { old: false, ..GNU }),
    // libarchive writes parts of a second before 1970 as if they were after the second.
    bsdtar(&["--format=pax", "--no-xattrs", "--no-acls", "--no-read-sparse"], Holds { old: false, ..POSIX }),
    bsdtar(
        &["--format=pax", "--xattrs", "--acls"],
        Holds { holes: true, attributes: true, old: false, ..POSIX },
    ),
    bsdtar(
        &["--numeric-owner", "--xattrs", "--acls"],
        Holds { grain: SECOND, holes: true, attributes: true, old: false, ..POSIX },
    ),
    python(&["USTAR_FORMAT"], USTAR),
    python(&["GNU_FORMAT"], GNU),
    // It takes times for floating-point numbers.
    python(&["PAX_FORMAT"], Holds { grain: SECOND / 4, ..POSIX }),
];

const PYTHON: &str = "import sys, tarfile
with tarfile.open(sys.argv[2], 'w', format=getattr(tarfile, sys.argv[1])) as archive:
    archive.add(sys.argv[3], '.')
";

impl Case {
    /// Packs the directory `from`.
    fn pack(&self, from: &Path, to: &Path) {
        let mut command = Command::new(self.program);
        match self.program {
            "python3" => command.args(["-c", PYTHON]).args(self.options).args([to, from]),
            _ => command.args(self.options).arg("-cf").arg(to).arg("-C").arg(from).arg("."),
        };
        run(&mut command);
    }

    fn name(&self) -> String {
        format!("{} {}", self.program, self.options.join(" "))
    }
}

fn run(command: &mut Command) {
    let package = if command.get_program() == "bsdtar" { "libarchive-tools" } else { "tar python3" };
    let output = command.env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}; apt-get install {package}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A file of `size` bytes whose parts, given by offset and length, are no holes.
fn sparse(path: &Path, size: u64, parts: impl IntoIterator<Item = (u64, usize)>) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, length) in parts {
        file.write_all_at(&vec![b'x'; length], offset).unwrap();
    }
}

fn node(dir: &Path, name: &str, kind: FileType, device: u64) {
    let dir = File::open(dir).unwrap();
    rustix::fs::mknodat(&dir, name, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// An ACL of the kernel: owner, user `lp` (7), group, group `adm` (4), mask, others.
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1, 7, none), (2, 5, 7), (4, 5, none), (8, 4, 4), (16, 5, none), (32, 0, none)];
    let entry = |(tag, bits, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [&2_u32.to_le_bytes()[..], &entries.map(entry).concat()].concat()
}

/// `cap_net_raw=ep`
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A root filesystem with everything that the format holds.
fn make(root: &Path, holds: Holds) {
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
fn describe(root: &Path, holds: Holds) {
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
fn round_times(root: &Path, grain: i64) {
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
struct Seen {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    device: u64,
    /// First of the names of the same file.
    same_as: PathBuf,
    target: Option<PathBuf>,
    attributes: BTreeMap<OsString, Vec<u8>>,
    content: Vec<u8>,
    /// Where data begins and ends.
    data: Vec<(u64, u64)>,
}

/// What lies below `root`, by path; `keep` chooses the attributes.
fn look(root: &Path, keep: impl Fn(&OsStr) -> bool) -> BTreeMap<PathBuf, Seen> {
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

fn data(path: &Path) -> Vec<(u64, u64)> {
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
fn kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"user.") || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

fn everything(_: &OsStr) -> bool {
    true
}

/// Compares two trees, and says of the first that differs what does.
fn assert_same(what: &str, ours: &BTreeMap<PathBuf, Seen>, other: &BTreeMap<PathBuf, Seen>) {
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

fn copy(seen: &Seen) -> Seen {
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
fn without_devices(mut tree: BTreeMap<PathBuf, Seen>) -> BTreeMap<PathBuf, Seen> {
    tree.retain(|_, seen| !seen.kind.ends_with("device"));
    tree
}

fn import(from: &Path, tree: &Path) -> Result<Report, ImportError> {
    import::import(from, tree, &Options::default(), &Progress::silent())
}

/// Extracts as an administrator would who wants all of it. With `--acls` GNU tar takes ACLs away that it has just set
/// as attributes.
fn extract(archive: &Path, to: &Path, acls: bool) {
    fs::create_dir(to).unwrap();
    let mut tar = Command::new("tar");
    if acls {
        tar.arg("--acls");
    }
    tar.args([
        "--extract",
        "--preserve-permissions",
        "--delay-directory-restore",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
    ]);
    run(tar.arg("--file").arg(archive).arg("-C").arg(to));
}

#[test]
fn every_format_is_read_as_gnu_tar_reads_it() {
    for case in CASES {
        let what = case.name();
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("from")).unwrap();
        make(&path("from"), case.holds);
        case.pack(&path("from"), &path("archive.tar"));
        let report = import(&path("archive.tar"), &path("ours")).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(report.devices, if case.holds.nodes { 3 } else { 0 }, "{what}");
        let ours = look(&path("ours"), everything);

        // libarchive writes ACLs in a way that GNU tar does not read.
        let by_tar = |name: &OsStr| {
            kept(name) && !(case.program == "bsdtar" && name.as_bytes().starts_with(b"system."))
        };
        extract(&path("archive.tar"), &path("gnu"), case.options.contains(&"--acls"));
        let gnu = without_devices(look(&path("gnu"), by_tar));
        assert_same(&format!("{what}, by GNU tar"), &look(&path("ours"), by_tar), &gnu);

        // And as it was.
        let from = without_devices(look(&path("from"), kept));
        let data = |tree: &BTreeMap<PathBuf, Seen>| -> Vec<(PathBuf, u64)> {
            let sum = |seen: &Seen| seen.data.iter().map(|(start, end)| end - start).sum();
            tree.iter().map(|(path, seen)| (path.clone(), sum(seen))).collect()
        };
        if case.holds.holes {
            assert_eq!(data(&ours), data(&from), "{what}: bytes that are no hole");
        }
        // Where data begins and ends is up to the program that looks for it.
        let without_data = |mut tree: BTreeMap<PathBuf, Seen>| {
            tree.values_mut().for_each(|seen| seen.data.clear());
            tree
        };
        assert_same(&format!("{what}, as it was"), &without_data(ours), &without_data(from));
    }
}

/// Packs the tree of `posix` with these options of tar and returns where the archive lies.
fn packed(dir: &Path, options: &[&str]) -> PathBuf {
    let from = dir.join("from");
    if !from.exists() {
        fs::create_dir(&from).unwrap();
        make(&from, POSIX);
    }
    let archive = dir.join("archive.tar");
    let _ = fs::remove_file(&archive);
    let mut tar = Command::new("tar");
    run(tar.args(options).arg("-cf").arg(&archive).arg("-C").arg(&from).arg("."));
    archive
}

#[test]
fn directories_behind_their_files_and_files_that_were_appended_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let archive = packed(dir.path(), &["--format=posix", "--no-recursion"]);
    // Deepest first, as cpio(1) likes it; then one file again, and its directory with another mode.
    let script = "find . -depth -print0 | tar --format=posix --no-recursion --null -cf \"$0\" -T - && \
        chmod 0700 srv && chmod 0644 odd && echo new > etc/empty && tar --format=posix -rf \"$0\" --no-recursion ./etc/empty ./srv ./odd";
    run(Command::new("sh").args(["-c", script]).arg(&archive).current_dir(path("from")));
    import(&archive, &path("ours")).unwrap();
    extract(&archive, &path("gnu"), true);
    let ours = look(&path("ours"), everything);
    assert_same("appended", &ours, &without_devices(look(&path("gnu"), kept)));
    assert_eq!(fs::read_to_string(path("ours/etc/empty")).unwrap(), "new\n");
    assert_eq!(ours[Path::new("srv")].mode, 0o2700);
}

#[test]
fn packed_archives_are_the_same_as_plain_ones() {
    let dir = tempfile::tempdir().unwrap();
    let archive = packed(dir.path(), &["--format=posix", "--sparse"]);
    let plain = dir.path().join("plain");
    import(&archive, &plain).unwrap();
    let mut bytes = Vec::new();
    File::open(&archive).unwrap().read_to_end(&mut bytes).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
        let mut packed = Vec::new();
        encoder.read_to_end(&mut packed).unwrap();
        packed
    };
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(&bytes[..], 0).read_to_end(&mut xz).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let streams = [
        ("gzip", gzip(&bytes)),
        ("two members of gzip", [gzip(first), gzip(second)].concat()),
        ("xz", xz),
        ("zstd", zstd::encode_all(&bytes[..], 0).unwrap()),
        (
            "two frames of zstd",
            [zstd::encode_all(first, 0).unwrap(), zstd::encode_all(second, 0).unwrap()].concat(),
        ),
    ];
    for (what, stream) in streams {
        let from = dir.path().join("packed");
        fs::write(&from, &stream).unwrap();
        let tree = dir.path().join(what);
        import(&from, &tree).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_same(what, &look(&tree, everything), &look(&plain, everything));
        // Half of it is refused, and half of what follows its end as well.
        fs::write(&from, &stream[..stream.len() - 20]).unwrap();
        import(&from, &dir.path().join(format!("{what} cut"))).unwrap_err();
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_name_of_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |archive: &Path| {
        let tree = dir.path().join("tree");
        let result = import(archive, &tree);
        let _ = fs::remove_dir_all(&tree);
        match result {
            Err(ImportError::Entry { entry, reason, .. }) => (entry, reason),
            other => panic!("{archive:?} was not refused by an entry: {other:?}"),
        }
    };
    for format in ["--format=gnu", "--format=posix"] {
        let list = dir.path().join("list");
        let _ = fs::remove_file(&list);
        let incremental = format!("--listed-incremental={}", list.display());
        let archive = packed(dir.path(), &[format, &incremental]);
        assert_eq!(refused(&archive), ("./".to_owned(), Reason::Incremental), "{format}");

        // Two volumes; both are refused.
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let mut tar = Command::new("tar");
        tar.args([format, "--create", "--multi-volume", "--tape-length=150"]);
        tar.arg("--file").arg(&first).arg("--file").arg(&second);
        run(tar.arg("-C").arg(dir.path().join("from/var")).arg("large").arg("511"));
        assert_eq!(refused(&first), ("large".to_owned(), Reason::Truncated), "{format}");
        let (_, reason) = refused(&second);
        assert_eq!(reason, Reason::MultiVolume, "{format}");
    }
    // Two archives in one file, of which tar(1) would read the first.
    let archive = packed(dir.path(), &[]);
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, [&bytes[..], &bytes].concat()).unwrap();
    assert_eq!(refused(&archive).1, Reason::AfterEnd);
    // A global header that names every file.
    let archive = packed(dir.path(), &["--format=posix", "--pax-option=path=x"]);
    assert_eq!(refused(&archive).1, Reason::Global("path".to_owned()));
}

#[test]
fn an_acl_by_name_has_the_number_that_the_archive_or_the_image_tells() {
    let dir = tempfile::tempdir().unwrap();
    let write_acl = |archive: &mut tar::Builder<Vec<u8>>, text: &str| {
        archive.append_pax_extensions([("SCHILY.acl.access", text.as_bytes())]).unwrap();
        entry(archive, "file", 0, "root", b"x");
    };
    // The image's own group, which comes later.
    let mut archive = tar::Builder::new(Vec::new());
    write_acl(&mut archive, "user::rwx\ngroup::r-x\ngroup:staff:r--\nmask::r-x\nother::---\n");
    entry(&mut archive, "etc/group", 0, "root", b"root:x:0:\nstaff:x:50:\n");
    assert_eq!(group_of_acl(dir.path(), archive), Ok(50));
    // What owners are called counts more: that is where the archive was made.
    let mut archive = tar::Builder::new(Vec::new());
    write_acl(&mut archive, "user::rwx,group::r-x,group:staff:r--,mask::r-x,other::---");
    entry(&mut archive, "etc/group", 0, "root", b"root:x:0:\nstaff:x:50:\n");
    entry(&mut archive, "other", 99, "staff", b"");
    assert_eq!(group_of_acl(dir.path(), archive), Ok(99));
    let mut archive = tar::Builder::new(Vec::new());
    write_acl(&mut archive, "user::rwx\ngroup::r-x\ngroup:nobody-knows:r--\nmask::r-x\nother::---\n");
    let reason = Reason::AclName { kind: "group", name: "nobody-knows".to_owned() };
    assert_eq!(group_of_acl(dir.path(), archive), Err(reason));
}

#[test]
fn the_size_of_the_whole_file_in_place_of_its_parts_is_understood() {
    // As libarchive has it of a sparse file that is large.
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let real = (20_u64 << 30).to_string();
    let records = [
        ("size", real.as_str()),
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "disk"),
        ("GNU.sparse.realsize", real.as_str()),
    ];
    archive.append_pax_extensions(records.map(|(key, value)| (key, value.as_bytes()))).unwrap();
    let mut data = b"1\n10737418240\n4\n".to_vec();
    data.resize(512, 0);
    data.extend(b"data");
    entry(&mut archive, "GNUSparseFile.0/disk", 0, "root", &data);
    entry(&mut archive, "behind", 0, "root", b"x");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    import::unpack(&archive.into_inner().unwrap()[..], &tree, &Options::default()).unwrap();
    let disk = File::open(tree.join("disk")).unwrap();
    let mut found = [0; 6];
    disk.read_exact_at(&mut found, 10_737_418_239).unwrap();
    assert_eq!((disk.metadata().unwrap().len(), &found), (20 << 30, b"\0data\0"));
    assert!(tree.join("behind").exists());
}

#[test]
fn owners_of_many_digits_are_read_and_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write(&path("from/sbin/init"), "#!/bin/sh\n");
    fs::set_permissions(path("from/sbin/init"), Permissions::from_mode(0o755)).unwrap();
    let base = 3_000_000_000;
    for (name, id) in [("from", 0), ("from/sbin", 0), ("from/sbin/init", 7)] {
        std::os::unix::fs::lchown(path(name), Some(base + id), Some(base + id)).unwrap();
    }
    // In binary, and in decimal.
    for case in [tar(&["--format=gnu"], GNU), tar(&["--format=posix"], POSIX), python(&["PAX_FORMAT"], POSIX)]
    {
        case.pack(&path("from"), &path("archive"));
        let range = format!("b:0:{base}:65536").parse().unwrap();
        let idmap = import::IdMap::new(vec![range]).unwrap();
        let options = Options { idmap, ..Options::default() };
        import::import(&path("archive"), &path("tree"), &options, &Progress::silent()).unwrap();
        let init = fs::metadata(path("tree/sbin/init")).unwrap();
        assert_eq!((init.uid(), init.gid()), (7, 7), "{}", case.name());
        fs::remove_dir_all(path("tree")).unwrap();
    }
}

fn entry(archive: &mut tar::Builder<Vec<u8>>, path: &str, gid: u64, group: &str, data: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).unwrap();
    header.set_size(data.len() as u64);
    header.set_mode(0o750);
    header.set_uid(0);
    header.set_gid(gid);
    header.set_groupname(group).unwrap();
    header.set_mtime(0);
    header.set_cksum();
    archive.append(&header, data).unwrap();
}

/// The group that the ACL of `file` names.
fn group_of_acl(dir: &Path, archive: tar::Builder<Vec<u8>>) -> Result<u32, Reason> {
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    let bytes = archive.into_inner().unwrap();
    let result = import::unpack(&bytes[..], &tree, &Options::default());
    let acl = xattr::get(tree.join("file"), "system.posix_acl_access");
    fs::remove_dir_all(&tree).unwrap();
    match result {
        Ok(_) => {
            let acl = acl.unwrap().unwrap();
            let entry = acl[4..].chunks_exact(8).find(|entry| entry[0] == 8).unwrap();
            Ok(u32::from_le_bytes(entry[4..].try_into().unwrap()))
        }
        Err(ImportError::Entry { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}
