//! Archives of every format, made by the programs that people make them with, imported here and extracted by GNU tar:
//! file by file the same. What is not read is refused with the entry's name.
//!
//! Needs root, tar, bsdtar (libarchive-tools) and python3.

mod cases;
mod tree;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::Command,
};

use filetree::archive::Reason;
use rootfs_tools::{
    import::{self, ImportError, Options, Report},
    progress::Progress,
};

use cases::{CASES, GNU, POSIX, python, run, tar};
use tree::{Seen, assert_same, everything, kept, look, make, without_devices, write};

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
    let write_acl = |archive: &mut ::tar::Builder<Vec<u8>>, text: &str| {
        archive.append_pax_extensions([("SCHILY.acl.access", text.as_bytes())]).unwrap();
        entry(archive, "file", 0, "root", b"x");
    };
    // The image's own group, which comes later.
    let mut archive = ::tar::Builder::new(Vec::new());
    write_acl(&mut archive, "user::rwx\ngroup::r-x\ngroup:staff:r--\nmask::r-x\nother::---\n");
    entry(&mut archive, "etc/group", 0, "root", b"root:x:0:\nstaff:x:50:\n");
    assert_eq!(group_of_acl(dir.path(), archive), Ok(50));
    // What owners are called counts more: that is where the archive was made.
    let mut archive = ::tar::Builder::new(Vec::new());
    write_acl(&mut archive, "user::rwx,group::r-x,group:staff:r--,mask::r-x,other::---");
    entry(&mut archive, "etc/group", 0, "root", b"root:x:0:\nstaff:x:50:\n");
    entry(&mut archive, "other", 99, "staff", b"");
    assert_eq!(group_of_acl(dir.path(), archive), Ok(99));
    let mut archive = ::tar::Builder::new(Vec::new());
    write_acl(&mut archive, "user::rwx\ngroup::r-x\ngroup:nobody-knows:r--\nmask::r-x\nother::---\n");
    let reason = Reason::AclName { kind: "group", name: "nobody-knows".to_owned() };
    assert_eq!(group_of_acl(dir.path(), archive), Err(reason));
}

#[test]
fn the_size_of_the_whole_file_in_place_of_its_parts_is_understood() {
    // As libarchive has it of a sparse file that is large.
    let dir = tempfile::tempdir().unwrap();
    let mut archive = ::tar::Builder::new(Vec::new());
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

fn entry(archive: &mut ::tar::Builder<Vec<u8>>, path: &str, gid: u64, group: &str, data: &[u8]) {
    let mut header = ::tar::Header::new_ustar();
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
fn group_of_acl(dir: &Path, archive: ::tar::Builder<Vec<u8>>) -> Result<u32, Reason> {
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
