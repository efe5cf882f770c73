//! The store: channels move, versions stay as long as anybody needs them.

use std::{fs, path::Path};

use rootfs_tools::{
    Explain as _, Outcome, Store,
    progress::Progress,
    publish::{self, Published, Request},
    staging::Staging,
    store::{StoreError, Way},
};
use tenant::{
    Layout,
    kernel::image::{Contents, ImageError},
    model::{
        ids::Digest,
        image::{ChannelName, ImageFormat, ImageName, ImageRef, ImageSource},
    },
};

struct Host {
    _dir: tempfile::TempDir,
    layout: Layout,
    store: Store,
}

impl Host {
    fn new() -> Self {
        // On a disk: of a tmpfs, as /tmp may be one, the kernel mounts no file.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let layout = Layout::new(dir.path());
        Self { store: Store::new(layout.clone()), layout, _dir: dir }
    }

    fn publish(&self, content: &str, channel: &str, format: ImageFormat) -> Published {
        let staging = Staging::new(&self.layout).unwrap();
        fs::create_dir_all(staging.tree().join("usr")).unwrap();
        fs::write(staging.tree().join("usr/file"), content).unwrap();
        let channel = channel.parse().unwrap();
        let request = Request::new(image(), channel, format, "test".to_owned());
        publish::publish(&self.layout, &staging, &request, &Progress::silent()).unwrap()
    }

    fn pin(&self, tenant: &str, digest: &Digest) {
        let path = self.layout.allocation(&tenant.parse().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!(
            "format_version = 1\ngeneration = 1\nname = \"{tenant}\"\nstate = \"ready\"\n\
             uuid = \"0123456789abcdef0123456789abcdef\"\nindex = 1\nuid_base = 524288\nipv4 = \"10.0.0.1\"\n\
             ipv6 = \"fd00::1\"\ncreated = \"2026-01-02T03:04:05Z\"\n\n[pinned]\nimage = \"img\"\ndigest = \"{digest}\"\n"
        );
        fs::write(path, text).unwrap();
    }

    /// Pins a tenant to the last of these versions, which it had in this order.
    fn pin_after(&self, tenant: &str, versions: &[Digest]) {
        self.pin(tenant, versions.last().unwrap());
        let path = self.layout.allocation(&tenant.parse().unwrap());
        let generation = |digest| {
            format!(
                "\n[[generations]]\nimage = \"img\"\ndigest = \"{digest}\"\nsince = \"2026-01-02T03:04:05Z\"\n"
            )
        };
        let text = fs::read_to_string(&path).unwrap() + &versions.iter().map(generation).collect::<String>();
        fs::write(path, text).unwrap();
    }

    fn resolve(&self, reference: &str) -> Result<Digest, StoreError> {
        self.store.resolve(&reference.parse::<ImageRef>().unwrap())
    }
}

fn image() -> ImageName {
    "img".parse().unwrap()
}

#[test]
fn a_reference_means_what_its_channel_points_at() {
    let host = Host::new();
    assert!(matches!(host.resolve("img"), Err(StoreError::NoImage(_))));
    let first = host.publish("1", "stable", ImageFormat::Tree).digest;
    let second = host.publish("2", "candidate", ImageFormat::Tree).digest;
    assert_eq!(host.resolve("img").unwrap(), first);
    assert_eq!(host.resolve("img:candidate").unwrap(), second);
    assert_eq!(host.resolve(&format!("img@{}", second.short())).unwrap(), second);
    assert_eq!(host.resolve("img:absent").unwrap_err().outcome(), Outcome::NotFound);
    assert_eq!(host.resolve("img@sha256:ffffffffffff").unwrap_err().outcome(), Outcome::NotFound);

    assert!(host.store.set_channel(&image(), &ChannelName::stable(), &second, Way::Anywhere).unwrap());
    assert!(!host.store.set_channel(&image(), &ChannelName::stable(), &second, Way::Anywhere).unwrap());
    assert_eq!(host.resolve("img").unwrap(), second);
    let absent = Digest::from_bytes([0; 32]);
    host.store.set_channel(&image(), &ChannelName::stable(), &absent, Way::Anywhere).unwrap_err();
    assert_eq!(host.resolve("img").unwrap(), second);
}

#[test]
fn a_version_that_a_tenant_or_a_channel_needs_is_not_removed() {
    let host = Host::new();
    let old = host.publish("1", "stable", ImageFormat::Tree);
    let new = host.publish("2", "stable", ImageFormat::Tree);
    host.pin("alice", &old.digest);

    let in_use = host.store.remove(&image(), &old.digest).unwrap_err();
    assert!(in_use.to_string().contains("alice"), "{in_use}");
    assert_eq!(in_use.outcome(), Outcome::Refused);
    let in_channel = host.store.remove(&image(), &new.digest).unwrap_err();
    assert!(in_channel.to_string().contains("stable"), "{in_channel}");
    assert!(host.store.garbage(0).unwrap().is_empty());
    assert!(old.path.exists() && new.path.exists());

    fs::remove_file(host.layout.allocation(&"alice".parse().unwrap())).unwrap();
    host.store.remove(&image(), &old.digest).unwrap();
    assert!(!old.path.exists());
    host.store.remove_with_channels(&image(), &new.digest).unwrap();
    assert_eq!(host.store.images().unwrap(), Vec::<ImageName>::new());
    assert!(!host.layout.image(&image()).exists());
    assert_eq!(fs::read_dir(host.layout.staging()).unwrap().count(), 0);
}

#[test]
fn an_allocation_that_cannot_be_read_keeps_every_version() {
    let host = Host::new();
    let old = host.publish("1", "stable", ImageFormat::Tree);
    host.publish("2", "stable", ImageFormat::Tree);
    let path = host.layout.allocation(&"bob".parse().unwrap());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "format_version = 7").unwrap();
    let error = host.store.remove(&image(), &old.digest).unwrap_err();
    assert!(error.to_string().contains("bob") && error.outcome() == Outcome::Refused, "{error}");
    assert!(old.path.exists());
}

#[test]
fn gc_takes_what_nothing_needs_and_keeps_the_newest() {
    let host = Host::new();
    let digests: Vec<_> =
        (0..4).map(|n| host.publish(&n.to_string(), "stable", ImageFormat::Tree).digest).collect();
    host.pin("alice", &digests[0]);
    let garbage: Vec<_> = host.store.garbage(0).unwrap().into_iter().map(|(_, digest)| digest).collect();
    assert_eq!(garbage.len(), 2);
    assert!(!garbage.contains(&digests[0]) && !garbage.contains(&digests[3]));
    assert_eq!(host.store.garbage(1).unwrap().len(), 1);
    assert!(host.store.garbage(2).unwrap().is_empty());
}

#[test]
fn gc_keeps_what_a_tenant_may_be_rolled_back_to() {
    let host = Host::new();
    let made: Vec<_> =
        (0..6).map(|n| host.publish(&n.to_string(), "stable", ImageFormat::Tree).digest).collect();
    // It went forward, back and forward again: 1 is the version before 3, 0 the one before that.
    host.pin_after("alice", &[made[0], made[1], made[0], made[1], made[3]]);
    let goes = |keep| -> Vec<Digest> {
        host.store.garbage(keep).unwrap().into_iter().map(|(_, digest)| digest).collect()
    };
    assert_eq!(goes(0).len(), 4, "all but the present one and that of the channel");
    assert!(goes(1).len() >= 2 && !goes(1).contains(&made[1]), "what rollback gives it");
    assert!(!goes(2).contains(&made[1]) && !goes(2).contains(&made[0]));
    for digest in goes(1) {
        host.store.remove(&image(), &digest).unwrap();
    }
    assert!(host.resolve(&format!("img@{}", made[1].short())).is_ok());
}

#[test]
fn an_erofs_file_on_a_tmpfs_is_refused_with_what_it_needs() {
    // Shared memory, which is a tmpfs everywhere.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let layout = Layout::new(dir.path());
    let host = Host { store: Store::new(layout.clone()), layout, _dir: dir };
    let erofs = host.publish("same", "erofs", ImageFormat::Erofs);
    let manifest = host.store.manifest(&image(), &erofs.digest).unwrap();
    let error = Contents::open(&ImageSource::of(&host.layout, &manifest)).unwrap_err();
    let help = ImageError::of(&error).map(ImageError::help).unwrap_or_default();
    assert!(help.contains("not tmpfs"), "{error}: {help}");
}

#[test]
fn a_version_is_one_erofs_file_that_holds_the_tree() {
    let host = Host::new();
    let tree = host.publish("same", "stable", ImageFormat::Tree);
    let erofs = host.publish("same", "erofs", ImageFormat::Erofs);
    assert_ne!(tree.digest, erofs.digest);
    let file = host.layout.erofs(&image(), &erofs.digest);
    assert!(file.is_file() && !host.layout.tree(&image(), &erofs.digest).exists());
    let manifest = host.store.manifest(&image(), &erofs.digest).unwrap();
    let mounted = Contents::open(&ImageSource::of(&host.layout, &manifest)).unwrap();
    assert_eq!(fs::read_to_string(mounted.path().join("usr/file")).unwrap(), "same");
    let entries = rootfs_tools::tree::walk(&mounted.path()).unwrap();
    let digest = rootfs_tools::digest::digest(&mounted.path(), &entries).unwrap();
    assert_eq!(digest, tree.digest);
    assert!(Path::new(&erofs.path).join("manifest.toml").exists());
}
