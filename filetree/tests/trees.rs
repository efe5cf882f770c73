//! Trees that go through a copy, through an archive and through GNU tar, and come out the same.
//!
//! Needs root: owners, attributes of overlayfs, device nodes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Read as _},
    os::unix::fs::{
        FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink,
    },
    path::{Path, PathBuf},
    process::Command,
};

use filetree::{
    Dir, Keep, Owners, Pack, Tally, Unpack, UnpackError, Unpacked,
    archive::{Reader, Writer},
    copy, pack, unpack,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, utimensat};

/// What can be seen of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    content: Vec<u8>,
    /// Whether it takes less room than its size.
    has_holes: bool,
    device: u64,
    links: u64,
    attributes: BTreeMap<OsString, Vec<u8>>,
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = std::os::unix::ffi::OsStringExt::from_vec(name.to_vec());
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, &name as &OsString, &mut value[..]).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect()
}

fn look(top: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut content = Vec::new();
        if kind.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            content = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else if kind.is_file() {
            File::open(&path).unwrap().take(1 << 20).read_to_end(&mut content).unwrap();
        }
        let entry = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            content,
            has_holes: kind.is_file() && meta.blocks() * 512 < meta.size(),
            device: if kind.is_char_device() { meta.rdev() } else { 0 },
            links: if kind.is_dir() { 0 } else { meta.nlink() },
            attributes: attributes(&path),
        };
        seen.insert(path.strip_prefix(top).unwrap().to_owned(), entry);
    }
    seen
}

/// What a tenant may have written.
fn plant(top: &Path) {
    let at = |name: &str| top.join(name);
    let set = |name: &str, attribute: &str, value: &[u8]| {
        rustix::fs::lsetxattr(at(name), attribute, value, XattrFlags::empty()).unwrap();
    };
    fs::create_dir_all(at("dir/empty")).unwrap();
    fs::write(at("dir/text"), "text\n").unwrap();
    fs::hard_link(at("dir/text"), at("second name")).unwrap();
    symlink("/etc/shadow", at("link")).unwrap();
    symlink("x".repeat(300), at("long link")).unwrap();
    lchown(at("link"), Some(12), Some(13)).unwrap();
    fs::create_dir_all(at(&"deep/".repeat(60))).unwrap();
    fs::write(at(&format!("{}{}", "deep/".repeat(60), "n".repeat(255))), "far").unwrap();
    fs::write(at("zwölf"), "name").unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"middle", 300_000).unwrap();
    sparse.set_len(5_000_000).unwrap();
    File::create(at("hole")).unwrap().set_len(1 << 40).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    chown(at("fifo"), Some(65_535), Some(1)).unwrap();
    chown(at("dir"), Some(1000), Some(1001)).unwrap();
    fs::write(at("setuid"), "program").unwrap();
    chown(at("setuid"), Some(0), Some(42)).unwrap();
    fs::set_permissions(at("setuid"), Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(at("dir"), Permissions::from_mode(0o1707)).unwrap();
    set("dir/text", "user.mine", b"a\0b=c\n");
    set("setuid", "security.capability", &[1, 0, 0, 2, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let acl = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 4, 0, 7, 0, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[16, 0, 6, 0, 255, 255, 255, 255],
        &[32, 0, 4, 0, 255, 255, 255, 255],
    ];
    set("dir/text", "system.posix_acl_access", &acl.concat());
    set("dir", "system.posix_acl_default", &acl.concat());
    for (name, seconds, nanoseconds) in [("dir/text", -5, 250_000_000), ("link", 99, 7), ("dir/empty", 1, 0)]
    {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What overlayfs adds.
fn plant_layer(top: &Path) {
    let at = |name: &str| top.join(name);
    mknodat(CWD, at("removed"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    for (name, attribute, value) in
        [("dir", "opaque", &b"y"[..]), ("deep", "redirect", b"/other"), ("zwölf", "origin", b"handle")]
    {
        let attribute = format!("trusted.overlay.{attribute}");
        rustix::fs::lsetxattr(at(name), &attribute, value, XattrFlags::empty()).unwrap();
    }
}

fn trees() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    plant(&from);
    (dir, from, to)
}

fn none(_: &Path) -> bool {
    false
}

fn packed(from: &Path, keep: Keep) -> Vec<u8> {
    let mut archive = Writer::new(Vec::new());
    let how = Pack { prefix: Path::new("top"), keep, passes: &none };
    pack(&Dir::open(from).unwrap(), None, &how, &mut archive, &mut |_| Ok(())).unwrap();
    archive.finish().unwrap()
}

fn unpacked(archive: &[u8], to: &Path, prefix: &str, keep: Keep) -> Result<Unpacked, UnpackError> {
    let how = Unpack {
        prefix: Path::new(prefix),
        owners: Owners::Kept,
        keep,
        describes_top: true,
        name: None,
        modes: 0o7777,
    };
    unpack(&mut Reader::new(archive), &Dir::open(to).unwrap(), &how, &mut |_| Ok(()))
}

fn assert_same(from: &Path, to: &Path) {
    let (from, mut to) = (look(from), look(to));
    for (path, seen) in &from {
        assert_eq!(to.remove(path).as_ref(), Some(seen), "{}", path.display());
    }
    assert!(to.is_empty(), "more than there was: {:?}", to.keys());
}

#[test]
fn a_copy_is_the_same() {
    let (_dir, from, to) = trees();
    plant_layer(&from);
    let (source, target) = (Dir::open(&from).unwrap(), Dir::open(&to).unwrap());
    let mut told = Tally::default();
    let tally = copy(&source, &target, Keep::LayerHere, &none, &mut |tally| {
        told = *tally;
        Ok(())
    });
    let tally = tally.unwrap();
    assert_eq!(tally.left_out, 0);
    assert!(told.entries == tally.entries && tally.bytes < 1 << 20, "{tally:?}");
    assert_same(&from, &to);
}

#[test]
fn an_archive_gives_the_same_tree_again() {
    let (_dir, from, to) = trees();
    plant_layer(&from);
    let archive = packed(&from, Keep::Layer);
    assert!(archive.len() < 1 << 20, "holes are no data: {} bytes", archive.len());
    let done = unpacked(&archive, &to, "top", Keep::Layer).unwrap();
    assert!(done.next.is_none() && done.tally.left_out == 0);
    // True of these very layers alone.
    rustix::fs::lremovexattr(from.join("zwölf"), "trusted.overlay.origin").unwrap();
    assert_same(&from, &to);
}

#[test]
fn gnu_tar_reads_what_is_packed_and_is_read_itself() {
    let (dir, from, to) = trees();
    // Tar rounds no times, but has none before 1970 with a fraction, and removes default lists that it sets itself.
    rustix::fs::lremovexattr(from.join("dir"), "system.posix_acl_default").unwrap();
    let file = dir.path().join("archive");
    fs::write(&file, packed(&from, Keep::Own)).unwrap();
    let tar = |arguments: &[&str]| {
        let options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p"];
        let done =
            Command::new("tar").args(options).args(arguments).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    tar(&["-C", "to", "-xf", "archive"]);
    assert_same(&from, &to.join("top"));
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir(&to).unwrap();
    tar(&["--format=pax", "--sparse", "-C", "from", "-cf", "archive", "."]);
    unpacked(&fs::read(&file).unwrap(), &to, "", Keep::Own).unwrap();
    assert_same(&from, &to);
}

#[test]
fn what_is_no_content_stays_behind_and_is_counted() {
    let (_dir, from, to) = trees();
    plant_layer(&from);
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    mknodat(CWD, from.join("null"), FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 3))
        .unwrap();
    let (source, target) = (Dir::open(&from).unwrap(), Dir::open(&to).unwrap());
    let passes = |path: &Path| path == Path::new("deep");
    let tally = copy(&source, &target, Keep::Own, &passes, &mut |_| Ok(())).unwrap();
    assert_eq!(tally.left_out, 3, "a socket, a device, and a whiteout that is no file");
    assert_eq!(fs::read_dir(to.join("deep")).unwrap().count(), 0);
    assert!(attributes(&to.join("dir")).keys().all(|name| !name.to_string_lossy().starts_with("trusted.")));
}

#[test]
fn who_watches_ends_it() {
    let (_dir, from, to) = trees();
    let (source, target) = (Dir::open(&from).unwrap(), Dir::open(&to).unwrap());
    let stop = |tally: &Tally| if tally.entries > 4 { Err(io::Error::other("enough")) } else { Ok(()) };
    let error = copy(&source, &target, Keep::Own, &none, &mut { stop }).unwrap_err();
    assert_eq!(error.source.to_string(), "enough");
}

/// Path, type, target, data.
type Member<'a> = (&'a str, tar::EntryType, &'a str, &'a [u8]);

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, link, data) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_hostile_archive_reaches_nothing_outside() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "host").unwrap();
    let out = outside.path().to_str().unwrap();
    let cases: &[&[Member<'_>]] = &[
        &[("../x", Regular, "", b"x")],
        &[("dir/../../x", Regular, "", b"x")],
        &[("dir", Symlink, out, b""), ("dir/x", Regular, "", b"x")],
        &[("dir", Symlink, out, b""), ("dir/x/", Directory, "", b"")],
        &[("dir", Symlink, "..", b""), ("name", Link, "dir/secret", b"")],
        &[("name", Link, "../secret", b"")],
        &[("", Regular, "", b"x")],
        &[("dir/", Directory, "", b""), ("dir/f", Regular, "", b""), ("dir", Regular, "", b"x")],
    ];
    for members in cases {
        let to = tempfile::tempdir_in(outside.path()).unwrap();
        let error = unpacked(&archive(members), to.path(), "", Keep::Own).unwrap_err();
        assert!(error.to_string().starts_with("the archive's entry"), "{error}");
        assert!(!outside.path().join("x").exists(), "{members:?}");
    }
    // Names below a link that stays inside are refused as well: what an archive says is there is what is made.
    let to = tempfile::tempdir().unwrap();
    let inside =
        [("real/", Directory, "", &b""[..]), ("l", Symlink, "real", b""), ("l/x", Regular, "", b"x")];
    unpacked(&archive(&inside), to.path(), "", Keep::Own).unwrap_err();
    // An absolute name is one below the top.
    unpacked(&archive(&[("/etc/x", Regular, "", b"x")]), to.path(), "", Keep::Own).unwrap();
    assert_eq!(fs::read(to.path().join("etc/x")).unwrap(), b"x");
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"host");
}

#[test]
fn a_file_is_replaced_when_the_new_one_is_whole() {
    use tar::EntryType::Regular;
    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join("file"), "old").unwrap();
    symlink("file", to.path().join("link")).unwrap();
    let whole = archive(&[("file", Regular, "", &[b'x'; 4096])]);
    unpacked(&whole[..1024], to.path(), "", Keep::Own).unwrap_err();
    assert_eq!(fs::read(to.path().join("file")).unwrap(), b"old");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 2, "nothing half made is left");
    unpacked(&archive(&[("link", Regular, "", b"new")]), to.path(), "", Keep::Own).unwrap();
    assert_eq!(fs::read(to.path().join("file")).unwrap(), b"old", "a link is replaced, not written through");
    assert_eq!(fs::read(to.path().join("link")).unwrap(), b"new");
}

#[test]
fn an_owner_that_no_tenant_has_is_refused() {
    let to = tempfile::tempdir().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("x").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_gid(0);
    header.set_uid(65_536);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, io::empty()).unwrap();
    let error = unpacked(&builder.into_inner().unwrap(), to.path(), "", Keep::Own).unwrap_err();
    assert!(error.to_string().contains("65536"), "{error}");
}

#[test]
fn a_tree_deeper_than_files_may_be_open_is_copied() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    let mut at = Dir::open(&from).unwrap();
    for _ in 0..3000 {
        at = at.make_dir(c"depth").unwrap();
    }
    at.create(c"bottom", 0o600).unwrap();
    let (source, target) = (Dir::open(&from).unwrap(), Dir::open(&to).unwrap());
    assert_eq!(copy(&source, &target, Keep::Own, &none, &mut |_| Ok(())).unwrap().entries, 3002);
    let archive = packed(&from, Keep::Own);
    fs::create_dir(dir.path().join("third")).unwrap();
    assert_eq!(unpacked(&archive, &dir.path().join("third"), "top", Keep::Own).unwrap().tally.entries, 3002);
    for tree in ["from", "to", "third"] {
        assert!(Command::new("rm").args(["-r", "--"]).arg(dir.path().join(tree)).status().unwrap().success());
    }
}
