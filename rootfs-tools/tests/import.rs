//! Archives: honest ones arrive whole, hostile ones reach nothing outside the image.

use std::{
    fs,
    io::{Cursor, Write as _},
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, symlink},
    path::Path,
    process::Command,
    sync::OnceLock,
};

use filetree::archive::Reason;
use proptest::prelude::*;
use rootfs_tools::{
    Explain as _,
    import::{self, ImportError, Limits, Options, Report},
    progress::Progress,
};
use tar::{Builder, EntryType, Header};

mod common;

use common::{Archive, entry, import_dir, program};

fn file(archive: &mut Archive, name: &str, data: &[u8]) {
    entry(archive, EntryType::Regular, name, None, 0o644, data);
}

fn unpack(archive: Archive, tree: &Path, limits: Limits) -> Result<Report, ImportError> {
    fs::create_dir_all(tree).unwrap();
    let options = Options { limits, ..Options::default() };
    import::unpack(Cursor::new(archive.into_inner().unwrap()), tree, &options)
}

fn refused(result: Result<Report, ImportError>) -> Reason {
    match result {
        Err(ImportError::Entry { reason, .. }) => reason,
        other => panic!("no entry was refused: {other:?}"),
    }
}

fn reason(result: Result<Report, ImportError>) -> String {
    refused(result).to_string()
}

#[test]
fn an_honest_archive_arrives_whole_however_it_is_packed() {
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, EntryType::Directory, "./", None, 0o755, b"");
    entry(&mut archive, EntryType::Directory, "usr/", None, 0o555, b"");
    entry(&mut archive, EntryType::Regular, "usr/su", None, 0o4755, b"setuid");
    entry(&mut archive, EntryType::Symlink, "etc/mtab", Some("/proc/self/mounts"), 0o777, b"");
    entry(&mut archive, EntryType::Link, "usr/su2", Some("./usr/su"), 0o4755, b"");
    entry(&mut archive, EntryType::Fifo, "run/fifo", None, 0o600, b"");
    entry(&mut archive, EntryType::Char, "dev/null", None, 0o666, b"");
    let plain = archive.into_inner().unwrap();

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let packed = [
        plain.clone(),
        gzip.finish().unwrap(),
        xz.finish().unwrap(),
        zstd::encode_all(&plain[..], 1).unwrap(),
    ];

    let dir = tempfile::tempdir().unwrap();
    for (number, bytes) in packed.into_iter().enumerate() {
        let (from, tree) = (dir.path().join(format!("{number}.tar")), dir.path().join(number.to_string()));
        fs::write(&from, bytes).unwrap();
        let report = import::import(&from, &tree, &Options::default(), &Progress::silent()).unwrap();
        assert_eq!(report, Report { entries: 7, devices: 1, ..Report::default() });
        let su = fs::metadata(tree.join("usr/su")).unwrap();
        assert_eq!((su.mode() & 0o7777, su.nlink(), su.mtime()), (0o4755, 2, 1_000_000_000));
        assert_eq!(fs::metadata(tree.join("usr")).unwrap().mode() & 0o7777, 0o555);
        assert_eq!(fs::read_link(tree.join("etc/mtab")).unwrap(), Path::new("/proc/self/mounts"));
        assert!(fs::metadata(tree.join("run/fifo")).unwrap().file_type().is_fifo());
        assert!(!tree.join("dev/null").exists());
    }
}

#[test]
fn a_name_that_leads_out_is_refused_and_an_absolute_one_is_taken_below_the_root() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["../evil", "usr/../../evil", "usr/.."] {
        let mut archive = Builder::new(Vec::new());
        file(&mut archive, name, b"x");
        assert!(reason(unpack(archive, &dir.path().join("tree"), Limits::default())).contains(".."));
    }
    assert!(!dir.path().join("evil").exists());

    let mut archive = Builder::new(Vec::new());
    let name = format!("{}/evil", dir.path().display());
    file(&mut archive, &name, b"x");
    unpack(archive, &dir.path().join("tree"), Limits::default()).unwrap();
    assert!(dir.path().join("tree").join(name.trim_start_matches('/')).exists());
    assert!(!dir.path().join("evil").exists());
}

#[test]
fn no_link_leads_a_later_entry_out() {
    let dir = tempfile::tempdir().unwrap();
    let (host, tree) = (dir.path().join("host"), dir.path().join("tree"));
    fs::create_dir(&host).unwrap();
    fs::write(host.join("secret"), "host").unwrap();
    let mut archive = Builder::new(Vec::new());
    let out = host.to_str().unwrap();
    entry(&mut archive, EntryType::Symlink, "out", Some(out), 0o777, b"");
    entry(&mut archive, EntryType::Symlink, "up", Some("../host"), 0o777, b"");
    file(&mut archive, "up/evil", b"x");
    // Over the link itself, not through it.
    entry(&mut archive, EntryType::Symlink, "file", Some(&format!("{out}/secret")), 0o777, b"");
    file(&mut archive, "file", b"ours");
    entry(&mut archive, EntryType::Directory, "out/", None, 0o777, b"");
    file(&mut archive, "out/evil", b"x");
    let _ = unpack(archive, &tree, Limits::default());
    assert_eq!(fs::read_dir(&host).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(host.join("secret")).unwrap(), "host");
    assert_eq!(fs::metadata(&host).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_hard_link_to_a_file_of_the_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "host").unwrap();
    let absolute = dir.path().join("secret").display().to_string();
    for target in ["../secret", absolute.as_str()] {
        let mut archive = Builder::new(Vec::new());
        entry(&mut archive, EntryType::Link, "stolen", Some(target), 0o644, b"");
        reason(unpack(archive, &dir.path().join("tree"), Limits::default()));
        assert!(!dir.path().join("tree/stolen").exists());
    }
    // Through a link in the image.
    let tree = dir.path().join("linked");
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, EntryType::Symlink, "up", Some(".."), 0o777, b"");
    entry(&mut archive, EntryType::Link, "stolen", Some("up/secret"), 0o644, b"");
    reason(unpack(archive, &tree, Limits::default()));
    assert!(!tree.join("stolen").exists());
}

#[test]
fn bombs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut large = Builder::new(Vec::new());
    file(&mut large, "a", &[0; 600]);
    file(&mut large, "b", &[0; 600]);
    let result = unpack(large, &dir.path().join("large"), Limits { bytes: 1000, entries: 10 });
    assert!(reason(result).contains("maximum size"));

    let mut many = Builder::new(Vec::new());
    for _ in 0..11 {
        file(&mut many, "a", b"");
    }
    assert!(
        reason(unpack(many, &dir.path().join("many"), Limits { bytes: 1000, entries: 10 }))
            .contains("exceeds the maximum number")
    );

    // A header that claims more than there is.
    let mut lying = Builder::new(Vec::new());
    file(&mut lying, "a", &[0; 600]);
    let mut bytes = lying.into_inner().unwrap();
    bytes.truncate(700);
    fs::create_dir(dir.path().join("lying")).unwrap();
    import::unpack(Cursor::new(bytes), &dir.path().join("lying"), &Options::default()).unwrap_err();
}

#[test]
fn attributes_of_overlays_or_security_modules_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    let value: &[u8] = b"v";
    let attributes = [
        ("SCHILY.xattr.user.mine", value),
        ("SCHILY.xattr.trusted.overlay.origin", value),
        ("SCHILY.xattr.user.overlay.impure", value),
        ("SCHILY.xattr.security.selinux", value),
    ];
    archive.append_pax_extensions(attributes).unwrap();
    file(&mut archive, "file", b"x");
    let tree = dir.path().join("tree");
    assert_eq!(unpack(archive, &tree, Limits::default()).unwrap().attributes, 3);
    let names: Vec<_> = xattr::list(tree.join("file")).unwrap().collect();
    assert_eq!(names, ["user.mine"]);

    // Those that say something of a layer below are no file's own: the file is not what it seems.
    for name in ["trusted.overlay.redirect", "user.overlay.whiteout", "trusted.overlay.metacopy"] {
        let mut archive = Builder::new(Vec::new());
        archive.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        file(&mut archive, "file", b"x");
        let result = unpack(archive, &dir.path().join(name), Limits::default());
        assert_eq!(refused(result), Reason::Layer(name.to_owned()));
    }
}

#[test]
fn a_whiteout_is_refused_and_not_taken_for_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in ["usr/.wh.gone", "usr/.wh..wh..opq", ".wh.x/file"].into_iter().enumerate() {
        let mut archive = Builder::new(Vec::new());
        file(&mut archive, name, b"");
        let result = unpack(archive, &dir.path().join(number.to_string()), Limits::default());
        assert_eq!(refused(result), Reason::Whiteout, "{name}");
    }
    let mut archive = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_path("usr/gone").unwrap();
    header.set_entry_type(EntryType::Char);
    header.set_size(0);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    archive.append(&header, &[][..]).unwrap();
    assert_eq!(refused(unpack(archive, &dir.path().join("node"), Limits::default())), Reason::Whiteout);
}

#[test]
fn what_is_linked_to_a_left_out_node_is_left_out_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, EntryType::Char, "dev/null", None, 0o666, b"");
    entry(&mut archive, EntryType::Link, "dev/nil", Some("./dev/null"), 0o666, b"");
    entry(&mut archive, EntryType::Link, "dev/void", Some("/dev/nil"), 0o666, b"");
    file(&mut archive, "file", b"x");
    let tree = dir.path().join("tree");
    assert_eq!(unpack(archive, &tree, Limits::default()).unwrap().devices, 3);
    assert_eq!(fs::read_dir(tree.join("dev")).unwrap().count(), 0);
}

#[test]
fn of_entries_of_one_name_the_last_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, EntryType::Directory, "a/", None, 0o700, b"");
    file(&mut archive, "a/file", b"old and long");
    file(&mut archive, "a/file", b"new");
    // Listed behind what lies in it, and twice.
    entry(&mut archive, EntryType::Directory, "a", None, 0o750, b"");
    entry(&mut archive, EntryType::Directory, "gone/", None, 0o755, b"");
    entry(&mut archive, EntryType::Symlink, "gone", Some("a"), 0o777, b"");
    entry(&mut archive, EntryType::Link, "a/file", Some("a/file"), 0o644, b"");
    let tree = dir.path().join("tree");
    unpack(archive, &tree, Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(tree.join("a/file")).unwrap(), "new");
    let a = fs::metadata(tree.join("a")).unwrap();
    assert_eq!((a.mode() & 0o7777, a.mtime()), (0o750, 1_000_000_000));
    assert_eq!(fs::read_link(tree.join("gone")).unwrap(), Path::new("a"));

    let mut archive = Builder::new(Vec::new());
    file(&mut archive, "a/file", b"x");
    file(&mut archive, "a", b"x");
    assert_eq!(refused(unpack(archive, &dir.path().join("full"), Limits::default())), Reason::NotEmpty);
}

#[test]
fn what_is_no_whole_archive_is_refused_by_its_last_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    file(&mut archive, "first", b"x");
    file(&mut archive, "last", &[7; 600]);
    let whole = archive.into_inner().unwrap();
    let end = whole.len() - 1024;
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cases: &[(&str, Vec<u8>, &str, Reason)] = &[
        ("cut in the data", whole[..end - 600].to_vec(), "last", Reason::Truncated),
        ("cut in a header", whole[..1100].to_vec(), "first", Reason::Truncated),
        ("cut between entries", whole[..end].to_vec(), "last", Reason::NoEnd),
        ("joined", [&whole[..], &whole[..]].concat(), "last", Reason::AfterEnd),
        ("with something behind it", [&whole[..], b"rest"].concat(), "last", Reason::AfterEnd),
        ("with a damaged header", damaged(1030), "first", Reason::Checksum),
    ];
    for (number, (what, bytes, last, expected)) in cases.iter().enumerate() {
        let tree = dir.path().join(number.to_string());
        fs::create_dir(&tree).unwrap();
        match import::unpack(Cursor::new(bytes), &tree, &Options::default()) {
            Err(ImportError::Entry { entry, reason, .. }) => {
                assert_eq!((entry.as_str(), &reason), (*last, expected), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // More zeros are the rest of a tape's record.
    let tree = dir.path().join("padded");
    fs::create_dir(&tree).unwrap();
    let padded = [&whole[..], &[0; 20_480]].concat();
    import::unpack(Cursor::new(padded), &tree, &Options::default()).unwrap();
}

#[test]
fn a_packed_stream_is_read_to_its_end_where_its_checksum_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    entry(&mut archive, EntryType::Regular, "program", None, 0o755, &[7; 5000]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive.into_inner().unwrap()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    let from = dir.path().join("damaged.tar.gz");
    fs::write(&from, bytes).unwrap();
    import::import(&from, &dir.path().join("tree"), &Options::default(), &Progress::silent()).unwrap_err();
}

#[test]
fn an_owner_no_tenant_can_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(65_536);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    archive.append(&header, &[][..]).unwrap();
    assert!(reason(unpack(archive, &dir.path().join("tree"), Limits::default())).contains("65535"));
}

#[test]
fn what_is_no_archive_is_refused_and_a_directory_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("notes.txt");
    fs::write(&from, "not a tar archive").unwrap();
    let error =
        import::import(&from, &dir.path().join("a"), &Options::default(), &Progress::silent()).unwrap_err();
    assert!(matches!(error, ImportError::Unknown(_)), "{error}");

    fs::create_dir(dir.path().join("b")).unwrap();
    symlink("/absent", dir.path().join("b/link")).unwrap();
    program(&dir.path().join("b/server"));
    // By a link to it as well: the directory is meant, not the link.
    symlink("b", dir.path().join("link")).unwrap();
    for (number, name) in ["b", "link"].into_iter().enumerate() {
        let tree = dir.path().join(format!("copy{number}"));
        import::import(&dir.path().join(name), &tree, &Options::default(), &Progress::silent()).unwrap();
        assert_eq!(fs::read_link(tree.join("link")).unwrap(), Path::new("/absent"));
        assert!(fs::symlink_metadata(tree).unwrap().is_dir());
    }
}

#[test]
fn other_packings_are_refused_by_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("x.tar.bz2");
    for (bytes, said) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"PK\x03\x04", "zip"), (b"070701000", "cpio")] {
        let mut bytes = bytes.to_vec();
        bytes.resize(2000, 1);
        // As it is, and packed once more.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        for bytes in [bytes, gzip.finish().unwrap()] {
            fs::write(&from, bytes).unwrap();
            let error = import_dir(&from, &dir.path().join("tree"), &Options::default()).unwrap_err();
            assert!(error.to_string().contains(said) && error.help().is_some(), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever becomes of the bytes of an archive: an answer, and nothing outside of the tree.
    #[test]
    fn damaged_archives_get_an_answer(
        changes in prop::collection::vec((0_usize..1 << 16, any::<u8>()), 0..12),
        length in 0_usize..1 << 16,
        fix in any::<bool>(),
    ) {
        let mut bytes = sample();
        bytes.truncate(bytes.len() - length % bytes.len() / 8);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if fix {
            // So that what stands in the headers is looked at.
            for block in bytes.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let limits = Limits { bytes: 1 << 20, entries: 100 };
        let _ = import::unpack(Cursor::new(bytes), &tree, &Options { limits, ..Options::default() });
        prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

/// An archive with an entry of each kind, made once.
fn sample() -> Vec<u8> {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path();
        program(&from.join("sbin/init"));
        fs::write(from.join("n".repeat(200)), "long").unwrap();
        fs::hard_link(from.join("sbin/init"), from.join("sbin/telinit")).unwrap();
        symlink("sbin/init", from.join("init")).unwrap();
        xattr::set(from.join("sbin/init"), "user.x", b"a\nb").unwrap();
        let sparse = fs::File::create(from.join("sparse")).unwrap();
        sparse.set_len(300_000).unwrap();
        sparse.write_all_at(b"data", 200_000).unwrap();
        let mut bytes = Vec::new();
        for options in [&["--format=gnu"][..], &["--format=posix", "--xattrs", "--acls"]] {
            let mut tar = Command::new("tar");
            tar.arg("--sparse").args(options).arg("-cC").arg(from).arg(".");
            let made = tar.output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let end = made.stdout.iter().rposition(|byte| *byte != 0).unwrap() / 512 * 512 + 512;
            bytes.extend(&made.stdout[..end]);
        }
        bytes.extend([0; 1024]);
        bytes
    };
    SAMPLE.get_or_init(make).clone()
}
