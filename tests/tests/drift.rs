//! Files of tenants that hide files of their images: found, shown, merged.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant};

/// Exit codes: of what is refused in a tenant's state, of what is not there, and of `--exit-code` where a fix is hidden.
const REFUSED: i32 = 4;
const NOT_FOUND: i32 = 3;
const HIDDEN: i32 = 5;

const LINES: &str = "one\ntwo\nthree\nfour\nfive\n";
/// A name that would clear a terminal.
const ODD: &str = "odd\x1b[2Jname";

/// What the versions have below `/etc/drift`: in the first, and in the second where that differs.
const FILES: &[(&str, &str, Option<&str>)] = &[
    ("conflict", LINES, Some("one\ntwo\nimage\nfour\nfive\n")),
    ("copied", "old\n", Some("new\n")),
    ("deleted", "old\n", Some("new\n")),
    ("dir/a", "old\n", Some("new\n")),
    ("dir/b", "same\n", None),
    ("edited", LINES, Some("ONE\ntwo\nthree\nfour\nfive\n")),
    ("gone", "old\n", Some("")),
    ("moded", "old\n", Some("new\n")),
    ("plain", "old\n", None),
    ("remade/a", "old\n", Some("new\n")),
    ("untouched", "old\n", Some("new\n")),
    (ODD, "old\n", Some("new\n")),
];

/// What a tenant does to them.
const CHANGES: &str = r#"
    cd /etc/drift
    sed -i s/five/FIVE/ edited
    chown 3:4 edited
    chmod 640 edited
    sed -i s/three/tenant/ conflict
    touch copied
    rm deleted
    rm -r dir
    echo own >> gone
    chmod 600 moded
    echo own >> plain
    rm -r remade
    mkdir remade
    echo own > remade/own
    echo own > "$(printf 'odd\033[2Jname')"
    echo own > of-its-own
"#;

/// A store of images, and a copy of a tree of which versions are published.
struct Store {
    host: Host,
    tree: PathBuf,
}

impl Store {
    /// A host with the image `debian` in the versions `:one` and `:two`.
    fn new() -> Self {
        let host = Host::bare();
        host.copy_images();
        let shown = host.tool("rootfsctl", &["--json", "show", "debian"]).ok().json();
        let digest = shown["manifest"]["digest"].as_str().expect("a digest").replace(':', "-");
        let from = host.path(format!("var/lib/tenantry/images/debian/versions/{digest}/tree"));
        let tree = host.path("tree");
        Run::new("cp", ["-a"]).args([&from, &tree]).ok();
        let store = Self { host, tree };
        for (name, first, _) in FILES {
            store.write(name, first);
        }
        store.publish("one");
        for (name, _, second) in FILES {
            match second {
                Some("") => fs::remove_file(store.file(name)).expect("a file of the copy"),
                Some(text) => store.write(name, text),
                None => {}
            }
        }
        store.publish("two");
        store.host.start_hostd();
        store
    }

    fn file(&self, name: &str) -> PathBuf {
        self.tree.join("etc/drift").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory of the copy");
        fs::write(path, text).expect("a file of the copy");
    }

    fn publish(&self, channel: &str) {
        let tree = self.tree.display().to_string();
        self.host
            .tool("rootfsctl", &["publish", &tree, "--force", "--name", "debian", "--channel", channel])
            .ok();
    }

    fn upper(&self, tenant: &str, path: &str) -> PathBuf {
        self.host.path(format!("var/lib/tenantry/tenants/{tenant}/dirs/etc/upper/drift")).join(path)
    }
}

fn drift(tenant: &Tenant<'_>) -> Value {
    tenant.ctl("drift", &["--json"]).ok().json()
}

/// The files below `/etc/drift`, in the order in which they are listed.
fn files(drift: &Value) -> Vec<(String, Value)> {
    let all = drift["files"].as_array().expect("a list").iter();
    let path = |file: &Value| Some(file["path"].as_str()?.strip_prefix("/etc/drift/")?.to_owned());
    all.filter_map(|file| Some((path(file)?, file.clone()))).collect()
}

/// Those that hide a fix.
fn fixes(tenant: &Tenant<'_>) -> Vec<String> {
    let fixes = files(&drift(tenant)).into_iter().filter(|(_, file)| file["fix"] == "shadowed");
    fixes.map(|(path, _)| path).collect()
}

fn merge(tenant: &Tenant<'_>, name: &str, more: &[&str]) -> Run {
    tenant.ctl("merge", &[&format!("/etc/drift/{name}")]).args(more)
}

fn cat(tenant: &Tenant<'_>, name: &str) -> String {
    tenant.says(&format!("cat '/etc/drift/{name}'"))
}

#[test]
fn hidden_fixes_are_found_and_merged_in_a_running_tenant() {
    let store = Store::new();
    let host = &store.host;
    let alice = host.boot("alice", &["--image", "debian:one"]);
    assert_eq!(files(&drift(&alice)), [], "a new tenant hides nothing");
    alice.shell(CHANGES).ok();

    // Before the fix: each is told by what the tenant has done.
    let before: BTreeMap<_, _> = files(&drift(&alice)).into_iter().collect();
    let told = |name: &str| {
        let file = before.get(name).unwrap_or_else(|| panic!("{name}: {before:#?}"));
        ["kind", "fix", "known_by"].map(|key| file[key].as_str().expect("a word").to_owned())
    };
    for (name, expected) in [
        ("conflict", ["changed", "none", "time"]),
        ("copied", ["same", "none", "copy"]),
        ("deleted", ["removed", "none", "time"]),
        ("dir", ["removed", "none", "time"]),
        ("moded", ["metadata", "none", "copy"]),
        ("plain", ["changed", "none", "copy"]),
        ("remade", ["replaced", "none", "time"]),
    ] {
        assert_eq!(told(name), expected, "{name}");
    }
    assert_eq!((&before["dir"]["hides"], before.contains_key("of-its-own")), (&2.into(), false));
    host.ctl(&["drift", "alice", "--exit-code"]).ok();

    // The plan of a rebase says the same as drift does afterwards.
    let expected = ["conflict", "copied", "deleted", "dir", "edited", "gone", "moded", ODD, "remade"];
    let plan = alice.ctl("rebase", &["--json", "--to", ":two", "--plan"]).ok().json();
    let planned: Vec<_> =
        files(&serde_json::json!({ "files": plan["shadowed"] })).into_iter().map(|(path, _)| path).collect();
    assert_eq!(planned, expected);
    let text = alice.ctl("rebase", &["--to", ":two", "--plan"]).ok();
    assert!(text.text().contains("hidden fix  ~ /etc/drift/edited, shadowed: content"), "{}", text.text());
    alice.ctl("rebase", &["--to", ":two", "--live"]).ok();
    assert_eq!(fixes(&alice), expected);
    let listed: Vec<_> = files(&drift(&alice)).into_iter().map(|(path, _)| path).collect();
    assert_eq!(listed.last().map(String::as_str), Some("plain"), "fixes come first: {listed:?}");
    assert_eq!(host.ctl(&["drift", "--exit-code"]).output().code(), HIDDEN);
    let shown = host.ctl(&["drift", "alice", "--fixes"]).ok();
    assert!(!shown.text().contains('\x1b') && !shown.text().contains("plain"), "{}", shown.text());

    // What is edited again is another file, and hides the fix all the same.
    alice.shell("sed -i s/four/FOUR/ /etc/drift/edited").ok();
    let now: BTreeMap<_, _> = files(&drift(&alice)).into_iter().collect();
    assert_eq!((&now["edited"]["fix"], &now["edited"]["known_by"]), (&"shadowed".into(), &"rebase".into()));

    let diff = alice.ctl("drift", &["--diff", "/etc/drift/edited"]).ok();
    for line in ["-one", "+ONE", "-five", "+FIVE"] {
        assert!(diff.text().lines().any(|said| said == line), "{line}: {}", diff.text());
    }

    let offered = host.ctl(&["complete-words", "tenantctl", "merge", "alice", "/etc/drift/ed"]).ok();
    assert_eq!(offered.text().lines().next().map(str::trim), Some("/etc/drift/edited"), "{}", offered.text());

    // Each way of a merge, beneath a running tenant.
    merge(&alice, "edited", &[]).ok();
    assert_eq!(cat(&alice, "edited"), "ONE\ntwo\nthree\nFOUR\nFIVE");
    assert_eq!(alice.says("stat -c '%a %u:%g' /etc/drift/edited"), "640 3:4");
    assert_eq!(cat(&alice, "edited.dpkg-old"), "one\ntwo\nthree\nFOUR\nFIVE");
    merge(&alice, "moded", &[]).ok();
    assert_eq!(
        (cat(&alice, "moded"), alice.says("stat -c %a /etc/drift/moded")),
        ("new".to_owned(), "600".to_owned())
    );
    merge(&alice, "copied", &[]).ok();
    assert_eq!(cat(&alice, "copied"), "new");
    merge(&alice, "deleted", &[]).output().refused(REFUSED);
    merge(&alice, "deleted", &["--theirs"]).ok();
    assert_eq!(cat(&alice, "deleted"), "new");
    merge(&alice, "gone", &["--theirs"]).ok();
    alice.shell("! test -e /etc/drift/gone && test -e /etc/drift/gone.dpkg-old").ok();
    merge(&alice, "remade", &["--mine"]).ok();
    assert_eq!(alice.says("ls /etc/drift/remade"), "own");
    let said = merge(&alice, "dir", &["--theirs"]).output().refused(REFUSED);
    assert!(said.contains("tenantctl stop alice"), "{said}");
    alice.ctl("merge", &[&format!("/etc/drift/{ODD}"), "--theirs"]).ok();
    assert_eq!(cat(&alice, ODD), "new");

    // What both have changed is decided by an admin, who leaves no mark behind.
    let said = merge(&alice, "conflict", &[]).output().refused(REFUSED);
    assert!(said.contains("tenantctl merge alice /etc/drift/conflict --edit"), "{said}");
    let said = merge(&alice, "conflict", &["--edit"]).env("EDITOR", "true").output().refused(REFUSED);
    assert!(
        said.contains("line 3 still marks a conflict") && said.contains("your text is saved in"),
        "{said}"
    );
    assert_eq!(cat(&alice, "conflict").lines().nth(2), Some("tenant"));
    merge(&alice, "conflict", &["--edit"]).env("EDITOR", "sed -i '/^[<|=>]/d; /^three$/d'").ok();
    assert_eq!(cat(&alice, "conflict"), "one\ntwo\ntenant\nimage\nfour\nfive");
    assert_eq!(fixes(&alice), ["dir"]);
    let again = merge(&alice, "conflict", &[]).ok();
    assert!(again.text().contains("unchanged"), "{}", again.text());

    // After a stop the image's own files are seen again where the tenant has changed nothing.
    alice.stop();
    merge(&alice, "dir", &["--theirs"]).ok();
    alice.start();
    assert_eq!((cat(&alice, "dir/a"), cat(&alice, "dir/b")), ("new".to_owned(), "same".to_owned()));
    for name in ["copied", "deleted", "dir", "gone", ODD] {
        assert!(!store.upper("alice", name).exists(), "{name} is still a copy");
        if name != "dir" && name != "gone" {
            assert_eq!(cat(&alice, name), "new");
        }
    }
    assert!(store.upper("alice", "edited").exists());
    assert_eq!(fixes(&alice), Vec::<String>::new());

    // What was kept counts until the image's changes again.
    store.write("remade/a", "newer\n");
    store.write("copied", "newer\n");
    store.publish("three");
    alice.ctl("rebase", &["--to", ":three", "--restart"]).ok();
    assert_eq!((fixes(&alice), cat(&alice, "copied")), (vec!["remade".to_owned()], "newer".to_owned()));
}

#[test]
fn a_stopped_tenant_is_merged_in_its_directory() {
    let store = Store::new();
    let bob = store.host.boot("bob", &["--image", "debian:one"]);
    bob.shell(CHANGES).ok();
    bob.shell("cd /etc/drift; setfattr -n user.own -v kept moded 2>/dev/null || true").ok();
    bob.stop();
    bob.ctl("rebase", &["--to", ":two"]).ok();
    let upper = |name: &str| store.upper("bob", name);
    let read = |name: &str| fs::read_to_string(upper(name)).unwrap_or_else(|error| panic!("{name}: {error}"));

    merge(&bob, "edited", &[]).ok();
    assert_eq!(read("edited"), "ONE\ntwo\nthree\nfour\nFIVE\n");
    let meta = fs::metadata(upper("edited")).expect("it is there");
    assert_eq!((meta.permissions().mode() & 0o7777, meta.uid(), meta.gid()), (0o640, 3, 4));
    assert_eq!(read("edited.dpkg-old"), "one\ntwo\nthree\nfour\nFIVE\n");
    merge(&bob, "moded", &[]).ok();
    assert_eq!(
        (read("moded"), fs::metadata(upper("moded")).expect("it").mode() & 0o7777),
        ("new\n".to_owned(), 0o600)
    );
    merge(&bob, "moded", &["--theirs"]).ok();
    for name in ["copied", "deleted", "dir", "gone", "remade"] {
        merge(&bob, name, &["--theirs"]).ok();
    }
    merge(&bob, "conflict", &["--mine"]).ok();
    bob.ctl("merge", &[&format!("/etc/drift/{ODD}"), "--theirs"]).ok();
    assert_eq!(fixes(&bob), Vec::<String>::new());
    let left: Vec<_> = files(&drift(&bob)).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, ["conflict", "edited", "plain"]);
    bob.start();
    assert_eq!(bob.says("stat -c '%a %u' /etc/drift/moded"), "644 0");
    for (name, text) in [
        ("moded", "new"),
        ("copied", "new"),
        ("deleted", "new"),
        ("dir/a", "new"),
        ("remade/a", "new"),
        ("remade/own", "own"),
    ] {
        assert_eq!(cat(&bob, name), text, "{name}");
    }
    bob.shell("! test -e /etc/drift/gone").ok();
    assert_eq!(cat(&bob, "conflict").lines().nth(2), Some("tenant"));
}

#[test]
fn a_hostile_tenant_is_looked_at_and_leads_nowhere() {
    let store = Store::new();
    let host = &store.host;
    let eve = host.boot("eve", &["--image", "debian:one"]);
    eve.shell(
        "cd /etc/drift; rm -r conflict copied deleted dir edited plain moded
         mkfifo conflict; ln -s /etc/shadow copied; ln -s / dir; mkdir edited
         head -c 600000 /dev/zero | tr '\\0' 'a' > plain; printf 'x\\0y' > deleted
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"moded\")' 2>/dev/null || mkfifo moded
         mkdir /etc/many; cd /etc/many; seq 20000 | xargs touch
         cd /etc; mv drift/remade drift/moved",
    )
    .ok();
    eve.ctl("rebase", &["--to", ":two", "--live"]).ok();
    let all: BTreeMap<_, _> = files(&drift(&eve)).into_iter().collect();
    for name in ["conflict", "copied", "deleted", "dir", "edited", "moded", "remade"] {
        assert_eq!(all[name]["fix"], "shadowed", "{name}");
    }
    assert!(!all.keys().any(|path| path.starts_with("moved") || path.starts_with("dir/")), "{all:#?}");
    let view = |name: &str| {
        let path = format!("/etc/drift/{name}");
        host.ctl(&["--json", "drift", "eve", "--diff", &path]).ok().json()
    };
    for (name, what) in [
        ("conflict", "other"),
        ("copied", "link"),
        ("dir", "link"),
        ("edited", "directory"),
        ("plain", "file"),
    ] {
        let own = view(name)["own"].clone();
        assert_eq!((&own["what"], &own["text"]), (&what.into(), &Value::Null), "{name}: {own:#}");
    }
    assert!(view("plain")["own"]["no_text"].as_str().is_some_and(|text| text.contains("256 KiB")));
    assert!(view("deleted")["own"]["no_text"].as_str().is_some_and(|text| text.contains("no text")));
    for name in ["conflict", "copied", "dir", "edited", "moded", "deleted"] {
        merge(&eve, name, &[]).output().refused(REFUSED);
    }
    // Below a link of the tenant's there is nothing to be merged.
    for path in [
        "/etc/drift/dir/a",
        "/etc/drift/../passwd",
        "etc/passwd",
        "/usr/bin/env",
        "/etc/many/7",
        "/etc/passwd",
    ] {
        for more in [["--theirs"], ["--mine"]] {
            eve.ctl("merge", &[path]).args(more).output().refused(NOT_FOUND);
        }
    }
    merge(&eve, "copied", &["--theirs"]).ok();
    assert_eq!(
        (cat(&eve, "copied"), eve.says("stat -c %F /etc/drift/copied")),
        ("new".to_owned(), "regular file".to_owned())
    );
    merge(&eve, "conflict", &["--theirs"]).ok();
    let said = merge(&eve, "edited", &["--theirs"]).output().refused(REFUSED);
    assert!(said.contains("directory"), "{said}");
    // A directory on the way that is another one by now is not written to.
    eve.shell("cd /etc; mv drift drift.old; ln -s /root drift").ok();
    merge(&eve, "moded", &["--theirs"]).output().refused(NOT_FOUND);
    eve.shell("! test -e /root/moded").ok();
}

#[test]
fn an_install_of_its_own_is_refused_and_what_has_no_overlay_hides_nothing() {
    let host = Host::start();
    host.create("whole", &["--profile", "os"]);
    host.create("web", &[]);
    let said = host.ctl(&["drift", "whole"]).output().refused(REFUSED);
    assert!(said.contains("an install of its own") && said.contains("tenantctl shell whole"), "{said}");
    host.ctl(&["merge", "whole", "/etc/passwd", "--mine"]).output().refused(REFUSED);
    let all = host.ctl(&["--json", "drift"]).ok().json();
    let names: Vec<_> = all.as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["web"]);
    host.ctl(&["drift", "web", "whole"]).output().refused(REFUSED);
    host.ctl(&["drift", "nobody"]).output().refused(NOT_FOUND);
    host.ctl(&["drift", "web", "whole", "--diff", "/etc/passwd"]).output().refused(2);
    // Notes that cannot be used are named with the remedy, and stop nothing else.
    let notes = host.path("var/lib/tenantry/tenants/web/drift.toml");
    fs::write(&notes, "nonsense").expect("a file of the host");
    let said = host.ctl(&["drift", "web"]).output();
    assert!(
        said.code() == 1 && said.stderr.contains("rm /") && said.stderr.contains("drift.toml"),
        "{}",
        said.stderr
    );
    assert!(Path::new(&notes).exists());
}
