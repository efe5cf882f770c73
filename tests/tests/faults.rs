//! Anything may be killed at any moment, and anything may be swapped while it is looked at.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, poll};

/// Moments of something that takes this long, from its beginning to its end.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    const STEPS: u32 = 24;
    (0..STEPS).map(move |step| whole * step / (STEPS - 1))
}

/// The supervisor of a tenant, found by its command line.
fn supervisor(host: &Host, name: &str) -> Option<Pid> {
    let root = host.root().to_string_lossy().into_owned();
    let text = |path: String| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = text(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<&str> = line.split('\0').collect();
        let is_one = words.first()?.rsplit('/').next()? == "tenant";
        let is_ours = ["run", name, &root].iter().all(|word| words.contains(word));
        (is_one && is_ours).then_some(Pid::from_raw(pid))
    })
}

fn links(host: &Host) -> String {
    host.run("ip", &["-brief", "link"]).ok().stdout
}

#[test]
fn a_supervisor_killed_at_any_moment_of_a_start_leaks_nothing() {
    let host = Host::start();
    let tiny = host.create("tiny", &["--image", "busybox"]);
    let before = links(&host);
    let whole = tiny.ctl("start", &[]).ok().took;
    tiny.stop();
    let mut killed = 0;
    for moment in moments(whole) {
        let mut start = tiny.ctl("start", &[]).spawn();
        thread::sleep(moment);
        let hit = supervisor(&host, "tiny").is_some_and(|pid| kill(pid, Signal::SIGKILL).is_ok());
        killed += i32::from(hit);
        poll::until("the start returns", || start.try_wait().expect("a child"));
        poll::until_true("tiny is down, or was never hit", || match tiny.phase().as_str() {
            "stopped" | "failed" => true,
            phase => !hit && phase == "running",
        });
        tiny.start();
        assert_eq!(tiny.says("echo up"), "up", "killed after {moment:?}");
        tiny.stop();
        poll::until_true("its links are gone", || links(&host) == before);
    }
    assert!(killed > 5, "only {killed} supervisors were killed");
}

#[test]
fn a_hostd_killed_at_any_moment_finds_its_way_again() {
    let host = Host::start();
    let stays = host.boot("stays", &["--image", "busybox"]);
    let boot = stays.boot_id();
    // A life of a tenant that nothing disturbs.
    let begin = Instant::now();
    host.boot("calm", &["--image", "busybox"]).ctl("destroy", &["--force", "--yes"]).ok();
    for (number, moment) in moments(begin.elapsed()).enumerate() {
        let name = format!("t{number}");
        let script = format!(
            "{ctl} create {name} --image busybox && {ctl} start {name} && {ctl} destroy {name} --force --yes",
            ctl = host.program("tenantctl").display()
        );
        let life = tenantry_tests::Run::new("sh", ["-c", &script]).env("TENANTRY_ROOT", host.root());
        let mut life = life.spawn();
        thread::sleep(moment);
        host.kill_hostd();
        poll::until("the client gives up", || life.try_wait().expect("a child"));
        host.start_hostd();
        if host.names().contains(&name) {
            host.ctl(&["destroy", &name, "--force", "--yes"]).ok();
        }
        for dir in ["var/lib/tenantry/tenants", "run/tenantry/tenants", "etc/tenantry/tenants"] {
            let left = fs::read_dir(host.path(dir)).into_iter().flatten().flatten();
            let left: Vec<String> =
                left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            let left: Vec<&String> = left.iter().filter(|entry| entry.starts_with(&name)).collect();
            assert!(left.is_empty(), "killed after {moment:?}: {dir} has {left:?}");
        }
    }
    assert_eq!(stays.boot_id(), boot);
    let ports = || links(&host).lines().filter(|line| line.starts_with('t')).count();
    poll::until_true("the ports of the others are gone", || ports() == 1);
}

#[test]
fn a_stored_directory_swapped_for_a_link_during_starts_leads_nowhere() {
    let host = Host::start();
    let tiny = host.create("tiny", &["--image", "busybox"]);
    let (inside, outside, link) = (
        host.path("var/lib/tenantry/tenants/tiny/dirs/root"),
        host.path("outside"),
        host.path("var/lib/tenantry/tenants/tiny/dirs/link"),
    );
    fs::create_dir(&outside).expect("a directory outside");
    // So that the tenant would see what is in it.
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(outside.join("tripwire"), "untouched").expect("the tripwire can be laid");
    symlink(&outside, &link).expect("a link can be planted");
    let look = |path: &Path| {
        let meta = fs::metadata(path).expect("it is there");
        (meta.uid(), meta.gid(), meta.mode(), meta.ctime_nsec())
    };
    let before = look(&outside);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _keeps_trying =
                    renameat2(AT_FDCWD, &inside, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE);
            }
        });
        for _ in 0..40 {
            // Either it starts with its own directory, or it is refused.
            if tiny.ctl("start", &[]).output().status.success() {
                let seen = tiny.shell("ls /root").output().stdout;
                assert!(!seen.contains("tripwire"), "{seen}");
            }
            let _may_be_down = tiny.ctl("stop", &[]).output();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(look(&outside), before);
    assert_eq!(fs::read_to_string(outside.join("tripwire")).expect("the tripwire"), "untouched");
}

#[test]
fn an_image_with_links_for_what_the_host_mounts_is_refused_or_harmless() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    let outside = host.path("outside");
    fs::create_dir(&outside).expect("a directory outside");
    host.start_hostd();
    for (number, name) in ["dev", "proc", "sys", "run", "tmp", "etc"].iter().enumerate() {
        let copy = host.changed_tree("busybox", |tree| {
            fs::remove_dir_all(tree.join(name)).expect("the directory can be removed");
            symlink(&outside, tree.join(name)).expect("a link can be planted");
        });
        let image = format!("trap{number}");
        let copy = copy.to_string_lossy().into_owned();
        if !host.tool("rootfsctl", &["import", &copy, "--name", &image]).output().status.success() {
            continue;
        }
        let tenant = format!("t{number}");
        if host.ctl(&["create", &tenant, "--image", &image]).output().status.success() {
            let _may_be_refused = host.ctl(&["start", &tenant]).output();
            host.ctl(&["destroy", &tenant, "--force", "--yes"]).ok();
        }
    }
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0);
}
