//! What init does between its clone and its exec: make the filesystems of its own namespaces, move into the root
//! that the supervisor puts together, configure its interfaces, give up its powers.
//!
//! It is a copy of a single-threaded supervisor in new namespaces. It never returns.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixDatagram,
    },
};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat},
    mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount},
};

use super::{confine, reaper};
use crate::{
    kernel::{
        Access, KernelError, Result, etc, mount, netlink, openat2,
        process::{Message, receive, send},
        pty::{self, Pty},
        raw,
    },
    plan::{FirstProcess, NOTIFY_SOCKET, Plan, RootStep},
};

/// Runs init's side of the start.
pub(crate) fn run(plan: &Plan, gate: OwnedFd) -> ! {
    if let Err(error) = prepare_and_execute(plan, &gate) {
        // Where it cannot be sent, the supervisor hears that the gate has closed.
        let _ = send(&gate, &Message::failure(&error), &[]);
    }
    raw::exit(1)
}

fn prepare_and_execute(plan: &Plan, gate: &OwnedFd) -> Result<()> {
    // Of the supervisor, whose copy this is: mounts, sockets, a way back into the host's namespace.
    raw::close_except(&[gate.as_fd()])
        .map_err(|error| KernelError::new("close", "the host's descriptors", error))?;
    let own = own_filesystems(plan)?;
    send(gate, &Message::Own(Vec::new()), &own)
        .map_err(|error| KernelError::new("hand over", "the filesystems of init", error))?;
    drop(own);
    // Until the pivot an absolute path still leads into the host's tree.
    let os_release = std::fs::read("/etc/os-release").ok();
    match receive(gate)? {
        Message::Attached => {}
        // The supervisor has given up or is gone; nobody waits for a message.
        _ => raw::exit(1),
    }
    let root = enter_root()?;
    tell_of_host(plan, root.as_fd(), os_release)
        .map_err(|error| KernelError::new("write", "/run/host", error))?;
    let terminals = open_terminals(plan, &root)?;
    share(&root)?;
    drop(root);
    let (mut fds, console) = hand_over(terminals);
    if plan.init.env.contains_key("NOTIFY_SOCKET") {
        fds.push(notify_socket()?);
    }
    let hostname = etc::settle_names(plan);
    nix::unistd::sethostname(&hostname)
        .map_err(|error| KernelError::new("set host name", &hostname, error))?;
    send(gate, &Message::Ready(Vec::new()), &fds)
        .map_err(|error| KernelError::new("hand over", "the terminals", error))?;
    drop(fds);
    match receive(gate)? {
        Message::Go => {}
        // The supervisor has given up or is gone; nobody waits for a message.
        _ => raw::exit(1),
    }
    netlink::configure_inside(&plan.nics)?;
    settle(&console).map_err(|error| KernelError::new("set up", "the console", error))?;
    write_sysctls(&plan.init.sysctl)?;
    confine::apply(&plan.security).map_err(|error| KernelError::new("confine", "init", error))?;
    match plan.init.process {
        FirstProcess::Program => execute(plan),
        FirstProcess::Reaper => reaper::run(plan, gate),
    }
}

/// The filesystems that belong to namespaces of init's, in the order of the plan.
fn own_filesystems(plan: &Plan) -> Result<Vec<OwnedFd>> {
    let steps = plan.root.iter().filter(|step| step.is_made_inside());
    let make = |step: &RootStep| match step {
        RootStep::Devpts { max } => {
            let max = max.to_string();
            let options = [("gid", "5"), ("mode", "620"), ("ptmxmode", "666"), ("max", &max)];
            mount::filesystem("devpts", &options, Access::ReadWrite)
        }
        RootStep::Proc => mount::filesystem("proc", &[], Access::ReadWrite),
        RootStep::Sysfs => mount::filesystem("sysfs", &[], Access::ReadOnly),
        RootStep::Cgroup => mount::filesystem("cgroup2", &[], Access::ReadWrite),
        _ => Err(KernelError::new("make", step, io::ErrorKind::Unsupported)),
    };
    steps.map(make).collect()
}

/// `/run/host` as systemd's container interface describes it.
fn tell_of_host(plan: &Plan, root: BorrowedFd<'_>, os_release: Option<Vec<u8>>) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    // Made for what is mounted below it.
    let host = openat2(root, "run/host", flags, Mode::empty(), resolve)?;
    // Where nspawn puts mounts that are to come in; nobody sends any here.
    mkdirat(&host, "incoming", Mode::RWXU)?;
    let files = [
        ("container-manager", Some(b"tenantry".to_vec())),
        ("container-uuid", Some(plan.init.uuid.clone().into_bytes())),
        ("os-release", os_release),
        ("resolv.conf", plan.init.resolv_conf().map(String::into_bytes)),
    ];
    for (name, text) in files {
        let Some(text) = text else { continue };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&host, name, flags, Mode::from_raw_mode(0o444))?;
        File::from(file).write_all(&text)?;
    }
    Ok(())
}

/// Opens the console and the ttys, numbers 0 to `ttys` of the tenant's devpts, and puts the console in
/// its place.
fn open_terminals(plan: &Plan, root: &OwnedFd) -> Result<Vec<Pty>> {
    let open = || -> io::Result<Vec<Pty>> {
        let terminals: Vec<Pty> = (0..=plan.ttys).map(|_| pty::open(root)).collect::<io::Result<_>>()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        drop(openat(root, "dev/console", flags, Mode::from_raw_mode(0o600))?);
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let console = open_tree(&terminals[0].slave, "", flags)?;
        move_mount(&console, "", root, "dev/console", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(terminals)
    };
    open().map_err(|error| KernelError::new("open", "the terminals", error))
}

/// The masters, in order, and the console's slave.
fn hand_over(terminals: Vec<Pty>) -> (Vec<OwnedFd>, OwnedFd) {
    let mut masters = Vec::new();
    let mut console = None;
    for Pty { master, slave } in terminals {
        masters.push(master);
        console.get_or_insert(slave);
    }
    (masters, console.expect("there is always a console"))
}

/// Makes the tree that has appeared over the root the root itself, and lets go of the host's.
fn enter_root() -> Result<OwnedFd> {
    let enter = || -> io::Result<OwnedFd> {
        let open =
            |path| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        // The parent of the root is the root, but for what lies over it.
        rustix::process::fchdir(open("/..")?)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        Ok(open("/")?)
    };
    enter().map_err(|error| KernelError::new("pivot to", "the root", error))
}

/// Shares what comes after with the mount namespaces that services will make.
fn share(root: &OwnedFd) -> Result<()> {
    raw::mount_setattr(root.as_fd(), 0, libc::MS_SHARED, None)
        .map_err(|error| KernelError::new("share", "the root", error))
}

fn notify_socket() -> Result<OwnedFd> {
    let bind = || -> io::Result<OwnedFd> {
        let umask = rustix::process::umask(Mode::empty());
        let socket = UnixDatagram::bind(NOTIFY_SOCKET);
        rustix::process::umask(umask);
        let socket = socket?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        Ok(socket.into())
    };
    bind().map_err(|error| KernelError::new("bind", NOTIFY_SOCKET, error))
}

/// Keys of the network namespace, once its interfaces are there, see sysctl(8).
fn write_sysctls(sysctl: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in sysctl {
        // As in sysctl(8): a dot in a name of an interface is written as a slash, and the other way round.
        let path: String = key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        let write = || -> io::Result<()> {
            let dir = openat(CWD, "/proc/sys/net", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let below = path.strip_prefix("net/").ok_or(io::ErrorKind::InvalidInput)?;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let file = openat2(&dir, below, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
            // One write, for the kernel takes each one as a whole value.
            rustix::io::write(&file, value.as_bytes())?;
            Ok(())
        };
        write().map_err(|error| KernelError::new("set sysctl", format!("{key} = {value:?}"), error))?;
    }
    Ok(())
}

/// A process as init expects to be born: its own session, the console as its standard streams, no
/// signal blocked or ignored, no other descriptor.
fn settle(console: &OwnedFd) -> io::Result<()> {
    rustix::process::setsid()?;
    raw::new_session_keyring()?;
    rustix::stdio::dup2_stdin(console)?;
    rustix::stdio::dup2_stdout(console)?;
    rustix::stdio::dup2_stderr(console)?;
    raw::cloexec_from(3)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    raw::default_signals(&[
        Signal::SIGPIPE,
        Signal::SIGCHLD,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGINT,
    ])?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

pub(crate) fn execute(plan: &Plan) -> Result<()> {
    let text = |text: String| CString::new(text).map_err(io::Error::from);
    let argv = plan.init.argv.iter().map(|argument| text(argument.clone())).collect::<io::Result<Vec<_>>>();
    let env = plan.init.env.iter().map(|(key, value)| text(format!("{key}={value}")));
    let env = env.collect::<io::Result<Vec<_>>>();
    let failed = |error: io::Error| KernelError::new("execute", &plan.init.argv[0], error);
    let (argv, env) = (argv.map_err(failed)?, env.map_err(failed)?);
    match nix::unistd::execve(&argv[0], &argv, &env) {
        Ok(never) => match never {},
        Err(error) => Err(failed(error.into())),
    }
}
