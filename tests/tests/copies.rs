//! Tenants made of tenants, directories at another moment, files in and out: with a real system inside.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, thread, time::Duration};

use serde_json::Value;
use tenantry_tests::{Host, Tenant, poll};

/// Writes what a copy could lose.
const PLANT: &str = r#"set -e
mkdir -p /var/lib/shop/deep/er /home/anna
echo 42 > /var/lib/shop/orders
ln /var/lib/shop/orders /var/lib/shop/deep/same
ln -s /etc/passwd /var/lib/shop/link
chown 1000:1001 /home/anna
chmod 2711 /home/anna
truncate -s 64M /var/lib/shop/hole
printf end >> /var/lib/shop/hole
mkfifo /var/lib/shop/fifo
rm -f /etc/issue
rm -rf /etc/opt
mkdir /etc/opt
echo own > /etc/opt/own
"#;

/// What of that is to be seen again.
const SEEN: &str = r#"
cat /var/lib/shop/orders
stat -c '%h %u:%g %a %F' /var/lib/shop/deep/same /home/anna /var/lib/shop/fifo
readlink /var/lib/shop/link
stat -c '%s' /var/lib/shop/hole
test $(stat -c '%b' /var/lib/shop/hole) -lt 1000 && echo sparse
test -e /etc/issue || echo removed
ls /etc/opt
"#;

fn list(host: &Host, tenant: &str) -> Vec<Value> {
    let all = host.ctl(&["--json", "snapshots", tenant]).ok().json();
    all.as_array().expect("a list").clone()
}

/// No directory that was to become something is left.
fn assert_tidy(host: &Host) {
    let tenants = host.path("var/lib/tenantry/tenants");
    poll::until_true("nothing half made is left", || {
        let entries = fs::read_dir(&tenants).expect("the directory of tenants").flatten();
        let names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.iter().all(|name| !name.starts_with('.') && !tenants.join(name).join(".work").exists())
    });
}

#[test]
fn a_clone_has_the_files_and_an_identity_of_its_own() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "memory_max=400M", "--set", "ports=18080:80/tcp"]);
    alice.says(PLANT);
    let boot = alice.boot_id();
    let before = alice.says(SEEN);
    let said = host.ctl(&["clone", "alice", "bob", "--set", "ttys=2", "--start"]).ok();
    assert!(said.stderr.contains("ports was left out"), "{}", said.stderr);
    let bob = Tenant::new(&host, "bob");
    assert_eq!(bob.says(SEEN), before);
    assert_eq!(alice.boot_id(), boot, "it went on");
    assert_eq!(alice.says("cat /var/lib/shop/orders"), "42", "and was thawed");
    for own in ["cat /etc/machine-id", "hostname", "ip -4 -o addr show eth0"] {
        assert_ne!(alice.says(own), bob.says(own), "{own}");
    }
    let explained = host.ctl(&["get", "bob", "memory_max", "ttys"]).ok().stdout;
    assert!(explained.contains("400") && explained.contains('2'), "{explained}");
    let taken = host.ctl(&["clone", "alice", "bob"]).output().refused(4);
    assert!(taken.contains("bob"), "{taken}");
    assert_tidy(&host);
}

#[test]
fn an_exported_tenant_is_the_same_on_another_host() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "memory_max=400M"]);
    alice.says(PLANT);
    let (before, machine) = (alice.says(SEEN), alice.says("cat /etc/machine-id"));
    let file = host.path("alice.tar.zst");
    let path = file.to_str().expect("a path");
    host.ctl(&["export", "alice", path]).ok();
    assert_eq!(fs::metadata(&file).expect("the archive").mode() & 0o777, 0o600);
    let exists = host.ctl(&["export", "alice", path]).output().refused(4);
    assert!(exists.contains("--force"), "{exists}");

    let other = Host::start();
    let said = other.ctl(&["import", path, "--start"]).ok().stdout;
    assert!(said.contains("alice: imported"), "{said}");
    let there = Tenant::new(&other, "alice");
    assert_eq!(there.says(SEEN), before);
    assert_eq!(there.says("cat /etc/machine-id"), machine, "it is the same tenant");
    // A second one beside it is another tenant.
    let said = other.ctl(&["import", path, "carol", "--start"]).ok();
    assert!(said.stderr.contains("uuid"), "{}", said.stderr);
    let carol = Tenant::new(&other, "carol");
    assert_eq!(carol.says(SEEN), before);
    assert_ne!(carol.says("cat /etc/machine-id"), machine);

    // What is cut off, or another archive, is refused, and nothing is left of it.
    let whole = fs::read(&file).expect("the archive");
    let cut = other.path("cut.tar.zst");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("half of it");
    let said = other.ctl(&["import", cut.to_str().expect("a path"), "half"]).output();
    assert_ne!(said.code(), 0, "{}", said.stdout);
    fs::write(&cut, [0; 4096]).expect("zeros");
    let said = other.ctl(&["import", cut.to_str().expect("a path"), "none"]).output().refused(2);
    assert!(said.contains("not an exported tenant"), "{said}");
    assert_eq!(other.names(), ["alice", "carol"]);
    assert_tidy(&other);
    assert_tidy(&host);
}

#[test]
fn directories_come_back_as_they_were() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.says(PLANT);
    let before = alice.says(SEEN);
    host.ctl(&["snapshot", "alice", "good", "--comment", "before the change"]).ok();
    alice.says("rm -r /var/lib/shop; echo bad > /etc/opt/own; echo new > /etc/opt/new");
    let running = host.ctl(&["restore", "alice", "good"]).output().refused(4);
    assert!(running.contains("running"), "{running}");
    alice.stop();
    host.ctl(&["snapshot", "alice"]).ok();
    let all = list(&host, "alice");
    assert_eq!((all.len(), &all[0]["name"]), (2, &Value::from("good")));
    host.ctl(&["restore", "alice", "good"]).ok();
    alice.start();
    assert_eq!(alice.says(SEEN), before);
    alice.stop();
    // The other way, from the snapshot that has no name of its own.
    host.ctl(&["restore", "alice", all[1]["name"].as_str().expect("a name")]).ok();
    alice.start();
    assert_eq!(alice.says("cat /etc/opt/own /etc/opt/new; ls /var/lib/shop 2>&1 | wc -l"), "bad\nnew\n1");
    alice.stop();
    for bad in ["absent", "../x", ""] {
        let said = host.ctl(&["restore", "alice", bad]).output();
        assert!(said.code() == 3 || said.code() == 2, "{bad}: {}", said.stderr);
    }
    host.ctl(&["snapshots", "alice", "--remove", "good"]).ok();
    assert_eq!(list(&host, "alice").len(), 1);
    host.ctl(&["reset", "alice", "/etc", "--yes"]).ok();
    alice.start();
    assert_eq!(alice.says("ls /etc/opt | wc -l; test -e /etc/issue && echo there"), "0\nthere");
    alice.stop();
    let said = host.ctl(&["reset", "alice", "/usr", "--yes"]).output().refused(2);
    assert!(said.contains("/etc"), "it names those that there are: {said}");
    host.ctl(&["reset", "alice", "--yes"]).ok();
    alice.start();
    assert_eq!(alice.says("ls /home | wc -l"), "0");
    assert_tidy(&host);
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    assert!(!host.path("var/lib/tenantry/tenants/alice").exists(), "its snapshots go with it");
}

#[test]
fn files_go_in_and_out_of_tenants_that_run_and_that_do_not() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let tree = host.path("tree");
    fs::create_dir_all(tree.join("a/b")).expect("a directory");
    fs::write(tree.join("a/b/file"), "text\n").expect("a file");
    std::os::unix::fs::symlink("b/file", tree.join("a/link")).expect("a link");
    std::os::unix::fs::chown(tree.join("a/b/file"), Some(1234), Some(1235)).expect("an owner");
    let at = |path: &str| tree.join(path).to_str().expect("a path").to_owned();
    for is_up in [true, false] {
        // In: as root's, under its own name, another one, and with its owners.
        host.ctl(&["cp", &at("a"), "alice:/srv"]).ok();
        host.ctl(&["cp", &at("a"), "alice:/srv/other"]).ok();
        host.ctl(&["cp", "-a", &at("a/b/file"), "alice:/srv/kept"]).ok();
        // Out: a file, a directory, what the image has, and what a link of the image's leads to.
        let out = host.path(if is_up { "up" } else { "down" });
        fs::create_dir(&out).expect("a directory");
        let to = out.to_str().expect("a path");
        host.ctl(&["cp", "alice:/srv/a", to]).ok();
        host.ctl(&["cp", "alice:/srv/kept", &format!("{to}/kept")]).ok();
        host.ctl(&["cp", "-a", "alice:/srv/kept", &format!("{to}/archived")]).ok();
        host.ctl(&["cp", "alice:/bin/../etc/passwd", to]).ok();
        host.ctl(&["cp", "alice:/bin/true", to]).ok();
        assert_eq!(fs::read_to_string(out.join("a/b/file")).expect("a file"), "text\n");
        assert_eq!(fs::read_link(out.join("a/link")).expect("a link"), Path::new("b/file"));
        let owner =
            |name: &str| fs::metadata(out.join(name)).map(|meta| (meta.uid(), meta.gid())).expect("a file");
        assert_eq!((owner("kept"), owner("archived")), ((0, 0), (1234, 1235)));
        assert!(fs::read_to_string(out.join("passwd")).expect("a file").starts_with("root:"));
        assert!(fs::metadata(out.join("true")).expect("a program").len() > 1000);
        let null = out.join("null").to_str().expect("a path").to_owned();
        tenantry_tests::Run::new("mknod", [null.as_str(), "c", "1", "3"]).ok();
        let said = host.ctl(&["cp", "alice:/etc/passwd", &null]).output().refused(2);
        assert!(said.contains("neither a file nor a directory"), "{said}");
        for absent in ["alice:/nothing", "alice:/nothing/below"] {
            let said = host.ctl(&["cp", absent, to]).output().refused(3);
            assert!(said.contains("nothing"), "{said}");
        }
        let said = host.ctl(&["cp", &at("a"), "alice:/nothing/below"]).output().refused(3);
        assert!(said.contains("nothing"), "{said}");
        if is_up {
            let script = "stat -c '%u:%g' /srv/a/b/file /srv/kept; cat /srv/other/link; rm -r /srv/*";
            assert_eq!(alice.says(script), "0:0\n1234:1235\ntext");
            alice.stop();
        }
    }
    // An archive from one tenant into another one, through a pipe.
    let bob = host.boot("bob", &[]);
    let ctl = host.program("tenantctl");
    let line = format!("{0} cp alice:/srv - | {0} cp - bob:/tmp", ctl.display());
    tenantry_tests::Run::new("sh", ["-c", &line]).env("TENANTRY_ROOT", host.root()).ok();
    assert_eq!(bob.says("cat /tmp/srv/a/b/file"), "text");
    assert_eq!(bob.says("stat -c %u /tmp/srv/kept"), "1234");
    alice.start();
    assert_eq!(alice.says("cat /srv/other/link"), "text", "what was written while it was down is there");
    assert_tidy(&host);
}

#[test]
fn what_a_tenant_plants_leads_a_copy_nowhere() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let secret = host.path("secret");
    fs::create_dir(&secret).expect("a directory");
    fs::write(secret.join("file"), "host").expect("a secret");
    let path = secret.to_str().expect("a path");
    alice.says(&format!(
        "mkdir -p /srv/x; ln -s {path}/file /srv/x/file; ln -s {path} /srv/x/dir; ln -s /proc/self/root /srv/x/root;
         mkfifo /srv/x/fifo; ln -s {path} /srv/out; ln -s /proc/1/root /srv/magic"
    ));
    let out = host.path("out");
    fs::create_dir(&out).expect("a directory");
    let to = out.to_str().expect("a path");
    for is_up in [true, false] {
        host.ctl(&["cp", "alice:/srv/x", to]).ok();
        assert!(out.join("x/file").is_symlink() && out.join("x/dir").is_symlink());
        let through = host.ctl(&["cp", "alice:/srv/out/file", to]).output();
        assert_ne!(through.code(), 0, "the host's file was read: {}", through.stdout);
        let magic = host.ctl(&["cp", "alice:/srv/magic/etc/hostname", to]).output();
        assert_ne!(magic.code(), 0, "{}", magic.stdout);
        let written = host.ctl(&["cp", &format!("{path}/file"), "alice:/srv/out/planted"]).output();
        assert_ne!(written.code(), 0, "{}", written.stdout);
        fs::remove_dir_all(out.join("x")).expect("the copy");
        if is_up {
            alice.stop();
        }
    }
    assert_eq!(fs::read_dir(&secret).expect("the directory").count(), 1, "nothing was written there");
    // The same by clones and snapshots, which copy the directories themselves.
    host.ctl(&["clone", "alice", "bob"]).ok();
    host.ctl(&["snapshot", "alice", "s"]).ok();
    for copy in ["bob/dirs", "alice/snapshots/s/dirs"] {
        let planted = host.path("var/lib/tenantry/tenants").join(copy).join("srv");
        let upper = if planted.join("upper").exists() { planted.join("upper") } else { planted };
        assert_eq!(fs::read_link(upper.join("x/file")).expect("a link"), secret.join("file"));
    }
}

#[test]
fn a_client_that_leaves_takes_its_copy_with_it() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.says("dd if=/dev/urandom of=/root/data bs=1M count=64 2>/dev/null");
    let file = host.path("a.tar");
    for _ in 0..3 {
        let mut export = host.ctl(&["export", "alice", file.to_str().expect("a path"), "--force"]).spawn();
        thread::sleep(Duration::from_millis(60));
        export.kill().expect("the client");
        export.wait().expect("its end");
        assert!(!file.exists(), "half of an archive has the name of a whole one");
        assert_eq!(alice.says("echo goes on"), "goes on", "it was thawed");
    }
    // hostd is killed in the middle: the tenant is thawed by the next one.
    let mut export = host.ctl(&["export", "alice", file.to_str().expect("a path")]).spawn();
    poll::until_true("it is being copied", || host.path("run/tenantry/tenants/alice/copied").exists());
    host.kill_hostd();
    export.wait().expect("its end");
    host.start_hostd();
    assert_eq!(alice.says("echo goes on"), "goes on");
    assert!(!host.path("run/tenantry/tenants/alice/copied").exists());
    let before = fs::read_dir(host.root()).expect("the root").flatten().count();
    host.ctl(&["export", "alice", file.to_str().expect("a path")]).ok();
    assert_eq!(fs::read_dir(host.root()).expect("the root").flatten().count(), before + 1);
    assert_tidy(&host);
}
