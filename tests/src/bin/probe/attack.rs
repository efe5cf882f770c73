//! What an attacker does: calls that tenants are refused, and pools that are used up.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{
            fs::{FileExt as _, OpenOptionsExt as _},
            net::{UnixDatagram, UnixStream},
        },
    },
};

use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, unshare},
    sys::{
        inotify::{InitFlags, Inotify},
        signal::{SigSet, Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Uid, fork, setuid},
};
use serde_json::{Value, json};

use super::words::say;

/// What a call returned: `allowed`, or the name of an error.
fn call(number: libc::c_long, arguments: [u64; 6]) -> Value {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers below give each call arguments of its own kind, and memory that lives longer than the call.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => format!("{:?}", Errno::last()).into(),
        _ => "allowed".into(),
    }
}

fn address<T: ?Sized>(what: &T) -> u64 {
    std::ptr::from_ref(what).cast::<()>() as u64
}

/// Calls that do harm where they are not refused, as an attacker would make them.
pub(super) fn calls() -> Value {
    let [kind, name] = ["user", "probe"].map(|word| CString::new(word).expect("a word"));
    let session = -3_i64 as u64; // KEY_SPEC_SESSION_KEYRING
    let mut zeros = [0_u8; 256];
    // A struct perf_event_attr for PERF_COUNT_SW_CPU_CLOCK of user space, of the first size there was.
    let mut counter = [0_u64; 8];
    counter[0] = 1 | 64 << 32;
    counter[5] = 1 << 5 | 1 << 6;
    // Key and value of four bytes, one entry: BPF_MAP_TYPE_ARRAY.
    let map: [u32; 6] = [2, 4, 4, 1, 0, 0];
    let ring = std::hint::black_box([0_u8; 120]);
    let contexts = [0_u64];
    let file = File::open("/proc/self/exe");
    let descriptor = file.as_ref().map_or(u64::MAX, |file| file.as_raw_fd() as u64);
    let range = [0_u64, 4096];
    let statistics = [0_u64; 5];
    let pipe = rustix::pipe::pipe();
    let end = pipe.as_ref().map_or(u64::MAX, |(_, end)| end.as_raw_fd() as u64);
    let pieces = [address(&zeros), 16];
    // A struct file_handle of 128 bytes with its number of a mount.
    zeros[0] = 128;
    let mount = [0_i32];
    let path = CString::new("/").expect("a path");
    let here = libc::AT_FDCWD as u64;
    let handle = call(
        libc::SYS_name_to_handle_at,
        [here, address(path.as_bytes_with_nul()), address(&zeros), address(&mount), 0, 0],
    );
    let root = File::open("/");
    let root = root.as_ref().map_or(u64::MAX, |root| root.as_raw_fd() as u64);
    json!({
        "add_key": call(libc::SYS_add_key, [
            address(kind.as_bytes_with_nul()), address(name.as_bytes_with_nul()), address(&zeros), 4, session, 0,
        ]),
        "keyctl": call(libc::SYS_keyctl, [0, session, 1, 0, 0, 0]),
        "perf_event_open": call(libc::SYS_perf_event_open, [address(&counter), 0, u64::MAX, u64::MAX, 0, 0]),
        "bpf": call(libc::SYS_bpf, [0, address(&map), 24, 0, 0, 0]),
        "io_uring_setup": call(libc::SYS_io_uring_setup, [4, address(&ring), 0, 0, 0, 0]),
        "userfaultfd": call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
        "name_to_handle_at": handle,
        "open_by_handle_at": call(libc::SYS_open_by_handle_at, [root, address(&zeros), 0, 0, 0, 0]),
        "io_setup": call(libc::SYS_io_setup, [1, address(&contexts), 0, 0, 0, 0]),
        "af_alg": call(libc::SYS_socket, [38, 5, 0, 0, 0, 0]),
        "af_vsock": call(libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
        "vmsplice": call(libc::SYS_vmsplice, [end, address(&pieces), 1, 0, 0, 0]),
        "cachestat": call(451, [descriptor, address(&range), address(&statistics), 0, 0, 0]),
        "syslog": call(libc::SYS_syslog, [10, 0, 0, 0, 0, 0]),
    })
}

/// Makes up to this many network and other namespaces, each as another user and in a user namespace of its own; how many
/// there were at once, and the error of the first that could not be made.
pub(super) fn spread(count: u32) -> io::Result<()> {
    let (mut made, mut then) = (0, None);
    let mut held = Vec::new();
    for number in 1..=count {
        let (mut tells, told) = UnixStream::pair()?;
        // SAFETY: this program has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(tells);
                let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
                let done = setuid(Uid::from_raw(number)).and_then(|()| unshare(kinds));
                let code = done.map_or_else(|errno| errno as i32, |()| 0) as u8;
                let mut told = told;
                let _the_end = told.write_all(&[code]).and_then(|()| told.read(&mut [0]));
                std::process::exit(0)
            }
            ForkResult::Parent { child } => {
                drop(told);
                let mut code = [0];
                tells.read_exact(&mut code)?;
                held.push((tells, child));
                match code[0] {
                    0 => made += 1,
                    errno => {
                        then = Some(format!("{:?}", Errno::from_raw(errno.into())));
                        break;
                    }
                }
            }
        }
    }
    for (_gate, child) in held {
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
    }
    say(&json!({ "made": made, "then": then }).to_string())
}

/// Takes a lease on a file that breaks when somebody else opens it, and gives it back at once then.
pub(super) fn lease(path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGIO);
    signals.thread_block()?;
    let set = |kind: i32| {
        // SAFETY: F_SETLEASE takes a number.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) })
    };
    set(libc::F_WRLCK)?;
    say("leased")?;
    signals.wait()?;
    set(libc::F_UNLCK)?;
    say("broken")
}

/// Makes an instance of what watches files.
type Watcher = fn() -> nix::Result<OwnedFd>;

/// What can watch files: its name, how an instance is made.
const WATCHERS: [(&str, Watcher); 2] = [("inotify", inotify), ("fanotify", fanotify)];

fn inotify() -> nix::Result<OwnedFd> {
    Inotify::init(InitFlags::empty()).map(OwnedFd::from)
}

/// A group as users may have it: one that tells of files by their ids.
fn fanotify() -> nix::Result<OwnedFd> {
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID | libc::FAN_CLOEXEC;
    // SAFETY: fanotify_init(2) takes two numbers.
    let fd = Errno::result(unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) })?;
    // SAFETY: the kernel has just returned this descriptor, so it is open and not another's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Instances of what watches files, up to so many at once, and the error of the one that could not be had.
fn instances(kind: &str, count: usize) -> io::Result<(Vec<OwnedFd>, Option<String>)> {
    let known = WATCHERS.iter().find(|(name, _)| *name == kind);
    let (_, make) = known.ok_or_else(|| io::Error::other(format!("nothing watches by {kind:?}")))?;
    let mut held = Vec::new();
    while held.len() < count {
        match make() {
            Ok(one) => held.push(one),
            Err(errno) => return Ok((held, Some(format!("{errno:?}")))),
        }
    }
    Ok((held, None))
}

/// How many instances there can be at once, up to this many.
pub(super) fn watchers(kind: &str, count: usize) -> io::Result<()> {
    let (held, then) = instances(kind, count)?;
    say(&json!({ "opened": held.len(), "then": then }).to_string())
}

/// Takes all instances that there are, and keeps them until it is killed.
pub(super) fn watch_all(kind: &str) -> io::Result<()> {
    let (held, then) = instances(kind, usize::MAX)?;
    say(&json!({ "opened": held.len(), "then": then }).to_string())?;
    super::act::pause()
}

/// Doubles the mounts of a mount namespace of its own so many times, a line for each time with how many there are; in the
/// end the error of the first that could not be made.
pub(super) fn mounts(times: u32) -> io::Result<()> {
    use nix::mount::{MsFlags, mount};

    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), NONE)?;
    let mut count = 1_u64;
    for number in 0..times {
        let at = format!("/tmp/{number}");
        fs::create_dir(&at)?;
        match mount(Some("/tmp"), at.as_str(), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE) {
            Ok(()) => count *= 2,
            Err(errno) => return say(&format!("{errno:?}")),
        }
        say(&count.to_string())?;
    }
    Ok(())
}

/// What there is to be had of the kernel's log, and how each of it ends.
pub(super) fn kernel_log() -> Value {
    let open = |path: &str| match fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
    {
        Ok(_) => Value::from("allowed"),
        Err(error) => Value::from(format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap_or_default()))),
    };
    let write = |path: &str| match fs::OpenOptions::new().write(true).open(path) {
        Ok(_) => Value::from("allowed"),
        Err(error) => Value::from(format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap_or_default()))),
    };
    let text = [0_u8; 4096];
    // SYSLOG_ACTION_READ_ALL of syslog(2).
    let read = call(libc::SYS_syslog, [3, address(&text), text.len() as u64, 0, 0, 0]);
    json!({
        "read": read,
        "/dev/kmsg": open("/dev/kmsg"),
        "/dev/kmsg to write": write("/dev/kmsg"),
        "/proc/kmsg": open("/proc/kmsg"),
    })
}

/// Tries to change whatever program a process that appears was started from, until its standard input ends: by its
/// `/proc/PID/exe`, and by a descriptor of that which outlives the process. Programs that it could change get a word more.
pub(super) fn overwrite() -> io::Result<()> {
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let end = ended.clone();
    std::thread::spawn(move || {
        let _until_the_end = io::stdin().read_to_end(&mut Vec::new());
        end.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let pids = || {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
    };
    let before: std::collections::BTreeSet<u32> = pids().collect();
    let append = |path: &str| {
        let mut file = fs::OpenOptions::new().append(true).open(path).ok()?;
        file.write_all(b"tainted").ok()
    };
    let (mut tries, mut changed) = (0_u64, 0_u64);
    // What was opened while its process was there, and may be written to when that is gone.
    let mut held: std::collections::BTreeMap<String, File> = std::collections::BTreeMap::new();
    say("watching")?;
    while !ended.load(std::sync::atomic::Ordering::Relaxed) {
        for pid in pids().filter(|pid| !before.contains(pid)) {
            let exe = format!("/proc/{pid}/exe");
            tries += 1;
            changed += u64::from(append(&exe).is_some());
            if let (Ok(target), Ok(file)) = (fs::read_link(&exe), File::open(&exe)) {
                held.insert(target.display().to_string(), file);
            }
        }
    }
    for file in held.values() {
        changed += u64::from(append(&format!("/proc/self/fd/{}", file.as_raw_fd())).is_some());
    }
    let seen: Vec<&String> = held.keys().collect();
    say(&json!({ "tries": tries, "changed": changed, "seen": seen }).to_string())
}

/// Fills sockets that nobody reads, a line for each MiB, up to this many MiB.
pub(super) fn hoard(most: usize) -> io::Result<()> {
    let mut held: Vec<(UnixDatagram, UnixDatagram)> = Vec::new();
    let mut bytes = 0;
    while bytes < most << 20 {
        let (from, to) = UnixDatagram::pair()?;
        from.set_nonblocking(true)?;
        let before = bytes;
        while from.send(&[1; 32 << 10]).is_ok() {
            bytes += 32 << 10;
        }
        held.push((from, to));
        if bytes >> 20 > before >> 20 {
            say(&(bytes >> 20).to_string())?;
        }
    }
    Ok(())
}

/// Tries to change the pages of a file that it may only read, by the ways that kernels have had: a pipe that keeps the
/// right to merge, a private mapping that is written by force, and pages that are lent to a pipe.
pub(super) fn taint(path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let (reader, writer) = rustix::pipe::pipe()?;
    // Every page of the pipe has been written to and read once.
    let page = [0x41_u8; 4096];
    for _ in 0..16 {
        rustix::io::write(&writer, &page)?;
    }
    for _ in 0..16 {
        rustix::io::read(&reader, &mut [0_u8; 4096])?;
    }
    let mut offset = 16;
    let lent =
        rustix::pipe::splice(&file, Some(&mut offset), &writer, None, 1, rustix::pipe::SpliceFlags::empty());
    let merged = rustix::io::write(&writer, b"tainted");
    let mapped = force(&file);
    let opened: Vec<_> = ["/proc/self/fd", "/dev/fd"].map(|dir| reopen(dir, &file)).into();
    say(&json!({
        "lent": lent.map_err(|error| error.to_string()).err(),
        "merged": merged.map_err(|error| error.to_string()).err(),
        "mapped": mapped.map_err(|error| error.to_string()).err(),
        "opened": opened,
    })
    .to_string())
}

/// Writes to a private mapping through `/proc/self/mem` while its pages are dropped.
fn force(file: &File) -> io::Result<()> {
    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};

    let length = std::num::NonZeroUsize::new(4096).expect("not zero");
    // SAFETY: a new mapping at a place that the kernel chooses, which nothing else uses.
    let place = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, 0) }?;
    let memory = fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    for _ in 0..1000 {
        // SAFETY: the mapping above.
        unsafe { madvise(place, 4096, MmapAdvise::MADV_DONTNEED) }?;
        memory.write_at(b"tainted", place.as_ptr() as u64)?;
    }
    Ok(())
}

/// Whether a file that is open for reading can be opened for writing by its descriptor.
fn reopen(dir: &str, file: &File) -> bool {
    let path = format!("{dir}/{}", file.as_fd().as_raw_fd());
    let opened: io::Result<OwnedFd> = fs::OpenOptions::new().write(true).open(path).map(OwnedFd::from);
    opened.is_ok()
}
