//! Init's program in its order: move into the root that the supervisor has put together, open the terminals,
//! configure the interfaces, give up its powers, execute.
//!
//! It is a copy of a single-threaded supervisor in new namespaces. It never returns.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat},
    mount::{UnmountFlags, unmount},
};

use super::{confine, execute::execute, limits, names, network, reaper, terminals};
use crate::{
    kernel::{
        InitProgram, KernelError, Result,
        gate::{Message, receive, send},
        openat2, raw,
    },
    plan::{FirstProcess, LIMITS, NOTIFY_SOCKET, Plan},
};

/// What the init of a plan does.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    plan: &'a Plan,
}

impl<'a> Program<'a> {
    /// That of a plan.
    pub fn of(plan: &'a Plan) -> Self {
        Self { plan }
    }

    fn has_notify_socket(&self) -> bool {
        self.plan.init.env.contains_key("NOTIFY_SOCKET")
    }
}

impl InitProgram for Program<'_> {
    fn run(&self, gate: OwnedFd) -> ! {
        if let Err(error) = prepare_and_execute(self, &gate) {
            // Where it cannot be sent, the supervisor hears that the gate has closed.
            let _ = send(&gate, &Message::failure(&error), &[]);
        }
        raw::exit(1)
    }
}

impl fmt::Display for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { init, nics, security, ttys, .. } = self.plan;
        writeln!(f, "enter the root, write /run/host")?;
        writeln!(f, "open the console and {ttys} ttys")?;
        if self.has_notify_socket() {
            writeln!(f, "bind {NOTIFY_SOCKET}")?;
        }
        writeln!(f, "set the host name {}", init.hostname)?;
        if self.plan.shows_limits() {
            writeln!(f, "lay the files of /{LIMITS} over those of the kernel")?;
        }
        for nic in nics {
            writeln!(
                f,
                "configure {} with {} addresses, {} gateways",
                nic.name,
                nic.addresses.len(),
                nic.gateways.len()
            )?;
        }
        for (key, value) in &init.sysctl {
            writeln!(f, "set sysctl {key} = {value}")?;
        }
        writeln!(
            f,
            "keep {} capabilities, refuse {} calls",
            security.capabilities.len(),
            security.denied.len()
        )?;
        if let Some(profile) = &security.apparmor {
            writeln!(f, "be under the AppArmor profile {profile}")?;
        }
        match init.process {
            FirstProcess::Program => write!(f, "execute {}", init.argv.join(" ")),
            FirstProcess::Reaper => write!(f, "start {} and reap", init.argv.join(" ")),
        }
    }
}

fn prepare_and_execute(program: &Program<'_>, gate: &OwnedFd) -> Result<()> {
    let plan = program.plan;
    // Until the pivot an absolute path still leads into the host's tree.
    let os_release = std::fs::read("/etc/os-release").ok();
    if let Some(profile) = &plan.security.apparmor {
        confine::change_profile_on_exec(profile)
            .map_err(|error| KernelError::new("take the AppArmor profile", profile, error))?;
    }
    match receive(gate)? {
        Message::Attached => {}
        // The supervisor has given up or is gone; no process waits for a message.
        _ => raw::exit(1),
    }
    let root = enter_root()?;
    write_host_interface(plan, root.as_fd(), os_release)
        .map_err(|error| KernelError::new("write", "/run/host", error))?;
    let terminals = terminals::open(plan, &root)?;
    share(&root)?;
    let (mut fds, console) = terminals::hand_over(terminals);
    if program.has_notify_socket() {
        fds.push(terminals::notify_socket()?);
    }
    let hostname = names::settle(plan);
    nix::unistd::sethostname(&hostname)
        .map_err(|error| KernelError::new("set host name", &hostname, error))?;
    // Last: the supervisor, which sets up the network meanwhile, answers for these files when it has nothing else to do.
    if plan.shows_limits() {
        limits::show(root.as_fd())?;
    }
    drop(root);
    send(gate, &Message::Ready(Vec::new()), &fds)
        .map_err(|error| KernelError::new("hand over", "the terminals", error))?;
    drop(fds);
    match receive(gate)? {
        Message::Go => {}
        // The supervisor has given up or is gone; no process waits for a message.
        _ => raw::exit(1),
    }
    network::configure(&plan.nics)?;
    terminals::settle(&console).map_err(|error| KernelError::new("set up", "the console", error))?;
    network::write_sysctls(&plan.init.sysctl)?;
    confine::apply(&plan.security).map_err(|error| KernelError::new("confine", "init", error))?;
    // Not sooner: a change of credentials takes it off. A supervisor that is killed takes its tenant along, also where no
    // hostd sees it.
    if plan.ends_with_supervisor() {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
            .map_err(|error| KernelError::new("tie to its supervisor", "init", error))?;
    }
    match plan.init.process {
        FirstProcess::Program => execute(plan),
        FirstProcess::Reaper => reaper::run(plan, gate),
    }
}

/// `/run/host` as systemd's container interface describes it.
fn write_host_interface(plan: &Plan, root: BorrowedFd<'_>, os_release: Option<Vec<u8>>) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    // Made for what is mounted below it.
    let host = openat2(root, "run/host", flags, Mode::empty(), resolve)?;
    // Where nspawn puts mounts that are to come in; no process sends any here.
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
