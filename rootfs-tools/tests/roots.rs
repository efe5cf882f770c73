//! Whole root filesystems: with shifted owners, in use, in a directory, of one layer, or none at all.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rootfs_tools::{
    Explain as _, Outcome,
    import::{IdMap, Options},
};
use tar::{Builder, EntryType};

mod common;

use common::{entry, import_dir, program};

#[test]
fn owners_that_are_shifted_are_refused_with_the_way_back_and_shifted_back() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    program(&from.join("sbin/init"));
    fs::write(from.join("su"), "setuid").unwrap();
    fs::hard_link(from.join("su"), from.join("su2")).unwrap();
    symlink("su", from.join("link")).unwrap();
    for (path, id) in [("", 0), ("sbin", 0), ("sbin/init", 0), ("su", 7), ("link", 65_535)] {
        std::os::unix::fs::lchown(from.join(path), Some(100_000 + id), Some(200_000 + id)).unwrap();
    }
    fs::set_permissions(from.join("su"), fs::Permissions::from_mode(0o6711)).unwrap();
    // An ACL for user 4 of the container, and a capability for its root.
    let acl = |id: u32| {
        let entry = |tag: u16, bits: u16, id: u32| {
            [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries =
            [entry(1, 7, none), entry(2, 4, id), entry(4, 5, none), entry(16, 5, none), entry(32, 0, none)];
        [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
    };
    let capability = |root: u32| {
        let words = [0x0300_0001_u32, 1 << 13, 0, 0, 0, root];
        words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
    };
    xattr::set(from.join("sbin/init"), "system.posix_acl_access", &acl(100_004)).unwrap();
    xattr::set(from.join("sbin"), "system.posix_acl_default", &acl(100_004)).unwrap();
    xattr::set(from.join("sbin/init"), "security.capability", &capability(100_000)).unwrap();

    let error = import_dir(&from, &dir.path().join("refused"), &Options::default()).unwrap_err();
    assert!(error.help().unwrap().contains("--idmap b:0:100000:65536"), "{error}: {:?}", error.help());
    assert_eq!(error.outcome(), Outcome::Refused);

    let idmap = ["u:0:100000:65536", "g 0 200000 65536"].iter().map(|range| range.parse().unwrap()).collect();
    let options = Options { idmap: IdMap::new(idmap).unwrap(), ..Options::default() };
    let tree = dir.path().join("tree");
    import_dir(&from, &tree, &options).unwrap();
    for (path, id, mode) in
        [("", 0, None), ("sbin/init", 0, None), ("su", 7, Some(0o6711)), ("link", 65_535, None)]
    {
        let found = fs::symlink_metadata(tree.join(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (id, id), "{path}");
        assert!(mode.is_none_or(|mode| found.mode() & 0o7777 == mode), "{path}: {:o}", found.mode());
    }
    assert_eq!(fs::metadata(tree.join("su")).unwrap().nlink(), 2);
    let found = |path: &str, name: &str| xattr::get(tree.join(path), name).unwrap().unwrap();
    assert_eq!(found("sbin/init", "system.posix_acl_access"), acl(4));
    assert_eq!(found("sbin", "system.posix_acl_default"), acl(4));
    assert_eq!(found("sbin/init", "security.capability")[..8], [1, 0, 0, 2, 0, 32, 0, 0]);

    // The same by way of an archive.
    let archive = dir.path().join("from.tar");
    let tar = |args: &[&str]| {
        let mut tar = Command::new("tar");
        tar.args(args).arg("-cf").arg(&archive).arg("-C").arg(&from).arg(".");
        assert!(tar.status().unwrap().success());
    };
    tar(&["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*"]);
    let error = import_dir(&archive, &dir.path().join("refused2"), &Options::default()).unwrap_err();
    assert!(error.help().unwrap().contains("--idmap b:0:"), "{error}: {:?}", error.help());
    let again = dir.path().join("again");
    import_dir(&archive, &again, &options).unwrap();
    assert_eq!(digest(&again), digest(&tree));

    // An owner that no range holds.
    std::os::unix::fs::lchown(from.join("su"), Some(7), None).unwrap();
    let error = import_dir(&from, &dir.path().join("hole"), &options).unwrap_err();
    assert!(
        error.to_string().contains("\"/su\" has an owner or an access control entry with the id 7,"),
        "{error}"
    );
}

fn digest(tree: &Path) -> tenant::model::ids::Digest {
    rootfs_tools::digest::digest(tree, &rootfs_tools::tree::walk(tree).unwrap()).unwrap()
}

#[test]
fn one_layer_of_an_overlay_is_refused_as_a_directory_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    program(&node.join("sbin/init"));
    let at = fs::File::open(&node).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&at, "gone", rustix::fs::FileType::CharacterDevice, mode, 0).unwrap();
    let error = import_dir(&node, &dir.path().join("a"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("\"/gone\" is a whiteout"), "{error}");

    let opaque = dir.path().join("opaque");
    program(&opaque.join("sbin/init"));
    xattr::set(opaque.join("sbin"), "trusted.overlay.opaque", b"y").unwrap();
    let error = import_dir(&opaque, &dir.path().join("b"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("trusted.overlay.opaque"), "{error}");
}

#[test]
fn a_root_that_somebody_runs_in_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = import_dir(Path::new("/"), &dir.path().join("a"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("root directory of this system"), "{error}");
    assert_eq!(error.outcome(), Outcome::Refused);

    // A root directory of its own, held by a process that waits for the end of its standard input.
    let root = dir.path().join("root");
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox-static is installed: apt-get install busybox-static");
    program(&root.join("bin/cat"));
    fs::copy(busybox, root.join("bin/cat")).unwrap();
    let mut held = Command::new("chroot").arg(&root).arg("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        let tree = dir.path().join("b");
        match import_dir(&root, &tree, &Options::default()) {
            Err(error) => break error,
            // chroot(1) has not come to it yet.
            Ok(_) => fs::remove_dir_all(tree).unwrap(),
        }
        assert!(Instant::now() < deadline);
    };
    drop(held.stdin.take());
    held.wait().unwrap();
    assert!(error.to_string().contains(&format!("process {} (", held.id())), "{error}");
    import_dir(&root, &dir.path().join("c"), &Options::default()).unwrap();
}

#[test]
fn a_directory_in_it_can_be_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    program(&from.join("rootfs/sbin/init"));
    fs::hard_link(from.join("rootfs/sbin/init"), from.join("rootfs/sbin/telinit")).unwrap();
    fs::write(from.join("rootfs/etc"), "").unwrap();
    fs::write(from.join("metadata.yaml"), "architecture: x86_64\n").unwrap();
    symlink("/", from.join("out")).unwrap();
    let archive = dir.path().join("from.tar");
    let tar = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&from).arg(".").status().unwrap();
    assert!(tar.success());

    for (number, source) in [&from, &archive].into_iter().enumerate() {
        let tree = |name: &str| dir.path().join(format!("{name}{number}"));
        let error = import_dir(source, &tree("refused"), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("an image of LXD or Incus"), "{error}");
        assert!(error.help().unwrap().ends_with("--strip-prefix rootfs"), "{:?}", error.help());

        for prefix in ["rootfs", "./rootfs/", "/rootfs"] {
            let options = Options::default().with_prefix(Path::new(prefix)).unwrap();
            let tree = tree(&prefix.replace('/', "_"));
            import_dir(source, &tree, &options).unwrap();
            assert_eq!(fs::metadata(tree.join("sbin/init")).unwrap().nlink(), 2);
            assert!(!tree.join("metadata.yaml").exists() && !tree.join("rootfs").exists());
        }
        let whole = Options::default().with_prefix(Path::new(".")).unwrap();
        import_dir(source, &tree("whole"), &whole).unwrap();
        for (prefix, said) in [("absent", "below"), ("out/etc", "below")] {
            let options = Options::default().with_prefix(Path::new(prefix)).unwrap();
            let error = import_dir(source, &tree(&prefix.replace('/', "_")), &options).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(Options::default().with_prefix(Path::new("rootfs/../..")).is_err());
    }
}

#[test]
fn what_is_no_root_filesystem_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let of = |files: &[(&str, u32)]| {
        let mut archive = Builder::new(Vec::new());
        entry(&mut archive, EntryType::Directory, "./", None, 0o755, b"");
        for (name, mode) in files {
            entry(&mut archive, EntryType::Regular, name, None, *mode, b"x");
        }
        let from = dir.path().join("x.tar");
        fs::write(&from, archive.into_inner().unwrap()).unwrap();
        let tree = dir.path().join("tree");
        let result = import_dir(&from, &tree, &Options::default());
        fs::remove_dir_all(&tree).unwrap();
        result.map_err(|error| error.to_string())
    };
    for (files, said) in [
        (&[][..], "contains no files"),
        (&["oci-layout", "index.json", "blobs/sha256/aa"], "OCI image layout"),
        (&["manifest.json", "aa/layer.tar"], "docker archive"),
        (&["metadata.yaml", "rootfs/etc/passwd"], "LXD or Incus"),
        (&["web/rootfs/etc/passwd"], "is in \"web/rootfs\""),
        (&["etc/passwd", "usr/share/x"], "no init and no other program"),
    ] {
        let files: Vec<_> = files.iter().map(|name| (*name, 0o644)).collect();
        let error = of(&files).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    // Proxmox packs the root filesystem itself, with its configuration in it.
    of(&[("sbin/init", 0o755), ("etc/vzdump/pct.conf", 0o644)]).unwrap();
}
