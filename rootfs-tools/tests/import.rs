//! Archives: honest ones arrive whole, hostile ones reach nothing outside the image.

use std::{
    fs,
    io::{Cursor, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink},
    path::Path,
};

use rootfs_tools::{
    import::{self, ImportError, Limits, Report},
    progress::Progress,
};
use tar::{Builder, EntryType, Header};

type Archive = Builder<Vec<u8>>;

/// Appends an entry with a raw name, as no honest tar would.
fn entry(archive: &mut Archive, kind: EntryType, name: &str, link: Option<&str>, mode: u32, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    archive.append(&header, data).unwrap();
}

fn file(archive: &mut Archive, name: &str, data: &[u8]) {
    entry(archive, EntryType::Regular, name, None, 0o644, data);
}

fn unpack(archive: Archive, tree: &Path, limits: Limits) -> Result<Report, ImportError> {
    fs::create_dir_all(tree).unwrap();
    import::unpack(Cursor::new(archive.into_inner().unwrap()), tree, limits)
}

fn reason(result: Result<Report, ImportError>) -> &'static str {
    match result {
        Err(ImportError::Hostile { reason, .. }) => reason,
        other => panic!("it was not refused as hostile: {other:?}"),
    }
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
        let report = import::import(&from, &tree, Limits::default(), &Progress::silent()).unwrap();
        assert_eq!(report, Report { entries: 7, devices: 1, attributes: 0 });
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
    assert!(reason(result).contains("larger"));

    let mut many = Builder::new(Vec::new());
    for _ in 0..11 {
        file(&mut many, "a", b"");
    }
    assert!(
        reason(unpack(many, &dir.path().join("many"), Limits { bytes: 1000, entries: 10 }))
            .contains("too many")
    );

    // A header that claims more than there is.
    let mut lying = Builder::new(Vec::new());
    file(&mut lying, "a", &[0; 600]);
    let mut bytes = lying.into_inner().unwrap();
    bytes.truncate(700);
    fs::create_dir(dir.path().join("lying")).unwrap();
    import::unpack(Cursor::new(bytes), &dir.path().join("lying"), Limits::default()).unwrap_err();
}

#[test]
fn attributes_that_overlays_or_security_modules_obey_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Builder::new(Vec::new());
    let value: &[u8] = b"v";
    let attributes = [
        ("SCHILY.xattr.user.mine", value),
        ("SCHILY.xattr.trusted.overlay.redirect", value),
        ("SCHILY.xattr.user.overlay.whiteout", value),
        ("SCHILY.xattr.security.selinux", value),
    ];
    archive.append_pax_extensions(attributes).unwrap();
    file(&mut archive, "file", b"x");
    let tree = dir.path().join("tree");
    assert_eq!(unpack(archive, &tree, Limits::default()).unwrap().attributes, 3);
    let names: Vec<_> = xattr::list(tree.join("file")).unwrap().collect();
    assert_eq!(names, ["user.mine"]);
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
        import::import(&from, &dir.path().join("a"), Limits::default(), &Progress::silent()).unwrap_err();
    assert!(matches!(error, ImportError::Unknown(_)), "{error}");

    fs::create_dir(dir.path().join("b")).unwrap();
    symlink("/absent", dir.path().join("b/link")).unwrap();
    import::import(&dir.path().join("b"), &dir.path().join("c"), Limits::default(), &Progress::silent())
        .unwrap();
    assert_eq!(fs::read_link(dir.path().join("c/link")).unwrap(), Path::new("/absent"));
}
