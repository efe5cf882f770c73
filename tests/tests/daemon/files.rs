//! Files that are damaged, in the way, or do not fit.

use super::*;

#[test]
fn a_set_that_fails_changes_nothing_of_a_running_tenant() {
    let host = Host::start();
    let limits = ["--image", "busybox", "--set", "memory_max=200M", "--set", "tasks_max=100"];
    host.boot("holder", &["--image", "busybox", "--set", "ports=8080:80"]);
    let alice = host.boot("alice", &limits);
    let unit: Value = serde_json::from_str(
        &fs::read_to_string(host.path("run/tenantry/tenants/alice/unit.json")).expect("unit.json"),
    )
    .expect("JSON");
    let v1 = |controller: &str, file: &str| {
        let dir = unit["v1"][controller].as_str()?;
        fs::read_to_string(Path::new(dir).join(file)).ok()
    };
    let v2 = |file: &str| fs::read_to_string(Path::new(unit["v2"].as_str()?).join(file)).ok();
    let look = || {
        let files =
            [v1("memory", "memory.limit_in_bytes"), v1("pids", "pids.max"), v2("memory.max"), v2("pids.max")];
        (files, fs::read_to_string(host.path("run/tenantry/tenants/alice/filter.json")).expect("filter.json"))
    };
    let before = look();
    assert!(before.0.iter().any(Option::is_some), "this host enforces neither limit");
    let taken = ["memory_max=100M", "tasks_max=50", "net_rate=10M", "ports=8080:80"];
    alice.ctl("set", &taken).output().refused(REFUSED);
    assert_eq!(look(), before, "after a set that failed");
    // The same by hand.
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let edited =
        text.replace("200M", "100M").replace("tasks_max = 100", "tasks_max = 50\nports = \"8080:80\"");
    assert_ne!(edited, text);
    fs::write(&file, edited).expect("an admin may edit it");
    alice.ctl("reload", &[]).output().refused(REFUSED);
    assert_eq!(look(), before, "after a reload that failed");
    fs::write(&file, text).expect("an admin may edit it");
    alice.ctl("set", &["memory_max=100M"]).ok();
    assert_ne!(look().0, before.0);
}

#[test]
fn a_file_that_is_for_root_alone_stays_so() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("an admin may do so");
    alice.ctl("set", &["env.TOKEN=hidden"]).ok();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    alice.start();
    for path in ["started.toml", "state.json"] {
        let path = host.path(format!("run/tenantry/tenants/alice/{path}"));
        if fs::read_to_string(&path).expect("a file").contains("hidden") {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn a_damaged_record_breaks_its_tenant_and_nothing_else() {
    let host = Host::start();
    let other = host.boot("other", &["--image", "busybox"]);
    let alice = host.boot("alice", &["--image", "busybox", "--set", "ports=8080:80"]);
    let (before, boot) = (alice.show(), alice.boot_id());
    let record = host.path("var/lib/tenantry/tenants/alice/allocation.toml");
    host.kill_hostd();
    fs::write(&record, "nonsense\n").expect("it can be damaged");
    host.start_hostd();

    let list = host.ctl(&["--json", "list"]).ok().json();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"alice".into(), &"broken".into()), "{list}");
    let table = host.ctl(&["list"]).ok();
    assert!(table.stdout.contains("broken") && table.stderr.contains("allocation.toml"), "{}", table.stderr);
    for verb in [&["show"][..], &["restart"], &["set", "ttys=1"], &["destroy", "--yes"]] {
        let said = host.ctl(&[verb[0], "alice"]).args(&verb[1..]).output().refused(REFUSED);
        assert!(said.contains("is broken") && said.contains("doctor --repair"), "{verb:?}: {said}");
    }
    // What it has stays its own.
    for number in 0..3 {
        let new = host.create(&format!("new{number}"), &["--image", "busybox"]);
        for key in ["index", "uids", "ipv4", "ipv6"] {
            assert_ne!(new.show()[key], before[key], "{key}");
        }
    }
    let said = host.ctl(&["create", "thief", "--image", "busybox", "--set", "ports=8080:80"]);
    assert!(said.output().refused(REFUSED).contains("alice"));
    // It goes on, and what is its own is no leftover of a dead one.
    let doctor = host.ctl(&["doctor"]).output();
    assert!(doctor.stdout.contains("alice") && doctor.stdout.contains("broken"), "{}", doctor.stdout);
    assert!(!doctor.stdout.contains("left behind:"), "{}", doctor.stdout);
    host.ctl(&["doctor", "--repair"]).ok();
    assert_eq!(alice.boot_id(), boot, "it did not notice");
    for key in ["index", "uids", "ipv4", "ipv6", "uuid", "digest", "state"] {
        assert_eq!(alice.show()[key], before[key], "{key}");
    }
    alice.ctl("restart", &[]).ok();
    assert_eq!(other.phase(), "running");
    assert_eq!(host.ctl(&["doctor"]).output().stdout.matches("broken").count(), 0);

    // And one that nobody wants any more.
    alice.stop();
    host.kill_hostd();
    fs::remove_file(&record).expect("it can be removed");
    host.start_hostd();
    assert!(alice.ctl("start", &[]).output().refused(REFUSED).contains("is missing"));
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    host.create("alice", &["--image", "busybox"]);
}

#[test]
fn a_fifo_in_place_of_any_file_blocks_nothing() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.stop();
    let bob = host.create("bob", &["--image", "busybox"]);
    let fifo = |path: &Path| {
        let _may_be_absent = fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO can be made");
    };
    let tenant = |path: &str| host.path(format!("var/lib/tenantry/tenants/alice/{path}"));
    let runtime = |path: &str| host.path(format!("run/tenantry/tenants/alice/{path}"));
    for path in [
        host.path("etc/tenantry/tenants/alice.toml"),
        host.path("etc/tenantry/hostd.toml"),
        host.path("etc/tenantry/nics.toml"),
        host.path("etc/tenantry/profiles/shared-os.toml"),
        host.path("run/tenantry/nics/eth9.json"),
        host.path("run/tenantry/autostarted"),
        tenant("allocation.toml"),
        tenant("allocation.copy.toml"),
        tenant("carried.toml"),
        tenant("log/console.log"),
        runtime("state.json"),
        runtime("unit.json"),
        runtime("started.toml"),
        runtime("filter.json"),
        runtime("stderr"),
    ] {
        fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        let aside = path.with_extension("aside");
        let was_there = fs::rename(&path, &aside).is_ok();
        fifo(&path);
        let limit = Duration::from_secs(20);
        for verb in [
            &["list"][..],
            &["show", "alice"],
            &["start", "alice"],
            &["logs", "alice"],
            &["stop", "alice"],
            &["doctor"],
        ] {
            // Whatever it says of alice: it says it.
            host.ctl(verb).limit(limit).output();
        }
        bob.ctl("set", &["description=x"]).limit(limit).output();
        host.kill_hostd();
        host.start_hostd();
        assert!(host.names().contains(&"bob".to_owned()), "with {}", path.display());
        let _may_be_replaced = fs::remove_file(&path);
        if was_there {
            fs::rename(&aside, &path).expect("it can be put back");
        }
        host.ctl(&["doctor", "--repair"]).output();
    }
    host.kill_hostd();
    host.start_hostd();
    alice.start();
}

#[test]
fn a_full_disk_and_a_full_run_are_told_as_such() {
    let mut host = Host::bare();
    host.small_disk("64M");
    fs::create_dir_all(host.path("run/tenantry")).expect("a directory");
    let run = host.small_run("1m");
    host.share_images();
    host.start_hostd();
    let alice = host.create("alice", &["--image", "busybox"]);
    let full = |path: &Path| {
        Run::new("dd", ["if=/dev/zero", "bs=4k"]).args([format!("of={}", path.display())]).output()
    };
    let blob = host.path("var/lib/tenantry/blob");
    full(&blob);
    let said = host.ctl(&["create", "bob", "--image", "busybox"]).output().refused(FAILED);
    assert!(said.contains("No space left") && said.contains("free space or inodes"), "{said}");
    let started = alice.ctl("start", &[]).output();
    if !started.status.success() {
        assert!(started.stderr.contains("free space or inodes"), "{}", started.stderr);
        assert!(!started.stderr.contains("check its image"), "{}", started.stderr);
    }
    fs::remove_file(&blob).expect("it can be removed");
    alice.ctl("stop", &[]).ok();
    let blob = run.join("blob");
    full(&blob);
    let said = alice.ctl("start", &[]).output().refused(FAILED);
    assert!(said.contains("No space left") && said.contains("free space or inodes"), "{said}");
    fs::remove_file(&blob).expect("it can be removed");
    alice.start();
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    host.end_hostd();
}

#[test]
fn a_mistyped_key_of_a_file_can_be_removed() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("memory_mx = \"1G\"\n{text}")).expect("an admin may edit it");
    alice.ctl("start", &[]).output().refused(2);
    alice.ctl("set", &["--unset", "memory_mx"]).ok();
    assert_eq!(fs::read_to_string(&file).expect("a file"), text);
    alice.start();
    let said = alice.ctl("set", &["--unset", "memory_mx"]).output().refused(2);
    assert!(said.contains("memory_max"), "{said}");
}
