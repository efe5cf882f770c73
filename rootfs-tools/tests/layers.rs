//! Images in layers: what later layers do to earlier ones, what hostile ones try, and what is sent of a version.

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use common::{Archive, entry};
use rootfs_tools::{
    Explain as _, digest,
    progress::Progress,
    registry::{self, Layout, RegistryError, Tree},
    tree,
};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

fn file(archive: &mut Archive, name: &str, data: &str) {
    entry(archive, EntryType::Regular, name, None, 0o644, data.as_bytes());
}

fn dir(archive: &mut Archive, name: &str, mode: u32) {
    entry(archive, EntryType::Directory, name, None, mode, b"");
}

fn layer(fill: impl FnOnce(&mut Archive)) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    fill(&mut archive);
    archive.into_inner().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layout as another program writes it.
struct Written {
    dir: tempfile::TempDir,
    layers: Vec<String>,
}

impl Written {
    fn new(layers: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let mut written = Self { dir, layers: Vec::new() };
        written.layers = layers.iter().map(|layer| written.blob(layer)).collect();
        let diff_ids: Vec<_> = written.layers.iter().map(|hex| format!("\"sha256:{hex}\"")).collect();
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","config":{{"Cmd":["sh"],"Labels":null}},
                "rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[{{"created_by":"by hand"}}]}}"#,
            diff_ids.join(",")
        );
        let kinds = layers.iter().zip(&written.layers);
        let descriptors: Vec<_> = kinds
            .map(|(layer, hex)| {
                let kind = "application/vnd.docker.image.rootfs.diff.tar";
                format!(r#"{{"mediaType":"{kind}","digest":"sha256:{hex}","size":{}}}"#, layer.len())
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{}","size":{}}},"layers":[{}]}}"#,
            written.blob(config.as_bytes()),
            config.len(),
            descriptors.join(",")
        );
        let digest = written.blob(manifest.as_bytes());
        written.index(&[("one", digest.as_str(), manifest.len() as u64)]);
        written
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let name = hex(bytes);
        fs::write(self.path(&name), bytes).unwrap();
        name
    }

    fn path(&self, hex: &str) -> PathBuf {
        self.dir.path().join("blobs/sha256").join(hex)
    }

    fn index(&self, images: &[(&str, &str, u64)]) {
        let images: Vec<_> = images
            .iter()
            .map(|(tag, hex, size)| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{hex}","size":{size},
                        "annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}"#
                )
            })
            .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, images.join(","));
        fs::write(self.dir.path().join("index.json"), text).unwrap();
    }

    fn unpack(&self) -> Result<tempfile::TempDir, RegistryError> {
        let layout = Layout::open(self.dir.path(), None)?;
        let image = layout.image(None)?;
        let to = tempfile::tempdir().unwrap();
        registry::unpack(&layout, &image, &to.path().join("tree"), &Progress::silent())?;
        Ok(to)
    }

    fn fails(&self) -> String {
        let error = self.unpack().map(|_| ()).unwrap_err();
        assert!(error.help().is_some(), "{error}");
        error.to_string()
    }
}

fn paths(root: &Path) -> Vec<String> {
    let entries = tree::walk(&root.join("tree")).unwrap();
    entries.into_iter().skip(1).map(|entry| entry.path.to_string_lossy().into_owned()).collect()
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join("tree").join(path)).unwrap()
}

#[test]
fn later_layers_replace_and_remove() {
    let lower = layer(|a| {
        dir(a, "etc/", 0o700);
        file(a, "etc/gone", "1");
        file(a, "etc/kept", "1");
        dir(a, "opaque/", 0o755);
        dir(a, "opaque/below/", 0o755);
        file(a, "opaque/below/old", "1");
        file(a, "opaque/old", "1");
        dir(a, "becomes-file/", 0o755);
        file(a, "becomes-file/inside", "1");
        file(a, "becomes-dir", "1");
        dir(a, "tree-gone/", 0o755);
        file(a, "tree-gone/inside", "1");
        file(a, "linked", "same");
    });
    let upper = layer(|a| {
        dir(a, "etc/", 0o755);
        file(a, "etc/.wh.gone", "");
        // The mark comes after what its own layer has added, which stays.
        dir(a, "opaque/", 0o755);
        dir(a, "opaque/below/", 0o755);
        file(a, "opaque/below/new", "2");
        file(a, "opaque/.wh..wh..opq", "");
        file(a, "becomes-file", "2");
        dir(a, "becomes-dir/", 0o755);
        file(a, "becomes-dir/inside", "2");
        file(a, ".wh.tree-gone", "");
        file(a, ".wh.never-was", "");
        file(a, "absent/.wh.never-was", "");
        entry(a, EntryType::Link, "other-name", Some("linked"), 0o644, b"");
        file(a, ".wh..wh.plnk", "");
    });
    let to = Written::new(&[lower, upper]).unpack().unwrap();
    assert_eq!(
        paths(to.path()),
        [
            "becomes-dir",
            "becomes-dir/inside",
            "becomes-file",
            "etc",
            "etc/kept",
            "linked",
            "opaque",
            "opaque/below",
            "opaque/below/new",
            "other-name"
        ]
    );
    assert_eq!(read(to.path(), "becomes-file"), "2");
    let mode = |path: &str| fs::metadata(to.path().join("tree").join(path)).unwrap().permissions().mode();
    assert_eq!(mode("etc") & 0o7777, 0o755, "the later layer says so");
    let inode = |path: &str| fs::metadata(to.path().join("tree").join(path)).unwrap().ino();
    assert_eq!(inode("linked"), inode("other-name"));
}

#[test]
fn a_mark_spares_what_its_own_layer_has_added() {
    let lower = layer(|a| {
        dir(a, "d/", 0o755);
        file(a, "d/old", "1");
    });
    let upper = layer(|a| {
        dir(a, "d/", 0o755);
        file(a, "d/new", "2");
        file(a, ".wh.d", "");
    });
    let to = Written::new(&[lower, upper]).unpack().unwrap();
    assert_eq!(paths(to.path()), ["d", "d/new"]);
}

#[test]
fn no_layer_reaches_out_of_the_image() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "host").unwrap();
    let outside = host.path().to_str().unwrap();
    let lower = layer(|a| entry(a, EntryType::Symlink, "out", Some(outside), 0o777, b""));
    let upper = layer(|a| {
        file(a, "out/.wh.file", "");
        file(a, "out/.wh..wh..opq", "");
    });
    let _ = Written::new(&[lower.clone(), upper]).unpack();
    assert_eq!(fs::read_to_string(host.path().join("file")).unwrap(), "host");
    for name in ["../evil", "a/../../evil", "a/.wh...", "a/.wh..", "a/.wh.", "a/.wh.b/c"] {
        let hostile = layer(|a| file(a, name, "evil"));
        let error = Written::new(&[lower.clone(), hostile]).fails();
        assert!(error.contains(name), "{name}: {error}");
    }
    let error =
        Written::new(&[layer(|a| entry(a, EntryType::Link, "x", Some("../../etc/shadow"), 0o644, b""))]);
    assert!(error.fails().contains("\"x\""));
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
}

#[test]
fn what_is_not_what_it_is_called_is_refused_by_name() {
    let good = layer(|a| file(a, "sbin/init", "#!/bin/sh"));
    let written = Written::new(&[good.clone(), layer(|a| file(a, "b", "b"))]);
    let (path, name) = (written.path(&written.layers[0]), written.layers[0].clone());
    let mut bytes = fs::read(&path).unwrap();
    bytes[700] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let said = written.fails();
    assert!(said.contains(&name) && said.contains("damaged"), "{said}");
    assert!(!path.exists(), "a pull would take it for whole");
    let said = written.fails();
    assert!(said.contains(&name) && said.contains("missing"), "{said}");
    // A link in the place of a blob is none.
    symlink("/etc/passwd", &path).unwrap();
    assert!(written.fails().contains("missing"));
    fs::remove_file(&path).unwrap();
    fs::write(&path, &good[..512]).unwrap();
    assert!(written.fails().contains("its size is another"));
}

#[test]
fn a_layout_that_makes_no_sense_is_refused() {
    let written = Written::new(&[layer(|a| file(a, "a", "a"))]);
    let digest = written.layers[0].clone();
    written.index(&[("one", &digest, 1 << 40)]);
    assert!(written.fails().contains("too large"));
    let size = fs::metadata(written.path(&digest)).unwrap().len();
    written.index(&[("one", &digest, size)]);
    assert!(written.fails().contains("cannot read the manifest"));
    written.index(&[("one", &digest, size), ("two", &digest, size)]);
    assert!(written.fails().contains("tags: one, two"));
    let layout = Layout::open(written.dir.path(), None).unwrap();
    let error = layout.image(Some("three")).unwrap_err();
    assert!(error.to_string().contains("\"three\" (tags: one, two)"), "{error}");
    fs::write(written.dir.path().join("index.json"), vec![b' '; 5 << 20]).unwrap();
    assert!(written.fails().contains("too large"));
    fs::remove_file(written.dir.path().join("index.json")).unwrap();
    assert!(written.fails().contains("not an OCI image layout"));
}

/// A tree with one of everything that a version can have.
fn version(dir: &Path) {
    fs::create_dir_all(dir.join("usr/bin")).unwrap();
    fs::create_dir_all(dir.join("gone/deep")).unwrap();
    fs::create_dir_all(dir.join("turns")).unwrap();
    fs::write(dir.join("gone/deep/file"), "1").unwrap();
    fs::write(dir.join("turns/inside"), "1").unwrap();
    fs::write(dir.join("usr/bin/tool"), "tool 1").unwrap();
    fs::hard_link(dir.join("usr/bin/tool"), dir.join("usr/bin/alias")).unwrap();
    fs::write(dir.join("usr/same"), vec![b'x'; 100_000]).unwrap();
    fs::set_permissions(dir.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("bin/tool", dir.join("usr/link")).unwrap();
    let long = format!("usr/{}", "long-name-".repeat(20));
    fs::write(dir.join(&long), "long").unwrap();
    symlink(format!("/{long}"), dir.join(format!("{long}.link"))).unwrap();
    xattr::set(dir.join("usr/same"), "user.note", b"a\0b").unwrap();
    std::os::unix::fs::chown(dir.join("usr/same"), Some(7), Some(8)).unwrap();
}

/// The next version of it.
fn change(dir: &Path) {
    fs::remove_dir_all(dir.join("gone")).unwrap();
    fs::remove_dir_all(dir.join("turns")).unwrap();
    fs::write(dir.join("turns"), "a file now").unwrap();
    fs::write(dir.join("usr/bin/tool"), "tool 2").unwrap();
    fs::create_dir(dir.join("usr/new")).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).unwrap();
}

fn of(path: &Path) -> tenant::model::ids::Digest {
    digest::digest(path, &tree::walk(path).unwrap()).unwrap()
}

#[test]
fn a_version_arrives_as_it_was_sent_on_top_of_its_parent() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    version(first.path());
    version(second.path());
    change(second.path());
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let (old, new) = (Tree::read(first.path()).unwrap(), Tree::read(second.path()).unwrap());
    let mut parts = registry::write_layers(&layout, None, &old).unwrap();
    let below = parts.clone();
    parts.extend(registry::write_layers(&layout, Some(&old), &new).unwrap());
    // What did not change is not sent again, and what is sent again is the same.
    let sizes: Vec<_> = parts.iter().map(|part| part.descriptor.size).collect();
    assert_eq!(parts.len(), 2, "{sizes:?}");
    let again = registry::write_layers(&layout, None, &Tree::read(first.path()).unwrap()).unwrap();
    assert_eq!(again[0].descriptor.digest, below[0].descriptor.digest);
    assert!(registry::write_layers(&layout, Some(&new), &new).unwrap().is_empty());

    let config = registry::Config {
        architecture: if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }.to_owned(),
        os: "linux".to_owned(),
        rootfs: serde_json::from_value(serde_json::json!({
            "type": "layers", "diff_ids": parts.iter().map(|part| part.diff_id.clone()).collect::<Vec<_>>()
        }))
        .unwrap(),
        ..registry::Config::default()
    };
    let layers: Vec<_> = parts.into_iter().map(|part| part.descriptor).collect();
    layout.add_image("x", &config, &layers).unwrap();
    let image = layout.image(Some("x")).unwrap();
    let to = tempfile::tempdir().unwrap();
    registry::unpack(&layout, &image, &to.path().join("tree"), &Progress::silent()).unwrap();
    assert_eq!(of(&to.path().join("tree")), of(second.path()), "{:?}", paths(to.path()));
}

#[test]
fn what_no_layer_can_contain_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let to = tempfile::tempdir().unwrap();
    let layout = Layout::create(to.path()).unwrap();
    fs::write(dir.path().join(".wh.odd"), "").unwrap();
    let error = registry::write_layers(&layout, None, &Tree::read(dir.path()).unwrap()).unwrap_err();
    assert!(error.to_string().contains("\"/.wh.odd\""), "{error}");
}
