//! Images travel: to a registry and back, from layouts and docker archives; and only those that are signed boot where
//! that is required.
//!
//! | file | what |
//! |---|---|
//! | `server` | a registry, and a connection to it that breaks |
//! | `logins` | registries with encryption, and with passwords |
//! | `signed` | hosts that require signatures |
//! | `containers` | images that were made for containers |

mod containers;
mod logins;
mod server;
mod signed;

use std::{fs, io::Read, path::Path};

use serde_json::Value;
use tenantry_tests::{Host, Run};

use server::{FETCHED, Line, Registry, STORED};

/// A host without tenants, with the busybox image in a store of its own.
fn host() -> Host {
    let host = Host::bare();
    tool(&host, &["build", "busybox"]).ok();
    host
}

fn tool(host: &Host, args: &[&str]) -> Run {
    host.tool("rootfsctl", &[&["--json"], args].concat())
}

fn digest(value: &Value) -> String {
    value["digest"].as_str().expect("a digest").to_owned()
}

/// Publishes a version of the busybox image that differs from the present one by one file; its digest.
fn next(host: &Host, name: &str, size: usize) -> String {
    // Bytes that cannot be packed.
    let mut random = vec![0; size];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("random bytes");
    digest(&host.another_version("busybox", "busybox", |tree| {
        fs::write(tree.join("usr").join(name), random).expect("one more file");
    }))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

fn short(digest: &str) -> &str {
    &digest[7..19]
}

#[test]
fn a_version_arrives_as_it_was_sent_and_its_parents_layers_are_not_sent_again() {
    let (one, two) = (host(), Host::bare());
    let registry = Registry::start(one.path("registry"));
    let (first, second) = (registry.name("busybox:1"), registry.name("busybox:2"));
    let base = one.digest("busybox");
    let said = tool(&one, &["push", "busybox", &first]).output().refused(1);
    assert!(said.contains("--insecure"), "{said}");
    tool(&one, &["push", "busybox", &first, "--insecure"]).ok();
    let child = next(&one, "more", 1000);
    let before = registry.requests().len();
    tool(&one, &["push", "busybox", &second, "--insecure"]).ok();
    assert_eq!(registry.blobs(before, STORED.0, STORED.1), 2, "the new layer and the configuration");

    let pulled = tool(&two, &["pull", &first, "--insecure"]).ok().json();
    assert_eq!((digest(&pulled), pulled["channel"].as_str()), (base, Some("stable")));
    let before = registry.requests().len();
    let pulled = tool(&two, &["pull", &second, "--insecure", "--channel", "candidate"]).ok().json();
    assert_eq!(digest(&pulled), child);
    assert_eq!(registry.blobs(before, FETCHED.0, FETCHED.1), 2, "the new layer and the configuration");
    let manifest = |host: &Host| {
        fs::read_to_string(host.version(&format!("busybox@{child}")).join("manifest.toml")).expect("it")
    };
    assert_eq!(manifest(&one), manifest(&two));
    for verified in tool(&two, &["verify"]).ok().json().as_array().expect("a list") {
        assert_eq!(verified["intact"], true, "{verified}");
    }
    two.start_hostd();
    assert_eq!(two.boot("a", &["--image", "busybox:candidate"]).says("wc -c < /usr/more"), "1000");

    let said = tool(&two, &["pull", &registry.name("nothing:1"), "--insecure"]).output().refused(3);
    assert!(said.contains("manifest unknown") && said.contains("list-tags"), "{said}");
}

#[test]
fn a_byte_that_is_wrong_in_the_registry_or_in_the_cache_is_refused_by_name() {
    let (one, two) = (host(), Host::bare());
    let registry = Registry::start(one.path("registry"));
    let name = registry.name("busybox:1");
    let flip = |file: &Path| {
        let mut bytes = fs::read(file).expect("a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).expect("a blob that is damaged");
    };
    tool(&one, &["push", "busybox", &name, "--insecure"]).ok();
    tool(&two, &["pull", &name, "--insecure"]).ok();
    let cache = two.path("var/cache/tenantry/oci/blobs/sha256");
    let sizes = fs::read_dir(&cache).expect("the cache").flatten();
    let layer = sizes.max_by_key(|entry| entry.metadata().expect("a blob").len()).expect("a layer");
    let hex = layer.file_name().into_string().expect("hex digits");

    flip(&layer.path());
    let said = tool(&two, &["pull", &name, "--insecure"]).output().refused(4);
    assert!(said.contains(&format!("blob sha256:{hex} is damaged")), "{said}");
    // It is fetched again.
    tool(&two, &["pull", &name, "--insecure"]).ok();

    flip(&registry.file(&hex));
    let three = Host::bare();
    let said = tool(&three, &["pull", &name, "--insecure"]).output().refused(1);
    assert!(said.contains(&hex) && said.contains("push it again"), "{said}");
    assert_eq!(tool(&three, &["list"]).ok().json(), Value::Array(Vec::new()));
}

#[test]
fn a_pull_that_was_interrupted_goes_on_where_it_was() {
    let (one, two) = (host(), Host::bare());
    let registry = Registry::start(one.path("registry"));
    let base = one.digest("busybox");
    let middle = next(&one, "middle", 4 << 20);
    let whole = next(&one, "whole", 32 << 20);
    let parents = ["--parent", &base[7..], "--parent", &middle[7..]];
    let push = ["push", "busybox", &registry.name("busybox:1"), "--insecure"];
    tool(&one, &[&push[..], &parents].concat()).ok();

    let slow = format!("127.0.0.1:{}/busybox:1", Line::to(registry.port, 20 << 20).port);
    tool(&two, &["pull", &slow, "--insecure"]).output().refused(1);
    assert_eq!(tool(&two, &["list"]).ok().json(), Value::Array(Vec::new()));
    let cached = fs::read_dir(two.path("var/cache/tenantry/oci/blobs/sha256")).expect("the cache").count();
    assert!(cached > 0, "nothing was whole before the connection was cut");

    let before = registry.requests().len();
    let pulled = tool(&two, &["pull", &registry.name("busybox:1"), "--insecure"]).ok().json();
    assert_eq!(digest(&pulled), whole);
    let fetched = registry.blobs(before, FETCHED.0, FETCHED.1);
    // Three layers and a configuration.
    assert_eq!(fetched, 4 - cached, "{cached} blobs were there");
    let left: Vec<_> =
        fs::read_dir(two.path("var/cache/tenantry/oci")).expect("the cache").flatten().collect();
    assert_eq!(left.len(), 2, "blobs and the lock: {left:?}");
}

#[test]
fn a_push_goes_on_top_of_the_ancestor_that_was_sent_to_the_same_place_and_of_no_other() {
    let one = host();
    let registry = Registry::start(one.path("registry"));
    let line = Line::to(registry.port, u64::MAX);
    let push = |tag: &str| {
        let before = line.sent();
        let to = format!("127.0.0.1:{}/busybox:{tag}", line.port);
        let pushed = tool(&one, &["push", "busybox", &to, "--insecure"]).ok().json();
        (pushed["parents"].as_array().expect("parents").len(), line.sent() - before)
    };
    let (parents, whole) = push("1");
    assert_eq!(parents, 0);
    // A version that is sent nowhere may contain what is to be seen nowhere.
    next(&one, "secret", 3 << 20);
    one.another_version("busybox", "busybox", |tree| {
        fs::remove_file(tree.join("usr/secret")).expect("a secret");
        fs::write(tree.join("usr/own"), "1").expect("a file");
    });
    let (parents, second) = push("2");
    assert_eq!(parents, 1, "its grandparent");
    next(&one, "more", 10_000);
    let (parents, third) = push("3");
    assert_eq!(parents, 2);
    println!("bytes sent: {whole}, then {second} and {third}");
    assert!(whole > 500_000, "{whole}");
    assert!(second < 20_000 && third < 30_000, "{second} {third}");
    // What is to be sent on top of can be said; another place has got none of it.
    let elsewhere = registry.name("other:1");
    let pushed = tool(&one, &["push", "busybox", &elsewhere, "--insecure"]).ok().json();
    assert_eq!(pushed["parents"], Value::Array(Vec::new()));
    let two = Host::bare();
    let pulled = tool(&two, &["pull", &registry.name("busybox:3"), "--insecure"]).ok().json();
    assert_eq!(digest(&pulled), one.digest("busybox"));
    // Without the version that it was sent on top of the next one is whole again.
    tool(&one, &["gc", "--keep", "0"]).ok();
    next(&one, "last", 1000);
    assert_eq!(push("4").0, 0);
}
