//! What root of a tenant can undo of the mounts that it was given, and what it can do through them to the host.

mod proc_sys;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount},
};
use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant, poll};

/// Makes a directory that only root can enter.
fn close(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory of the host");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("its mode");
}

/// Such a directory of the host, with the names given below it.
fn shelter(host: &Host, names: &[&str]) -> PathBuf {
    let dir = host.path("srv");
    close(&dir);
    for name in names {
        fs::create_dir(dir.join(name)).expect("a directory of the host");
        fs::write(dir.join(name).join("file"), "the host's\n").expect("a file of the host");
    }
    dir
}

fn bind(at: &str, source: &Path, writable: bool) -> String {
    format!("dirs.\"{at}\"={{ bind = \"{}\", writable = {writable} }}", source.display())
}

/// A tenant with mounts of every kind.
fn with_all_mounts<'a>(host: &'a Host, options: &[&str]) -> Tenant<'a> {
    let dir = shelter(host, &["ro", "rw"]);
    let credentials = host.path("etc/tenantry/credentials/alice");
    close(&credentials);
    fs::write(credentials.join("key"), "secret").expect("a credential");
    fs::set_permissions(credentials.join("key"), fs::Permissions::from_mode(0o600)).expect("its mode");
    let binds = [bind("/opt/ro", &dir.join("ro"), false), bind("/opt/rw", &dir.join("rw"), true)];
    let mut all =
        vec!["--set", &binds[0], "--set", &binds[1], "--set", "dirs.\"/run/own\"={ tmpfs = \"1M\" }"];
    all.extend(options);
    host.boot("alice", &all)
}

fn flags<'a>(seen: &'a Value, at: &str) -> Vec<&'a str> {
    let mounts = seen["mounts"].as_array().expect("a list of mounts");
    let mount =
        mounts.iter().find(|mount| mount["at"] == at).unwrap_or_else(|| panic!("nothing at {at}: {seen:#}"));
    mount["flags"].as_array().expect("a list of flags").iter().filter_map(Value::as_str).collect()
}

/// A place and the flags of what is mounted there.
type Expected = (&'static str, &'static [&'static str]);

/// What every tenant has, whatever its root is.
const COMMON: &[Expected] = &[
    ("/dev", &["nosuid", "noexec"]),
    ("/dev/console", &["nosuid", "noexec"]),
    ("/dev/pts", &["nosuid", "noexec"]),
    ("/dev/shm", &["nosuid", "nodev"]),
    ("/opt/ro", &["ro", "nosuid", "nodev"]),
    ("/opt/rw", &["nosuid", "nodev"]),
    ("/proc", &["nosuid", "nodev", "noexec"]),
    ("/run", &["nosuid", "nodev"]),
    ("/run/host/credentials", &["ro", "nosuid", "nodev"]),
    ("/run/host/inaccessible", &["ro", "nosuid", "nodev"]),
    ("/run/own", &["nosuid", "nodev"]),
    ("/sys", &["ro", "nosuid", "nodev", "noexec"]),
    ("/sys/fs/cgroup", &["nosuid", "nodev", "noexec"]),
    ("/tmp", &["nosuid", "nodev"]),
];

const SHARED_OS: &[Expected] = &[
    ("/", &["ro", "nosuid", "nodev"]),
    ("/usr", &["ro", "nodev"]),
    ("/etc", &["nodev"]),
    ("/var", &["nodev"]),
    ("/home", &["nodev"]),
    ("/root", &["nodev"]),
];

const OS: &[Expected] = &[("/", &["nodev"])];

const APP: &[Expected] = &[
    ("/", &["ro", "nosuid", "nodev"]),
    ("/usr/bin", &["ro", "nodev"]),
    ("/etc", &["nodev"]),
    ("/root", &["nodev"]),
];

/// A tenant that is one program.
const ONE_PROGRAM: [&str; 8] = [
    "--image",
    "busybox",
    "--profile",
    "app",
    "--set",
    "paths=[\"/bin\", \"/lib\"]",
    "--set",
    "init=[\"/bin/sleep\", \"1000000\"]",
];

#[test]
fn no_flag_that_the_host_sets_can_be_taken_off_inside() {
    let app =
        [&ONE_PROGRAM[..], &["--set", "dirs.\"/root\"=private", "--set", "dirs.\"/etc\"=overlay"]].concat();
    let kinds: [(&[&str], &[Expected]); 3] = [(&[], SHARED_OS), (&["--profile", "os"], OS), (&app, APP)];
    for (options, own) in kinds {
        let host = Host::start();
        let alice = with_all_mounts(&host, options);
        alice.bring_probe();
        // A namespace of a lesser user: what is locked for root is locked there, too.
        for script in ["exec /root/probe unlock", "exec unshare -Urm /root/probe unlock"] {
            let seen = alice.shell(script).ok().json();
            // What a tenant has mounted itself is its own: systemd has /run/lock.
            let ours =
                |lost: &&str| COMMON.iter().chain(own).any(|(at, _)| lost.starts_with(&format!("{at}: ")));
            let lost: Vec<&str> =
                seen["lost"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            assert_eq!(
                lost.into_iter().filter(ours).collect::<Vec<_>>(),
                Vec::<&str>::new(),
                "{options:?}, {script}"
            );
            for (at, expected) in COMMON.iter().chain(own) {
                assert_eq!(flags(&seen, at), *expected, "{options:?}, {script}: {at}");
            }
        }
        let written = alice.shell("echo changed >> /opt/ro/file").output();
        assert!(written.stderr.contains("Read-only"), "{}", written.stderr);
        let file = host.path("srv/ro/file");
        assert_eq!(fs::read_to_string(file).expect("the host's file"), "the host's\n");
        alice.says("echo changed >> /opt/rw/file");
    }
}

#[test]
fn a_link_that_a_tenant_plants_leads_no_bind_astray() {
    let host = Host::start();
    let dir = shelter(&host, &["shared", "secret"]);
    fs::create_dir_all(dir.join("shared/sub/x")).expect("a directory below the shared one");
    let binds =
        [bind("/opt/data", &dir.join("shared"), true), bind("/opt/below", &dir.join("shared/sub/x"), false)];
    let alice = host.boot("alice", &["--set", &binds[0], "--set", &binds[1]]);
    alice.says("ls /opt/below");
    let plant = format!(
        "rm -rf /opt/data/sub && mkdir /opt/data/sub && ln -s {} /opt/data/sub/x",
        dir.join("secret").display()
    );
    alice.says(&plant);
    // What is built again when it reboots is what the link would lead astray.
    let _answer = alice.exec(&["systemctl", "reboot"]).output();
    alice.awaits("failed");
    let failure = alice.field("/failure");
    let link = dir.join("shared/sub/x");
    assert!(failure.contains(&format!("{link:?} is a symbolic link to")), "{failure}");
    let said = alice.ctl("start", &[]).output().refused(2);
    assert!(said.contains("readlink -f"), "{said}");
    // A link further up is no better.
    fs::remove_dir_all(dir.join("shared/sub")).expect("what was planted can be removed");
    symlink(dir.join("secret"), dir.join("shared/sub")).expect("a link");
    fs::create_dir(dir.join("secret/x")).expect("a directory behind the link");
    let said = alice.ctl("start", &[]).output().refused(2);
    assert!(said.contains(&format!("{:?} is a symbolic link to", dir.join("shared/sub"))), "{said}");
    fs::remove_file(dir.join("shared/sub")).expect("the link can be removed");
    fs::create_dir_all(dir.join("shared/sub/x")).expect("a directory in its place");
    alice.start();
    assert_eq!(alice.says("ls /opt/below"), "");
}

#[test]
fn what_a_tenant_makes_on_a_writable_bind_gives_no_user_of_the_host_any_power() {
    let host = Host::start();
    let open = host.path("open");
    fs::create_dir(&open).expect("a directory that users can enter");
    let exposed = bind("/opt/data", &open, true);
    let said = host.ctl(&["create", "alice", "--set", &exposed]).output().refused(2);
    assert!(said.contains("/opt/data") && said.contains("mode 0700") && said.contains("nosuid"), "{said}");
    // Nor may a tenant's file that somebody has edited.
    let alice = host.create("alice", &["--set", &bind("/opt/data", &open, false)]);
    assert!(alice.ctl("set", &[&exposed]).output().refused(2).contains("set-user-ID"));
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&file).expect("the tenant's file");
    fs::write(&file, text.replace("writable = false", "writable = true")).expect("the tenant's file");
    assert!(alice.ctl("start", &[]).output().refused(2).contains("set-user-ID"));
    // Below a directory of root's alone, and on a mount that heeds no such file, it is given.
    let closed = shelter(&host, &["data"]).join("data");
    let quiet = Bound::nosuid(&open);
    alice.ctl("set", &[&bind("/opt/closed", &closed, true)]).ok();
    alice.start();
    alice.bring_probe();
    let make = "for d in /opt/data /opt/closed; do \
                cp /root/probe $d/tool && chmod 4755 $d/tool && cp /root/probe $d/able && setcap cap_sys_admin=ep $d/able; \
                chmod 755 $d; done";
    alice.says(make);
    // Inside neither counts: on a directory that others share, they could be another's.
    let inside = "setpriv --reuid=65534 --regid=65534 --clear-groups --";
    for (dir, of) in [("/opt/data", open.as_path()), ("/opt/closed", closed.as_path())] {
        for tool in ["tool", "able"] {
            let status = alice.says(&format!("{inside} {dir}/{tool} process"));
            assert_powerless(&status, &format!("{dir}/{tool} inside"));
            // setpriv(1) itself keeps its capabilities until it executes something.
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", "env"];
            let run =
                Run::new("setpriv", nobody).args([of.join(tool).as_os_str()]).args(["process"]).output();
            if of == closed {
                assert!(!run.status.success(), "a user of the host ran {tool}: {}", run.stdout);
            } else {
                assert_powerless(&run.succeeded().stdout, tool);
            }
        }
    }
    alice.stop();
    drop(quiet);
}

/// A directory that is mounted on itself, so that set-user-ID programs and file capabilities do not count there.
struct Bound<'a>(&'a Path);

impl<'a> Bound<'a> {
    fn nosuid(dir: &'a Path) -> Self {
        Run::new("mount", ["--bind"]).args([dir, dir]).ok();
        Run::new("mount", ["-o", "remount,bind,nosuid"]).args([dir]).ok();
        Self(dir)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        drop(Run::new("umount", ["--lazy"]).args([self.0]).output());
    }
}

/// Of what the probe tells of its own process.
fn assert_powerless(report: &str, what: &str) {
    let seen: Value = serde_json::from_str(report).expect("the probe prints JSON");
    let status = &seen["process"]["status"];
    assert_eq!(status["Uid"], "65534\t65534\t65534\t65534", "{what}");
    assert_eq!(status["CapEff"], "0000000000000000", "{what}");
}

#[test]
fn a_bind_without_a_source_is_refused_before_anything_changes() {
    let host = Host::start();
    let absent = host.path("absent");
    let said =
        host.ctl(&["create", "alice", "--set", &bind("/opt/data", &absent, false)]).output().refused(2);
    assert!(said.contains("does not exist") && said.contains("mkdir -p"), "{said}");
    assert_eq!(host.names(), Vec::<String>::new());
    let alice = host.boot("alice", &["--image", "busybox"]);
    let said = alice.ctl("set", &[&bind("/opt/data", &absent, false)]).output().refused(2);
    assert!(said.contains("does not exist"), "{said}");
    // A reboot from inside builds what the file says.
    let boots = || alice.run_state()["boots"].as_u64();
    let before = boots();
    let _answer = alice.exec(&["reboot"]).output();
    poll::until_true("alice has booted again", || alice.phase() == "running" && boots() != before);
    let file = host.path("file");
    fs::write(&file, "").expect("a file of the host");
    let said = alice.ctl("set", &[&bind("/opt/data", &file, false)]).output().refused(2);
    assert!(said.contains("is not a directory"), "{said}");
}

#[test]
fn directories_of_tenants_are_closed_to_users_of_the_host() {
    let host = Host::start();
    let state = host.path("var/lib/tenantry");
    let mode = |dir: &Path| fs::metadata(dir).expect("the directory is there").permissions().mode() & 0o7777;
    host.create("alice", &["--image", "busybox"]);
    assert_eq!(mode(&state.join("tenants")), 0o700);
    // Restored from a backup, or changed by somebody: put right before any tenant can write there.
    host.end_hostd();
    fs::set_permissions(state.join("tenants"), fs::Permissions::from_mode(0o755)).expect("its mode");
    host.start_hostd();
    assert_eq!(mode(&state.join("tenants")), 0o700);
    // A supervisor sees to it as well: systemd starts tenants without hostd.
    for dir in ["tenants", "images"] {
        fs::set_permissions(state.join(dir), fs::Permissions::from_mode(0o755)).expect("its mode");
        host.ctl(&["restart", "alice"]).ok();
        assert_eq!(mode(&state.join(dir)), 0o700, "{dir}");
    }
}

#[test]
fn what_is_locked_hinders_no_system_inside() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", &bind("/opt/ro", &shelter(&host, &["ro"]).join("ro"), false)]);
    for script in [
        // proc and sysfs of namespaces of its own: the tenant's must be in sight for that, also when they are asked away.
        "unshare -Urmpf --mount-proc test -d /proc/1",
        "ip netns add inner && ip netns exec inner test -d /sys/class/net/lo",
        "! umount /proc && ! umount --lazy /sys && mount -t proc proc /mnt && umount /mnt",
        // What no other mount needs can go.
        "unshare -m umount /home /opt/ro && umount /opt/ro /srv && test ! -e /opt/ro/file",
        "mount -t tmpfs none /mnt && mount -o remount,bind,ro /mnt && mount -o remount,bind,rw /mnt && umount /mnt",
        "systemd-run --wait -q -p PrivateTmp=yes -p ProtectSystem=strict -p ProtectHome=tmpfs -p PrivateDevices=yes \
         -p ProtectKernelTunables=yes -p ProtectControlGroups=yes -p ProtectProc=invisible -p ProcSubset=pid \
         -p TemporaryFileSystem=/mnt -p BindReadOnlyPaths=/usr:/mnt/x -p InaccessiblePaths=/boot true",
    ] {
        alice.shell(script).ok();
    }
    assert_eq!(alice.says("systemctl is-system-running"), "running");
}

/// The mount at a place, as a process sees it: its id, from proc_pid_mountinfo(5).
fn mount_id(pid: i32, at: &str) -> String {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("the mounts of a process");
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.rfind(|fields| fields.get(4) == Some(&at)).unwrap_or_else(|| panic!("nothing at {at}"));
    line[0].to_owned()
}

#[test]
fn the_host_can_put_another_usr_beneath_that_of_a_running_tenant() {
    const MOVE_MOUNT_BENEATH: u32 = 0x200;
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.says("systemd-run --quiet --unit=apart -p PrivateMounts=yes -p PrivateTmp=yes sleep 4242");
    let service: i32 = {
        let inside = alice.says("systemctl show --value --property=MainPID apart");
        let processes = fs::read_dir("/proc").expect("the processes").flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let pid = pids.find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("4242")
                && status
                    .lines()
                    .any(|line| line.starts_with("NSpid:") && line.ends_with(&format!("\t{inside}")))
        });
        pid.expect("the service runs")
    };
    let (init, _) = alice.pids();
    let before = [mount_id(init, "/usr"), mount_id(service, "/usr")];
    let swap = move || -> rustix::io::Result<()> {
        let namespace = fs::File::open(format!("/proc/{init}/ns/mnt")).expect("the tenant's mount namespace");
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).expect("a root of its own");
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNS).expect("the host may enter");
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let other = open_tree(CWD, "/usr", clone)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::from_bits_retain(MOVE_MOUNT_BENEATH);
        move_mount(&other, "", CWD, "/usr", flags)?;
        unmount("/usr", UnmountFlags::DETACH)
    };
    std::thread::spawn(swap).join().expect("the thread ends").expect("nothing locks /usr to its place");
    for (pid, before) in [init, service].into_iter().zip(before) {
        assert_ne!(mount_id(pid, "/usr"), before, "process {pid} has the old one");
    }
    assert_eq!(alice.says("systemctl is-system-running"), "running");
}

#[test]
fn a_private_tmp_is_writable_for_all_and_outlives_a_restart() {
    let host = Host::start();
    for (name, options) in [
        ("alice", vec!["--set", "dirs.\"/tmp\"=private"]),
        ("bob", vec!["--set", "dirs.\"/tmp\"=overlay"]),
        ("carol", [&ONE_PROGRAM[..], &["--set", "dirs.\"/tmp\"=private"]].concat()),
    ] {
        let tenant = host.boot(name, &options);
        assert_eq!(tenant.says("stat -c %a /tmp"), "1777", "{name}");
        tenant.says("touch /tmp/kept");
        let dirs = host.path(format!("var/lib/tenantry/tenants/{name}/dirs/tmp"));
        let kept = [dirs.join("kept"), dirs.join("upper/kept")].into_iter().find(|file| file.exists());
        assert!(kept.is_some(), "{name} has something else at /tmp");
        tenant.ctl("restart", &[]).ok();
        // What Debian removes from its own /tmp at each boot is its own affair.
        if name == "carol" {
            tenant.says("test -e /tmp/kept");
        }
        tenant.says("touch /tmp/more");
    }
    for (at, policy) in
        [("/run", "private"), ("/run", "overlay"), ("/run", "shared"), ("/tmp", "shared"), ("/tmp", "empty")]
    {
        let set = format!("dirs.\"{at}\"={policy}");
        let said = host.ctl(&["create", "dave", "--set", &set]).output().refused(2);
        assert!(said.contains("tmpfs"), "{set}: {said}");
    }
}

#[test]
fn a_bind_without_a_place_in_the_image_is_told_with_its_remedy() {
    let host = Host::start();
    let source = shelter(&host, &["in"]).join("in");
    let create =
        |name: &str, at: &str| host.create(name, &["--image", "busybox", "--set", &bind(at, &source, false)]);
    let alice = create("alice", "/opt/in");
    let said = alice.ctl("start", &[]).output();
    assert!(!said.status.success());
    let said = said.stderr;
    assert!(said.contains("cannot attach /opt/in: the directory does not exist in the image"), "{said}");
    assert!(said.contains("help: mount it below a writable directory of the tenant"), "{said}");
    assert!(!said.contains("`init`") && !said.contains("cannot start its init"), "{said}");
    let bob = create("bob", "/root/in");
    bob.ctl("start", &[]).ok();
    assert_eq!(bob.says("cat /root/in/file"), "the host's");
    bob.says("umount /root/in; rmdir /root/in; ln -s /tmp /root/in");
    let said = bob.ctl("restart", &[]).output();
    assert!(
        said.stderr.contains("its path contains a symbolic link") && said.stderr.contains("[dirs]"),
        "{}",
        said.stderr
    );
    bob.ctl("destroy", &["--force", "--yes"]).output();
}

/// When a directory of the image "debian" was changed, in nanoseconds since 1970.
fn changed_in_image(host: &Host, dir: &str) -> i128 {
    let versions = host.path("var/lib/tenantry/images/debian/versions");
    let version = fs::read_dir(versions).expect("versions").next().expect("a version").expect("its entry");
    let metadata = fs::metadata(version.path().join("tree").join(dir)).expect("a directory of the image");
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

#[test]
fn a_base_that_is_as_it_was_built_is_no_update_to_systemd() {
    let host = Host::start();
    let tenant = host.boot("alice", &[]);
    for dir in ["usr", "var/lib/dpkg"] {
        let inside = tenant.says(&format!("stat --format %.9Y /{dir}")).replace('.', "");
        assert_eq!(inside.parse(), Ok(changed_in_image(&host, dir)), "{dir}");
    }
    // Else it runs at every boot.
    let asked =
        tenant.says("systemctl show --property ConditionTimestamp,ConditionResult systemd-sysusers.service");
    assert!(asked.contains("ConditionResult=no") && !asked.contains("ConditionTimestamp=\n"), "{asked}");
}
