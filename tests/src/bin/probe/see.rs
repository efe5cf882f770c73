//! What can be seen from inside.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socket},
        stat::{Mode, SFlag, makedev, mknod},
    },
};
use serde_json::{Value, json};

type Look = fn() -> Value;

/// What can be asked.
pub(super) const TOPICS: &[(&str, Look)] = &[
    ("process", process),
    ("namespaces", namespaces),
    ("mounts", mounts),
    ("devices", devices),
    ("descriptors", descriptors),
    ("environment", environment),
    ("network", network),
    ("sentinels", sentinels),
    ("refused", refused),
    ("strangers", strangers),
    ("attacks", super::attack::calls),
    ("kernel_log", super::attack::kernel_log),
];

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map_or_else(|error| format!("! {error}"), |text| text.trim().to_owned())
}

fn fields(path: &str) -> BTreeMap<String, String> {
    let status = text(path);
    let pairs = status.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

fn process() -> Value {
    json!({
        "pid": std::process::id(),
        "status": fields("/proc/self/status"),
        "init_status": fields("/proc/1/status"),
        "uid_map": text("/proc/self/uid_map"),
        "gid_map": text("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "cgroup": text("/proc/self/cgroup"),
        "init_cgroup": text("/proc/1/cgroup"),
        "oom_score_adj": text("/proc/self/oom_score_adj"),
        "hostname": text("/proc/sys/kernel/hostname"),
        "uptime": text("/proc/uptime").split(' ').next().and_then(|s| s.parse::<f64>().ok()),
        "processes": numbers("/proc").len(),
    })
}

fn numbers(dir: &str) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn namespaces() -> Value {
    let link = |pid: &str, kind: &str| {
        let path = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        path.map_or_else(|error| format!("! {error}"), |path| path.display().to_string())
    };
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let of = |pid: &str| -> BTreeMap<&str, String> {
        kinds.into_iter().map(|kind| (kind, link(pid, kind))).collect()
    };
    json!({ "self": of("self"), "init": of("1") })
}

/// Mounts with their options, from proc_pid_mountinfo(5).
fn mounts() -> Value {
    let info = text("/proc/self/mountinfo");
    let mount = |line: &str| -> Option<Value> {
        let (left, right) = line.split_once(" - ")?;
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        Some(json!({
            "root": left.get(3)?, "at": left.get(4)?, "options": left.get(5)?,
            "shared": left.get(6..)?.iter().any(|tag| tag.starts_with("shared:")),
            "type": right.first()?, "source": right.get(1)?, "super": right.get(2)?,
        }))
    };
    info.lines().filter_map(mount).collect()
}

/// Everything in `/dev` with its type, numbers and owner.
fn devices() -> Value {
    let mut found = serde_json::Map::new();
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        let kind = meta.file_type();
        let what = if kind.is_char_device() {
            format!("c {}:{}", meta.rdev() >> 8, meta.rdev() & 0xff)
        } else if kind.is_block_device() {
            format!("b {}:{}", meta.rdev() >> 8, meta.rdev() & 0xff)
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            format!("link {}", target.display())
        } else if kind.is_dir() {
            "dir".to_owned()
        } else {
            "file".to_owned()
        };
        found.insert(entry.file_name().to_string_lossy().into_owned(), what.into());
    }
    Value::Object(found)
}

/// What every process inside holds open, and what it was started from.
fn descriptors() -> Value {
    let mut found = serde_json::Map::new();
    for pid in numbers("/proc") {
        let mut links = serde_json::Map::new();
        for name in ["exe", "cwd", "root"] {
            let target = fs::read_link(format!("/proc/{pid}/{name}"));
            let target = target.map_or_else(|error| format!("! {error}"), |path| path.display().to_string());
            links.insert(name.to_owned(), target.into());
        }
        for fd in numbers(&format!("/proc/{pid}/fd")) {
            if let Ok(target) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
                links.insert(fd.to_string(), target.display().to_string().into());
            }
        }
        found.insert(pid.to_string(), Value::Object(links));
    }
    Value::Object(found)
}

fn environment() -> Value {
    let init = fs::read("/proc/1/environ").unwrap_or_default();
    let pair = |text: String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let words = init.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let init: BTreeMap<String, String> = words.filter_map(pair).collect();
    json!({ "self": std::env::vars().collect::<BTreeMap<_, _>>(), "init": init })
}

/// Addresses, routes and neighbours as `/proc/net` has them.
fn network() -> Value {
    let lines = |path: &str| text(path).lines().map(str::to_owned).collect::<Vec<_>>();
    json!({
        "interfaces": lines("/proc/net/dev"),
        "routes4": lines("/proc/net/route"),
        "addresses4": lines("/proc/net/fib_trie"),
        "addresses6": lines("/proc/net/if_inet6"),
        "routes6": lines("/proc/net/ipv6_route"),
        "neighbours4": lines("/proc/net/arp"),
    })
}

/// Files whose value belongs to the whole machine. What they hold is written back to them, so that
/// even a success changes nothing; the report says which could be opened for writing.
fn sentinels() -> Value {
    let mut writable = Vec::new();
    let machine = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/poweroff_cmd",
        "/proc/sys/kernel/printk",
        "/proc/sys/kernel/kptr_restrict",
        "/proc/sys/kernel/dmesg_restrict",
        "/proc/sys/kernel/threads-max",
        "/proc/sys/fs/file-max",
        "/proc/sys/fs/aio-max-nr",
        "/proc/sys/fs/suid_dumpable",
        "/proc/sys/fs/protected_symlinks",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/swappiness",
        "/proc/sys/net/core/bpf_jit_harden",
        "/proc/irq/default_smp_affinity",
        "/proc/kcore",
        "/proc/kmem",
        "/proc/mem",
        "/proc/timer_list",
        "/proc/scsi/scsi",
        "/proc/acpi/wakeup",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/power/mem_sleep",
        "/sys/kernel/profiling",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/security/lockdown",
        "/sys/module/kernel/parameters/panic",
        "/sys/fs/cgroup/release_agent",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/vda",
        "/dev/sda",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/loop0",
        "/dev/loop-control",
    ];
    for path in machine {
        if fs::File::options().write(true).open(path).is_ok() {
            writable.push(path.to_owned());
        }
    }
    let mut dirs = vec![Path::new("/sys").to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && entry.path() != Path::new("/sys/fs/cgroup") {
                dirs.push(entry.path());
            } else if kind.is_file() && fs::File::options().write(true).open(entry.path()).is_ok() {
                writable.push(entry.path().display().to_string());
            }
        }
    }
    json!({ "writable": writable, "proc_sys": writable_below("/proc/sys") })
}

/// Files below a directory of `/proc` that can be opened for writing.
pub(super) fn writable_below(top: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(top).to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() && fs::File::options().write(true).open(entry.path()).is_ok() {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

fn outcome<T>(result: Result<T, Errno>) -> Value {
    match result {
        Ok(_) => "allowed".into(),
        Err(errno) => format!("{errno:?}").into(),
    }
}

/// What the kernel answers to things a tenant must not do.
fn refused() -> Value {
    let node = "/tmp/probe-node";
    drop(fs::remove_file(node));
    let disk = mknod(node, SFlag::S_IFBLK, Mode::S_IRUSR, makedev(254, 0));
    let family = |number: i32| -> Value {
        let Some(family) = AddressFamily::from_i32(number) else { return Value::Null };
        outcome(socket(family, SockType::Datagram, SockFlag::empty(), None))
    };
    let terminal = fs::File::open("/dev/ptmx");
    // In a mount namespace of its own, so that the mounts that are allowed are nobody's trouble.
    let unshared = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS);
    json!({
        "mknod_disk": outcome(disk),
        "af_alg": match socket(AddressFamily::Alg, SockType::SeqPacket, SockFlag::empty(), None) {
            Ok(_) => "allowed".to_owned(),
            Err(errno) => format!("{errno:?}"),
        },
        "af_vsock": family(40),
        "ptmx": terminal.is_ok(),
        "unshare_mounts": outcome(unshared),
        "mount_tmpfs": outcome(nix::mount::mount(
            Some("none"), "/mnt", Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>,
        )),
        "mount_ext4": outcome(nix::mount::mount(
            Some("/tmp/probe-node"), "/mnt", Some("ext4"), nix::mount::MsFlags::empty(), None::<&str>,
        )),
        "settime": outcome(nix::time::clock_settime(
            nix::time::ClockId::CLOCK_REALTIME,
            nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap_or(nix::sys::time::TimeSpec::new(0, 0)),
        )),
        "modules": text("/proc/modules"),
        "module_load": outcome(load_module()),
    })
}

fn load_module() -> Result<(), Errno> {
    let empty = tempfile::tempfile().map_err(|_| Errno::EIO)?;
    nix::kmod::finit_module(empty.as_fd(), &CString::default(), nix::kmod::ModuleInitFlags::empty())
}

/// Processes whose ids are not of this tenant.
fn strangers() -> Value {
    let status = |pid: u32| fields(&format!("/proc/{pid}/status"));
    let odd = |pid: &u32| status(*pid).get("Uid").is_some_and(|ids| ids.contains("65534"));
    numbers("/proc").into_iter().filter(odd).collect()
}
