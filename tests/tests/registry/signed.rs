//! Hosts that require signatures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tenantry_tests::{Host, Run};

use crate::{host, next, path, server::Registry, short, tool};

/// Makes a key pair; the files of its halves.
fn key(host: &Host, name: &str) -> (PathBuf, PathBuf) {
    let file = host.path(name);
    Run::new("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f"]).args([&file]).ok();
    (file.clone(), file.with_extension("pub"))
}

fn trust(host: &Host, public: &Path) {
    let keys = host.path("etc/tenantry/keys");
    fs::create_dir_all(&keys).expect("a directory for keys");
    fs::copy(public, keys.join("me.pub")).expect("a trusted key");
}

#[test]
fn a_signed_image_from_a_registry_boots_where_signatures_are_required_and_no_other_does() {
    let (one, two) = (host(), Host::bare());
    let registry = Registry::start(one.path("registry"));
    let name = registry.name("busybox:1");
    let (private, public) = key(&one, "key");
    let (unknown, _) = key(&one, "unknown");
    two.configure("require_signature = true\n");
    let pull = || tool(&two, &["pull", &name, "--insecure"]);
    let push = || tool(&one, &["push", "busybox", &name, "--insecure"]).ok();
    let sign = |key: &Path| tool(&one, &["sign", "busybox", "--key", path(key)]).ok();

    push();
    let said = pull().output().refused(4);
    assert!(said.contains("is not signed") && said.contains("rootfsctl sign"), "{said}");
    sign(&private);
    push();
    let said = pull().output().refused(4);
    assert!(said.contains("etc/tenantry/keys\" contains no public key"), "{said}");
    trust(&two, &public);
    sign(&unknown);
    push();
    let said = pull().output().refused(4);
    assert!(said.contains("signed by a key that this host does not trust: SHA256:"), "{said}");
    sign(&private);
    push();
    pull().ok();
    two.start_hostd();
    let booted = two.boot("a", &["--image", "busybox"]);
    assert_eq!(booted.phase(), "running");
    assert_eq!(tool(&two, &["verify"]).ok().json()[0]["signature"]["state"], "signed");

    // Whoever can write to the store changes what is started.
    booted.stop();
    let manifest = two.version("busybox").join("manifest.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text.replace("BusyBox", "EvilBox")).expect("an altered manifest");
    for said in [
        booted.ctl("start", &[]).output().refused(4),
        two.ctl(&["create", "b", "--image", "busybox"]).output().refused(4),
    ] {
        assert!(said.contains("does not match its manifest"), "{said}");
    }
    fs::write(&manifest, text).expect("the manifest as it was");
    fs::remove_file(manifest.with_extension("sig")).expect("a signature");
    let said = two.ctl(&["create", "b", "--image", "busybox"]).output().refused(4);
    assert!(said.contains("is not signed"), "{said}");
    let said = booted.ctl("rebase", &["--to", ":stable", "--next-start"]).output().refused(4);
    assert!(said.contains("is not signed"), "{said}");
    // The version is there already; what the registry has of it in addition is its signature.
    pull().ok();
    booted.start();
    booted.stop();
    // A signature that does not count is replaced by the one that does.
    fs::write(manifest.with_extension("sig"), "no signature").expect("a damaged signature");
    booted.ctl("start", &[]).output().refused(4);
    pull().ok();
    booted.start();
}

/// Has a manifest say that its version was made in another year.
fn make_older(manifest: &Path) {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let created = text.lines().find(|line| line.starts_with("created")).expect("a time");
    fs::write(manifest, text.replace(created, "created = \"2026-01-01T00:00:00Z\"")).expect("an older one");
}

#[test]
fn a_host_that_requires_signatures_never_goes_back_unless_it_is_told() {
    let one = host();
    let (private, public) = key(&one, "key");
    trust(&one, &public);
    let sign = || tool(&one, &["sign", "busybox", "--key", path(&private)]).ok();
    let (old, manifest) = (one.digest("busybox"), one.version("busybox").join("manifest.toml"));
    make_older(&manifest);
    sign();
    let new = next(&one, "new", 10);
    sign();
    one.configure("require_signature = true\n");
    one.start_hostd();
    let first = one.create("first", &["--image", "busybox"]);
    let channel = ["channel", "busybox", "stable", &old[7..]];
    let said = tool(&one, &channel).output().refused(4);
    let words = format!("version {} of image \"busybox\" (2026-01-01T00:00:00Z) is older than", short(&old));
    assert!(said.contains(&words) && said.contains("--allow-older"), "{said}");
    let said = one.ctl(&["rollout", "start", "busybox", "--to", &old[7..]]).output().refused(4);
    assert!(said.contains(&words), "{said}");
    // A store that was put back behind its back.
    let file = one.path("var/lib/tenantry/images/busybox/channels/stable");
    fs::write(&file, format!("{old}\n")).expect("a channel");
    let said = one.ctl(&["create", "second", "--image", "busybox"]).output().refused(4);
    assert!(said.contains(&words), "{said}");
    let said = first.ctl("rebase", &["--to", ":stable", "--next-start"]).output().refused(4);
    assert!(said.contains(&words), "{said}");
    // Naming the version says so, and so does the flag.
    one.create("second", &["--image", &format!("busybox@{}", &old[7..])]).start();
    tool(&one, &[&channel[..], &["--allow-older"]].concat()).ok();
    one.create("third", &["--image", "busybox"]).start();
    // What a tenant has it keeps.
    first.start();
    assert!(first.field("/image").contains(short(&new)) || first.show().to_string().contains(&new[7..]));
}

#[test]
fn a_version_that_does_not_arrive_leaves_the_channel_and_what_it_may_lead_to_as_they_were() {
    let (one, two) = (host(), Host::bare());
    let (private, public) = key(&one, "key");
    trust(&two, &public);
    let sign = || tool(&one, &["sign", "busybox", "--key", path(&private)]).ok();
    let layout = |name: &str| format!("oci:{}:1", one.path(name).display());
    make_older(&one.version("busybox").join("manifest.toml"));
    sign();
    tool(&one, &["push", "busybox", &layout("first")]).ok();
    let old = one.digest("busybox");
    next(&one, "new", 10);
    sign();
    tool(&one, &["push", "busybox", &layout("second")]).ok();
    two.configure("require_signature = true\n");
    two.start_hostd();
    tool(&two, &["pull", &layout("first")]).ok();
    let note = two.path("var/lib/tenantry/signed/busybox/stable");
    let noted = || fs::read_to_string(&note).expect("a note");
    let before = noted();
    assert!(before.contains(&old), "{before}");

    // The largest blob is the layer.
    let blobs = fs::read_dir(one.path("second/blobs/sha256")).expect("blobs").flatten();
    let layer = blobs.max_by_key(|blob| blob.metadata().expect("a blob").len()).expect("a layer").path();
    let good = fs::read(&layer).expect("a layer");
    fs::write(&layer, [&good[1..], &[0]].concat()).expect("a damaged layer");
    let import = || {
        let from = format!("{}:1", one.path("second").display());
        tool(&two, &["import", "--oci", &from])
    };
    let said = import().output().refused(4);
    assert!(said.contains("is damaged"), "{said}");
    assert_eq!((two.digest("busybox"), noted()), (old.clone(), before.clone()));
    two.create("a", &["--image", "busybox"]).start();
    tool(&two, &["pull", &layout("first")]).ok();

    fs::write(&layer, good).expect("the layer as it was");
    import().ok();
    let new = two.digest("busybox");
    assert_ne!(new, old);
    // As if it had been killed after it moved the channel and before it noted that.
    fs::write(&note, &before).expect("the earlier note");
    let said = tool(&two, &["channel", "busybox", "stable", &old[7..]]).output().refused(4);
    assert!(said.contains("is older than") && said.contains("--allow-older"), "{said}");
    assert!(noted().contains(&new), "{}", noted());
    tool(&two, &["channel", "busybox", "stable", &old[7..], "--allow-older"]).ok();
    assert!(noted().contains(&old), "{}", noted());
}
