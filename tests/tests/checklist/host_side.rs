//! What programs of the host tell, and what they do with a tenant's files.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tenantry_tests::{Host, Run};

use crate::BUSYBOX;

/// What a user of the host hears who asks for tenants, as exit code and text. The names are of one length.
fn heard(host: &Host, user: u32, program: &str, words: &[&str], name: &str) -> (i32, String) {
    let user = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into(), "--".into()];
    let run = Run::new("setpriv", user).args([host.program(program).as_os_str()]).args(words);
    let said = run.env("TENANTRY_ROOT", host.root()).limit(Duration::from_secs(10)).output();
    (said.code(), format!("{}{}", said.stdout, said.stderr).replace(name, "NAME"))
}

/// Questions after a tenant. Those that root is answered at once come first.
const QUESTIONS: [(&str, &[&str]); 9] = [
    ("tenantctl", &["show", "NAME"]),
    ("tenantctl", &["exec", "NAME", "--", "true"]),
    ("tenantctl", &["logs", "NAME"]),
    ("tenant", &["exec", "NAME", "true"]),
    ("tenant", &["control", "NAME", "status"]),
    ("tenant", &["run", "NAME"]),
    ("tenantctl", &["start", "NAME"]),
    ("tenantctl", &["console", "NAME"]),
    ("tenant", &["console", "NAME"]),
];

/// What tells a user whether there is a tenant: the questions whose answers differ.
fn telling(host: &Host, user: u32, questions: &[(&str, &[&str])]) -> Vec<String> {
    let ask = |(program, words): &(&str, &[&str])| {
        let answers = ["alice", "nobod"].map(|name| {
            let words: Vec<&str> =
                words.iter().map(|word| if *word == "NAME" { name } else { word }).collect();
            heard(host, user, program, &words, name)
        });
        let [there, absent] = answers;
        assert_ne!(absent.0, 0, "{program} {words:?} of a tenant that is not there");
        (there != absent).then(|| format!("{program} {words:?}: {there:?} and {absent:?}"))
    };
    questions.iter().filter_map(ask).collect()
}

#[test]
fn a_user_of_the_host_hears_the_same_of_tenants_that_are_there_and_that_are_not() {
    let host = Host::start();
    host.boot("alice", &BUSYBOX);
    assert_eq!(telling(&host, 65_534, &QUESTIONS), Vec::<String>::new());
    // Root hears the difference.
    let differ = telling(&host, 0, &QUESTIONS[..6]);
    assert_eq!(differ.len(), 6, "{differ:#?}");
    // Nor is there a list of them, or a file that says how one is.
    let seen = |user: &str| {
        let look = "ls run/tenantry/tenants etc/tenantry/tenants var/lib/tenantry/tenants; \
                    cat run/tenantry/tenants/alice/* etc/tenantry/tenants/alice.toml";
        let user = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()];
        let run = Run::new("setpriv", user).args(["--", "sh", "-c", look]).current_dir(host.root());
        run.output().stdout
    };
    assert!(seen("0").contains("alice"));
    assert_eq!(seen("65534"), "");
}

/// Puts into a directory of a tenant what a program of the host must not follow, open or be stopped by. As root of the
/// host, who can make more than the tenant could: devices.
fn plant(dir: &Path, outside: &Path) {
    for name in ["hosts", "hostname", "machine-id", "resolv.conf", "passwd", "a"] {
        // One that is there is the host's own seed.
        let _was_there = fs::remove_file(dir.join(name));
    }
    symlink(outside.join("tripwire"), dir.join("hosts")).expect("a link");
    symlink(outside, dir.join("a")).expect("a link");
    let node = |name: &str, kind, device| {
        mknodat(CWD, dir.join(name), kind, Mode::from_raw_mode(0o666), device).expect("a node");
    };
    node("hostname", FileType::Fifo, 0);
    node("machine-id", FileType::Socket, 0);
    node("resolv.conf", FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    node("passwd", FileType::Fifo, 0);
    fs::write(dir.join("n".repeat(255)), "x").expect("a file");
    fs::hard_link(dir.join("n".repeat(255)), dir.join("another")).expect("another name");
    // Ten thousand directories, one in the other, are enough once.
    if !dir.ends_with("alice/dirs/root") {
        return;
    }
    let deep = "p=$(printf '/d%.0s' $(seq 250)); i=0; while [ $i -lt 40 ]; do mkdir -p .$p; cd -P .$p; i=$((i+1)); done; : > end";
    Run::new("sh", ["-c", deep]).current_dir(dir).ok();
}

#[test]
fn no_verb_of_the_host_is_led_or_held_up_by_a_tenants_tree() {
    let host = Host::start();
    let outside = host.path("outside");
    fs::create_dir(&outside).expect("a directory outside");
    fs::write(outside.join("tripwire"), "untouched").expect("a tripwire");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).expect("its mode");
    let look = || {
        let of = |path: &Path| {
            let meta = fs::metadata(path).expect("it is there");
            (meta.uid(), meta.mode(), meta.nlink(), meta.ctime(), meta.ctime_nsec(), meta.atime_nsec())
        };
        (of(&outside), of(&outside.join("tripwire")))
    };
    let stores = |name: &str| host.path(format!("var/lib/tenantry/tenants/{name}/dirs"));
    let alice = host.boot("alice", &BUSYBOX);
    host.create("carol", &[]);
    for dir in ["alice", "carol"]
        .iter()
        .flat_map(|name| ["etc/upper", "var/upper", "root", "home"].map(|store| stores(name).join(store)))
    {
        if dir.exists() {
            plant(&dir, &outside);
        }
    }
    assert!(stores("carol").join("etc/upper/hosts").is_symlink(), "the tree has other names");
    let before = look();
    let quick = |words: &[&str]| host.ctl(words).limit(Duration::from_secs(60)).output();
    for words in [
        &["show", "alice"][..],
        &["list"],
        &["stat", "alice"],
        &["drift", "carol"],
        &["drift", "carol", "--diff", "/etc/hosts"],
        &["drift", "carol", "--diff", "/etc/passwd"],
        &["merge", "carol", "/etc/passwd", "--mine"],
        &["merge", "carol", "/etc/passwd", "--theirs"],
        &["rebase", "carol", "--plan"],
        &["show", "carol"],
        &["destroy", "carol", "--yes"],
        &["stale", "alice"],
        &["logs", "alice"],
        &["ps", "alice"],
        &["doctor"],
        &["restart", "alice"],
        &["stop", "alice"],
        &["start", "alice"],
        &["stop", "alice"],
        &["rename", "alice", "eve"],
        &["drift", "eve"],
        &["set", "eve", "hostname=eve"],
        &["start", "eve"],
        &["destroy", "eve", "--force", "--yes"],
    ] {
        let said = quick(words);
        // Some are refused; none hangs, which is another exit code, and none touches what lies outside.
        println!("{words:?}: {} {}", said.code(), said.stderr.lines().next().unwrap_or_default());
        assert_eq!(look(), before, "{words:?}");
    }
    assert_eq!(host.names(), Vec::<String>::new());
    assert!(["alice", "eve", "carol"].iter().all(|name| !stores(name).exists()));
    drop(alice);
    assert_eq!(fs::read_to_string(outside.join("tripwire")).expect("the tripwire"), "untouched");
}
