//! Images travel: to a registry and back, from layouts and docker archives; and only those that are signed boot where
//! that is required.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant, poll};

/// A registry on the loopback interface, ended when dropped.
struct Registry {
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl Registry {
    fn start(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a directory for the registry");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {:?}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            dir.join("data")
        );
        fs::write(dir.join("config.yml"), config).expect("the registry's configuration");
        let log = fs::File::create(dir.join("log")).expect("the registry's log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null());
        let child = command
            .stdout(log.try_clone().expect("its log once more"))
            .stderr(log)
            .spawn()
            .expect("docker-registry is started");
        let registry = Self { dir, port, child };
        poll::until_true("the registry answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// The name of an image here.
    fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    /// Requests so far that it has answered: those of its access log.
    fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).expect("its log");
        let line = |line: &str| Some(line.split_once("] \"")?.1.split(" HTTP/").next()?.to_owned());
        log.lines().filter(|line| line.starts_with("127.0.0.1")).filter_map(line).collect()
    }

    /// Blobs that were fetched from it, or stored in it, by the requests after the first `from`.
    fn blobs(&self, from: usize, method: &str, path: &str) -> usize {
        let is_blob = |line: &&String| line.starts_with(method) && line.contains(path);
        self.requests()[from..].iter().filter(is_blob).count()
    }

    /// The file of a blob in its store.
    fn file(&self, hex: &str) -> PathBuf {
        let blobs = self.dir.join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const STORED: (&str, &str) = ("PUT", "/blobs/uploads/");
const FETCHED: (&str, &str) = ("GET", "/blobs/sha256:");

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

/// The version that a channel points at.
fn stable(host: &Host, image: &str) -> String {
    tool(host, &["channel", image, "stable"]).ok().json()["stable"].as_str().expect("a digest").to_owned()
}

/// The directory of a version.
fn version(host: &Host, digest: &str) -> PathBuf {
    host.path("var/lib/tenantry/images/busybox/versions").join(digest.replace(':', "-"))
}

/// Publishes a version of the busybox image that differs from the present one by one file; its digest.
fn next(host: &Host, name: &str, size: usize) -> String {
    let tree = host.path(format!("next-{name}"));
    let from = version(host, &stable(host, "busybox")).join("tree");
    Run::new("cp", ["--archive"]).args([&from, &tree]).ok();
    // Bytes that cannot be packed.
    let mut random = vec![0; size];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("random bytes");
    fs::write(tree.join("usr").join(name), random).expect("one more file");
    digest(&tool(host, &["publish", path(&tree), "--name", "busybox"]).ok().json())
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
    let base = stable(&one, "busybox");
    let said = tool(&one, &["push", "busybox", &first]).output().refused(1);
    assert!(said.contains("--insecure"), "{said}");
    tool(&one, &["push", "busybox", &first, "--insecure"]).ok();
    let child = next(&one, "more", 1000);
    let before = registry.requests().len();
    tool(&one, &["push", "busybox", &second, "--insecure", "--parent", &base[7..]]).ok();
    assert_eq!(registry.blobs(before, STORED.0, STORED.1), 2, "the new layer and the configuration");

    let pulled = tool(&two, &["pull", &first, "--insecure"]).ok().json();
    assert_eq!((digest(&pulled), pulled["channel"].as_str()), (base, Some("stable")));
    let before = registry.requests().len();
    let pulled = tool(&two, &["pull", &second, "--insecure", "--channel", "candidate"]).ok().json();
    assert_eq!(digest(&pulled), child);
    assert_eq!(registry.blobs(before, FETCHED.0, FETCHED.1), 2, "the new layer and the configuration");
    let manifest = |host: &Host| fs::read_to_string(version(host, &child).join("manifest.toml")).expect("it");
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

/// Passes connections on to a port until so many bytes came from there; then all are cut, and no more are taken.
fn cut_after(limit: u64, port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let own = listener.local_addr().expect("its number").port();
    let left = Arc::new(AtomicU64::new(limit));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
            if left.load(Ordering::SeqCst) == 0 {
                return;
            }
            let (mut up, mut to) = (client.try_clone().expect("it"), server.try_clone().expect("it"));
            thread::spawn(move || std::io::copy(&mut up, &mut to));
            let left = Arc::clone(&left);
            let (mut from, mut down) = (server, client);
            thread::spawn(move || {
                let mut buffer = [0; 16 << 10];
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    let taken = |left: u64| Some(left.saturating_sub(length as u64));
                    let was = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken);
                    if was.unwrap_or_default() <= length as u64 || down.write_all(&buffer[..length]).is_err()
                    {
                        break;
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), down.shutdown(Shutdown::Both));
            });
        }
    });
    own
}

#[test]
fn a_pull_that_was_interrupted_goes_on_where_it_was() {
    let (one, two) = (host(), Host::bare());
    let registry = Registry::start(one.path("registry"));
    let base = stable(&one, "busybox");
    let middle = next(&one, "middle", 4 << 20);
    let whole = next(&one, "whole", 32 << 20);
    let parents = ["--parent", &base[7..], "--parent", &middle[7..]];
    let push = ["push", "busybox", &registry.name("busybox:1"), "--insecure"];
    tool(&one, &[&push[..], &parents].concat()).ok();

    let slow = format!("127.0.0.1:{}/busybox:1", cut_after(20 << 20, registry.port));
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
    let digest = stable(&two, "busybox");
    assert_eq!(tool(&two, &["verify"]).ok().json()[0]["signature"]["state"], "signed");

    // Whoever can write to the store changes what is started.
    booted.stop();
    let manifest = version(&two, &digest).join("manifest.toml");
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
}

#[test]
fn a_host_that_requires_signatures_never_goes_back_unless_it_is_told() {
    let one = host();
    let (private, public) = key(&one, "key");
    trust(&one, &public);
    let sign = || tool(&one, &["sign", "busybox", "--key", path(&private)]).ok();
    let (old, manifest) =
        (stable(&one, "busybox"), |digest: &str| version(&one, digest).join("manifest.toml"));
    // Made in another second.
    let text = fs::read_to_string(manifest(&old)).expect("a manifest");
    let created = text.lines().find(|line| line.starts_with("created")).expect("a time");
    fs::write(manifest(&old), text.replace(created, "created = \"2026-01-01T00:00:00Z\""))
        .expect("an older one");
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

/// What docker(1) saves: layers, and how they are run.
fn docker_archive(host: &Host) -> PathBuf {
    let dir = host.path("archive");
    let root = dir.join("root");
    fs::create_dir_all(root.join("bin")).expect("a tree");
    let busybox = Run::new("sh", ["-c", "command -v busybox"]).ok().text().to_owned();
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox");
    for applet in ["sh", "sleep", "cat", "ls"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("an applet");
    }
    for (file, text) in [("etc/removed", "1"), ("etc/kept", "1"), ("srv/emptied/old", "1")] {
        fs::create_dir_all(root.join(file).parent().expect("it")).expect("a directory");
        fs::write(root.join(file), text).expect("a file");
    }
    let tar = |file: &str, from: &Path| {
        fs::create_dir_all(dir.join(file).parent().expect("it")).expect("a directory");
        Run::new("tar", ["--numeric-owner", "--owner=0", "--group=0", "-cf", path(&dir.join(file)), "-C"])
            .args([path(from), "."])
            .ok();
    };
    tar("one/layer.tar", &root);
    fs::remove_dir_all(&root).expect("the first layer is packed");
    for (file, text) in [("etc/.wh.removed", ""), ("srv/emptied/.wh..wh..opq", ""), ("srv/emptied/new", "2")]
    {
        fs::create_dir_all(root.join(file).parent().expect("it")).expect("a directory");
        fs::write(root.join(file), text).expect("a file");
    }
    tar("two/layer.tar", &root);
    let sum = |file: &str| Run::new("sha256sum", [path(&dir.join(file))]).ok().text()[..64].to_owned();
    let diff_ids: Vec<_> =
        ["one", "two"].map(|name| format!("sha256:{}", sum(&format!("{name}/layer.tar")))).into();
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = serde_json::json!({
        "architecture": arch, "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "config": {
            "Entrypoint": ["sh", "-c"], "Cmd": ["echo \"$GREETING from $PWD\"; exec sleep 1000"],
            "Env": ["PATH=/bin", "GREETING=hello"], "WorkingDir": "/srv", "User": "65534"
        }
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("a configuration");
    let layers = ["one/layer.tar", "two/layer.tar"];
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["web:1"], "Layers": layers }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("a manifest");
    let saved = host.path("web.tar");
    Run::new("tar", ["-cf", path(&saved), "-C", path(&dir), "manifest.json", "config.json"])
        .args(layers)
        .ok();
    saved
}

#[test]
fn what_docker_saves_boots_as_an_app_by_its_own_entrypoint() {
    let host = Host::bare();
    let saved = docker_archive(&host);
    let said = tool(&host, &["import", path(&saved), "--name", "web"]).output().refused(4);
    assert!(said.contains("rootfsctl import --docker-archive"), "{said}");
    let made = tool(&host, &["import", "--docker-archive", path(&saved)]).ok().json();
    assert_eq!(made["image"], "web");
    assert!(made["notes"][0].as_str().is_some_and(|note| note.contains("its user \"65534\"")), "{made:#}");
    // The same by an OCI layout.
    let layout = host.path("layout");
    let from = format!("docker-archive:{}", path(&saved));
    Run::new("skopeo", ["copy", "-q", &from, &format!("oci:{}:1", path(&layout))]).ok();
    let again =
        tool(&host, &["import", "--oci", &format!("{}:1", path(&layout)), "--name", "web"]).ok().json();
    assert_eq!(digest(&again), digest(&made), "{again:#}");

    host.start_hostd();
    let paths = r#"paths=["/bin", "/etc", "/srv"]"#;
    let web: Tenant<'_> = host.boot("web", &["--profile", "app", "--image", "web", "--set", paths]);
    poll::until_true("it greets", || web.ctl("logs", &[]).output().text().contains("hello from /srv"));
    assert_eq!(
        web.exec(&["/bin/ls", "/etc", "/srv/emptied"]).ok().text().replace('\n', " ").trim(),
        "/etc: kept  /srv/emptied: new"
    );
    web.stop();
}
