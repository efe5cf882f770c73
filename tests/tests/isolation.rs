//! What tenants cannot see of each other, nor of the host, and what they cannot change.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use serde_json::Value;
use tenantry_tests::{Host, Tenant, Terminal, pages::frames, poll};

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().expect("a list");
    items.iter().map(|item| item.as_str().expect("text").to_owned()).collect()
}

#[test]
fn tenants_differ_in_everything_that_names_a_system() {
    let host = Host::start();
    let tenants = [host.boot("alice", &[]), host.boot("bob", &[])];
    for question in [
        "hostname",
        "cat /etc/machine-id",
        "systemctl start ssh && cat /etc/ssh/ssh_host_ed25519_key.pub",
        "ip -4 -brief address show scope global",
        "ip -6 -brief address show scope global",
        "cat /sys/class/net/eth0/address",
        "for n in user pid mnt uts ipc net cgroup; do readlink /proc/self/ns/$n; done",
    ] {
        let [alice, bob] = &tenants;
        let (alice, bob) = (alice.says(question), bob.says(question));
        assert!(!alice.is_empty() && alice != bob, "{question}: {alice} and {bob}");
    }
    // Which ids they have on the host no tenant sees.
    let ids = tenants.each_ref().map(|tenant| {
        fs::read_to_string(format!("/proc/{}/uid_map", tenant.pids().0)).expect("init is running")
    });
    assert_ne!(ids[0], ids[1]);
    assert_eq!(tenants[0].says("cat /proc/self/uid_map"), tenants[1].says("cat /proc/self/uid_map"));
    for tenant in &tenants {
        assert_eq!(tenant.says("hostname"), tenant.name());
        assert_eq!(tenant.says("id -u"), "0");
    }
}

#[test]
fn the_machine_id_stays_over_restarts_and_is_that_of_the_allocation() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let id = alice.says("cat /etc/machine-id");
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("cat /etc/machine-id"), id);
    let path = host.path("var/lib/tenantry/tenants/alice/allocation.toml");
    assert!(fs::read_to_string(path).expect("an allocation").contains(&id));
}

#[test]
fn processes_and_ipc_are_private() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &[]));
    alice.says("systemd-run --quiet --unit=marked sleep 4242; ipcmk --shmem 4096 >/dev/null");
    assert!(alice.says("cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '").contains("sleep 4242"));
    assert!(!bob.says("cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '").contains("sleep 4242"));
    assert_eq!(alice.says("tail -n +2 /proc/sysvipc/shm | wc -l"), "1");
    assert_eq!(bob.says("tail -n +2 /proc/sysvipc/shm | wc -l"), "0");
}

#[test]
fn usr_is_read_only_however_it_is_tried() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let said = alice.shell("touch /usr/new").output();
    assert!(!said.status.success() && said.stderr.contains("Read-only"), "{}", said.stderr);
    let tries = [
        "mount -o remount,rw /usr; touch /usr/new",
        // The flag of the mount is the tenant's, that of the filesystem below is not.
        "mount -o remount,bind,rw /usr; touch /usr/new",
        "echo x >> /usr/bin/true",
        "umount /usr && touch /usr/new",
        "chattr -i /usr/bin/true && echo x >> /usr/bin/true",
    ];
    for script in tries {
        assert_ne!(alice.shell(script).output().code(), 0, "{script}");
    }
}

#[test]
fn the_pages_of_usr_are_in_memory_once() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &[]));
    let [one, other] = [&alice, &bob].map(|tenant| frames(tenant.pids().0, "libc.so"));
    let common = one.intersection(&other).count();
    assert!(one.len() > 20, "only {} pages of libc are mapped", one.len());
    assert!(common * 10 > one.len().min(other.len()) * 8, "{common} of {} and {}", one.len(), other.len());
}

#[test]
fn locks_on_files_of_usr_are_unseen_by_the_neighbour() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &[]));
    alice.bring_probe();
    bob.bring_probe();
    let hold = |tenant: &Tenant<'_>| {
        let mut terminal = Terminal::open(&tenant.exec(&["/root/probe", "lock", "/usr/bin/true"]));
        terminal.expect("locked");
        terminal
    };
    let _alice = hold(&alice);
    let _bob = hold(&bob);
    let second = alice.probe_again(&["lock", "/usr/bin/true"]);
    assert!(!second.status.success(), "inside one tenant a lock holds");
}

#[test]
fn accesses_to_files_of_usr_are_unseen_by_the_neighbour() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &[]));
    alice.bring_probe();
    let mut watch =
        Terminal::open(&alice.exec(&["/root/probe", "watch", "/usr/share/common-licenses/GPL-3"]));
    watch.expect("watching");
    bob.says("cat /usr/share/common-licenses/GPL-3 > /dev/null");
    bob.says("cat /usr/share/common-licenses/GPL-3 > /dev/null");
    assert!(!watch.shown().contains("event"), "alice saw what bob read");
    alice.says("cat /usr/share/common-licenses/GPL-3 > /dev/null");
    watch.expect("event");
}

/// Bits of `CapBnd` and friends.
fn capabilities(status: &Value, set: &str) -> u64 {
    let text = status[set].as_str().unwrap_or_else(|| panic!("no {set} in {status}"));
    u64::from_str_radix(text, 16).expect("a mask")
}

#[test]
fn powers_over_the_host_are_gone() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let status = alice.probe(&["process"])["process"]["init_status"].clone();
    // SYS_MODULE, SYS_RAWIO, SYS_TIME, AUDIT_WRITE, AUDIT_CONTROL, MAC_OVERRIDE, MAC_ADMIN, SYSLOG,
    // WAKE_ALARM, BLOCK_SUSPEND, AUDIT_READ, PERFMON, BPF, CHECKPOINT_RESTORE: linux/capability.h.
    for number in [16, 17, 25, 29, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40] {
        for set in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(capabilities(&status, set) >> number & 1, 0, "capability {number} in {set}");
        }
    }
    assert_eq!(status["Seccomp"], "2");
    assert_eq!(status["Uid"], "0\t0\t0\t0");
}

#[test]
fn what_the_filter_denies_is_refused() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    // Their names: how often each is in use changes with every host.
    let modules = || -> Vec<String> {
        let text = fs::read_to_string("/proc/modules").unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    let before = modules();
    let refused = alice.probe(&["refused"])["refused"].clone();
    for (call, answer) in [
        ("mknod_disk", "EPERM"),
        ("af_alg", "EAFNOSUPPORT"),
        ("af_vsock", "EAFNOSUPPORT"),
        ("settime", "EPERM"),
        ("module_load", "EPERM"),
    ] {
        assert_eq!(refused[call], answer, "{call}");
    }
    assert_ne!(refused["mount_ext4"], "allowed");
    // What a system needs is not refused.
    assert_eq!(refused["unshare_mounts"], "allowed");
    assert_eq!(refused["mount_tmpfs"], "allowed");
    assert_eq!(modules(), before);
}

#[test]
fn exec_is_under_the_restrictions_of_init() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = alice.probe(&["process", "namespaces"]);
    let (own, init) = (&seen["process"]["status"], &seen["process"]["init_status"]);
    for key in ["CapBnd", "Seccomp", "Uid", "Gid", "NoNewPrivs"] {
        assert_eq!(own[key], init[key], "{key}");
    }
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(capabilities(own, set) & !capabilities(init, "CapBnd"), 0, "{set}");
    }
    assert_eq!(own["Seccomp_filters"], init["Seccomp_filters"]);
    assert_eq!(seen["namespaces"]["self"], seen["namespaces"]["init"]);
    let cgroup = seen["process"]["cgroup"].as_str().expect("a cgroup");
    assert!(cgroup.lines().all(|line| !line.contains("..")), "exec is outside of the tenant: {cgroup}");
}

#[test]
fn no_object_of_the_host_is_visible_inside() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    // A console and an exec at the same time, so that their processes are looked at as well.
    let _console = alice.console(&["-t", "1"]);
    let seen = alice.probe(&["descriptors"])["descriptors"].clone();
    let root = host.root().to_string_lossy().into_owned();
    let bin = host.program("tenant");
    let bin = bin.parent().expect("a directory").to_string_lossy().into_owned();
    for (pid, links) in seen.as_object().expect("processes") {
        for (name, target) in links.as_object().expect("links") {
            let target = target.as_str().expect("a path");
            let foreign = [root.as_str(), bin.as_str(), "(unreachable)", "memfd:"];
            let foreign = foreign.iter().find(|mark| target.contains(**mark));
            assert!(foreign.is_none(), "process {pid}: {name} is {target}");
        }
    }
}

#[test]
fn dev_holds_the_fixed_nodes_and_no_disk() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let seen = alice.probe(&["devices"])["devices"].clone();
    let nodes: BTreeSet<(&str, &str)> = seen
        .as_object()
        .expect("entries")
        .iter()
        .filter_map(|(name, kind)| Some((name.as_str(), kind.as_str()?)))
        .filter(|(_, kind)| kind.starts_with("c ") || kind.starts_with("b "))
        .filter(|(_, kind)| !kind.starts_with("c 136:"))
        .collect();
    let wanted = [
        ("full", "c 1:7"),
        ("null", "c 1:3"),
        ("random", "c 1:8"),
        ("tty", "c 5:0"),
        ("urandom", "c 1:9"),
        ("zero", "c 1:5"),
    ];
    assert!(wanted.iter().all(|node| nodes.contains(node)), "{nodes:?}");
    let more: Vec<_> = nodes.iter().filter(|node| !wanted.contains(node)).collect();
    // The console and the ttys are ptys.
    let ptys =
        more.iter().all(|(name, kind)| name.starts_with("tty") || *name == "console" || kind.is_empty());
    assert!(ptys, "{more:?}");
}

#[test]
fn values_of_the_whole_machine_cannot_be_written() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = alice.probe(&["sentinels"])["sentinels"].clone();
    assert_eq!(texts(&seen["writable"]), Vec::<String>::new());
    // These belong to the tenant's own namespaces.
    let own = |path: &String| {
        let path = path.trim_start_matches("/proc/sys/");
        let kernel = path.strip_prefix("kernel/").unwrap_or_default();
        let ipc = ["shm", "msg", "sem", "auto_msgmni", "hostname", "domainname", "ns_last_pid", "pid_max"];
        path.starts_with("net/")
            || path.starts_with("user/")
            || path.starts_with("fs/mqueue/")
            || path.starts_with("fs/binfmt_misc/")
            || ipc.iter().any(|name| kernel.starts_with(name))
    };
    let foreign: Vec<String> = texts(&seen["proc_sys"]).into_iter().filter(|path| !own(path)).collect();
    assert_eq!(foreign, Vec::<String>::new());
}

#[test]
fn init_gets_the_environment_of_the_container_interface() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = alice.probe(&["environment", "process", "mounts"]);
    let env = &seen["environment"]["init"];
    assert_eq!(env["container"], "tenantry");
    let uuid = env["container_uuid"].as_str().expect("container_uuid").replace('-', "");
    assert_eq!(uuid, alice.says("cat /etc/machine-id"));
    for leaked in ["TENANTRY_ROOT", "CARGO", "SSH_AUTH_SOCK", "INVOCATION_ID_OF_HOST"] {
        assert_eq!(env[leaked], Value::Null, "{leaked}");
        assert_eq!(seen["environment"]["self"][leaked], Value::Null, "{leaked} in exec");
    }
    let mounts = seen["mounts"].as_array().expect("mounts");
    let of = |at: &str| mounts.iter().rfind(|mount| mount["at"] == at).unwrap_or_else(|| panic!("no {at}"));
    let has = |at: &str, option: &str| {
        of(at)["options"].as_str().expect("options").split(',').any(|one| one == option)
    };
    assert_eq!(of("/sys/fs/cgroup")["type"], "cgroup2");
    assert_eq!(of("/sys/fs/cgroup")["root"], "/");
    assert!(has("/sys", "ro") && has("/usr", "ro"));
    for at in ["/proc", "/sys", "/dev/pts"] {
        assert!(has(at, "nosuid"), "{at} is nosuid");
    }
    assert!(mounts.iter().all(|mount| mount["shared"] == true), "a later mount reaches services");
    assert!(alice.says("cat /run/host/container-manager").contains("tenantry"));
    assert!(!alice.says("cat /run/host/os-release").is_empty());
}

#[test]
fn links_planted_by_a_tenant_lead_the_host_nowhere() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let tripwire = host.path("tripwire");
    // What would do for any of these files.
    const SECRET: &str = "untouched";
    fs::write(&tripwire, format!("{SECRET}\n")).expect("the tripwire can be laid");
    let look = || {
        let meta = fs::metadata(&tripwire).expect("the tripwire");
        (meta.ino(), meta.uid(), meta.mode(), meta.ctime_nsec(), meta.atime_nsec())
    };
    let before = look();
    let trap = tripwire.to_string_lossy().into_owned();
    let files =
        "/etc/hosts /etc/hostname /etc/machine-id /etc/resolv.conf /etc/motd /root/.bashrc /var/log/wtmp";
    alice.says(&format!("for f in {files}; do rm -rf $f; ln -s {trap} $f; done"));
    alice.says(&format!("mkdir -p /var/trap && ln -s {trap} /var/trap/dev && mkfifo /etc/fifo /root/fifo"));
    for words in [
        &["restart"][..],
        &["exec", "--", "cat", "/proc/sys/kernel/hostname"],
        &["logs"],
        &["stat"],
        &["set", "hostname=another"],
        &["show"],
        &["drift"],
        &["stop"],
        &["drift", "--diff", "/etc/motd"],
        &["start"],
        &["cp", "/etc/hosts"],
        &["stop"],
    ] {
        let said = match words {
            ["cp", file] => host.ctl(&["cp", &format!("alice:{file}"), "-"]).output(),
            _ => alice.ctl(words[0], &words[1..]).output(),
        };
        println!("{words:?}: {} {}{}", said.code(), said.stdout, said.stderr);
        assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET), "{words:?}: it was read");
        assert_eq!(look(), before, "{words:?}");
    }
    alice.ctl("destroy", &["--yes"]).ok();
    assert_eq!(look(), before);
    assert_eq!(fs::read_to_string(&tripwire).expect("the tripwire").trim_end(), SECRET);
    assert!(!host.path("var/lib/tenantry/tenants/alice").exists());
}

#[test]
fn a_link_in_place_of_a_stored_directory_is_refused() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let outside = host.path("outside");
    fs::create_dir(&outside).expect("a directory outside");
    for store in ["root", "etc", "home"] {
        let dir = host.path("var/lib/tenantry/tenants/alice/dirs").join(store);
        if !dir.exists() {
            continue;
        }
        let aside = dir.with_extension("aside");
        fs::rename(&dir, &aside).expect("the directory can be moved");
        std::os::unix::fs::symlink(&outside, &dir).expect("a link can be planted");
        let said = alice.ctl("start", &[]).output();
        assert!(!said.status.success(), "{store} as a link was accepted");
        fs::remove_file(&dir).expect("the link can be removed");
        fs::rename(&aside, &dir).expect("the directory can be moved back");
    }
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0);
    alice.start();
}

#[test]
fn set_user_id_files_of_a_tenant_are_out_of_reach_on_the_host() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.bring_probe();
    alice.says("chmod 4755 /root/probe && chmod 755 /root");
    let tenants = host.path("var/lib/tenantry/tenants");
    let file = tenants.join("alice/dirs/root/probe");
    assert!(file.exists(), "{} is where a private directory lies", file.display());
    // setpriv(1) itself keeps its capabilities until it executes something.
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", "env"];
    let run =
        || tenantry_tests::Run::new("setpriv", nobody).args([file.as_os_str()]).args(["process"]).output();
    let said = run();
    assert!(said.stderr.contains("Permission denied"), "a user ran it: {} {}", said.stdout, said.stderr);
    // What would be without that: the file is the host's root's.
    for dir in ["", "alice", "alice/dirs", "alice/dirs/root"] {
        fs::set_permissions(tenants.join(dir), fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    assert_eq!(run().json()["process"]["status"]["Uid"], "65534\t0\t0\t0");
}

#[test]
fn a_deep_and_odd_tree_is_destroyed_all_the_same() {
    let mut host = Host::bare();
    host.share_images();
    // Fewer files than there are levels.
    host.start_hostd_behind(&["prlimit", "--nofile=1024:1024", "--"]);
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.says(
        "cd /root; i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; \
         cd /root; n=$(printf '%0255d' 0); echo x > $n; mkfifo pipe; ln -s / up; ln -s /proc/1/root out; \
         chmod 0 $n; mkdir -p locked/in; chmod 0 locked",
    );
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    assert!(!host.path("var/lib/tenantry/tenants/alice").exists());
}

#[test]
fn the_image_is_unchanged_by_those_who_boot_it() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.says("echo changed >> /etc/passwd; rm -f /etc/issue; echo x > /var/lib/x");
    alice.stop();
    host.tool("rootfsctl", &["verify", "debian"]).ok();
}

#[test]
fn the_hosts_own_mounts_never_change() {
    let before = fs::read_to_string("/proc/1/mountinfo").expect("the mounts of process 1");
    let host = Host::start();
    let own = || fs::read_to_string("/proc/self/mountinfo").expect("our mounts").lines().count();
    let count = own();
    let alice = host.boot("alice", &["--image", "busybox"]);
    poll::until_true("alice runs", || alice.phase() == "running");
    let root = host.root().to_string_lossy().into_owned();
    let now = fs::read_to_string("/proc/1/mountinfo").expect("the mounts of process 1");
    let new: Vec<&str> = now.lines().filter(|line| !before.contains(*line) && line.contains(&root)).collect();
    assert_eq!(new, Vec::<&str>::new());
    // Other tests bind their image stores meanwhile; a tenant would add dozens.
    assert!(own() < count + 10, "the tenant's mounts are in the host's namespace");
}
