//! Processes: the one that enters a tenant's namespaces, and the init that it clones.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketFlags, SocketType, socketpair,
        sockopt::{Timeout, set_socket_timeout},
    },
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process, pidfd_open,
        waitid, waitpid,
    },
};

use super::{
    Held, InitClone, KernelError, Payload, Result,
    child::OwnChild,
    fuse,
    gate::{Message, receive, send},
    mount, oom,
    raw::{self, Fork, Parent},
};

/// Init has this long for its mounts and interfaces; it waits for nothing but the kernel.
const INSIDE_DEADLINE: Duration = Duration::from_secs(30);

/// Every namespace of init besides the user and time namespaces, which it is born into.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Sets the clocks of the children to come back to zero, see time_namespaces(7).
fn unshare_time() -> io::Result<()> {
    unshare(CloneFlags::from_bits_retain(raw::CLONE_NEWTIME))?;
    let seconds = |clock| rustix::time::clock_gettime(clock).tv_sec;
    let offsets = format!(
        "monotonic -{} 0\nboottime -{} 0\n",
        seconds(rustix::time::ClockId::Monotonic),
        seconds(rustix::time::ClockId::Boottime),
    );
    fs::write("/proc/self/timens_offsets", offsets)
}

/// `oom_score_adj` is what init gets in place of what this process has.
pub(super) fn spawn(clone: &InitClone<'_, OwnedFd>, oom_score_adj: Option<i32>) -> Result<Held<OwnedFd>> {
    let failed = |error: io::Error| KernelError::new("clone", "init", error);
    let flags = SocketFlags::CLOEXEC;
    let (gate, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| failed(error.into()))?;
    set_socket_timeout(&gate, Timeout::Recv, Some(INSIDE_DEADLINE)).map_err(|error| failed(error.into()))?;
    let cgroup = File::open(clone.cgroup)
        .map_err(|error| KernelError::new("open cgroup", clone.cgroup.display(), error))?;
    let entrant = match raw::clone3(0, Parent::Caller, Some(cgroup.as_fd())).map_err(failed)? {
        Fork::Child => {
            drop(gate);
            enter_and_clone(clone, oom_score_adj, theirs)
        }
        Fork::Parent(entrant) => OwnChild(entrant),
    };
    drop(theirs);
    let (init, own) = introduction(&gate, entrant)?;
    let pid = init.0;
    let process = Pid::from_raw(pid).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    init.keep();
    Ok(Held { pid, pidfd, gate, own, handed: Vec::new(), files: None })
}

/// Who init is, from the entrant, and the filesystems that init has made, from init: whichever comes first.
fn introduction(gate: &OwnedFd, entrant: OwnChild) -> Result<(OwnChild, Vec<OwnedFd>)> {
    let failed = |error: io::Error| KernelError::new("clone", "init", error);
    let unexpected = |message: Message| {
        failed(match message {
            Message::Closed => io::Error::other("it was killed before it could begin"),
            _ => io::ErrorKind::InvalidData.into(),
        })
    };
    let first = receive(gate)?;
    if let Message::Pid(pid) = first {
        let init = OwnChild(pid);
        entrant.join().map_err(failed)?;
        return match receive(gate)? {
            Message::Own(own) => Ok((init, own)),
            other => Err(unexpected(other)),
        };
    }
    let ended = entrant.join().map_err(failed)?;
    match first {
        Message::Own(own) if ended.exit_status() == Some(0) => match receive(gate)? {
            Message::Pid(pid) => Ok((OwnChild(pid), own)),
            other => Err(unexpected(other)),
        },
        Message::Own(_) => Err(failed(io::Error::other("its parent did not report its pid"))),
        other => Err(unexpected(other)),
    }
}

/// In the child: enter the tenant's user namespace as its root and clone init from there, so that
/// every other namespace belongs to it. Init becomes the supervisor's child.
fn enter_and_clone(clone: &InitClone<'_, OwnedFd>, oom_score_adj: Option<i32>, gate: OwnedFd) -> ! {
    let enter = || -> io::Result<Fork> {
        // As long as it has the host's powers: so nothing inside may have less, as its supervisor does.
        if let Some(value) = oom_score_adj {
            oom::take(value)?;
        }
        // Here and not in the supervisor: with another time namespace for its children than its own no program can
        // be started by posix_spawn(3) before Linux 6.2.
        if clone.time_namespace {
            unshare_time()?;
        }
        setns(clone.user, CloneFlags::CLONE_NEWUSER)?;
        setgroups(&[])?;
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(root.1, root.1, root.1)?;
        setresuid(root.0, root.0, root.0)?;
        raw::clone3(NAMESPACES.bits() as u64, Parent::Grandparent, None)
    };
    match enter() {
        Ok(Fork::Child) => begin(clone, gate),
        Ok(Fork::Parent(pid)) => match send(&gate, &Message::Pid(pid), &[]) {
            Ok(()) => raw::exit(0),
            // The supervisor waits for this end, and takes what has begun down again.
            Err(_) => raw::exit(1),
        },
        Err(error) => {
            let error = KernelError::new("enter", "the user and time namespaces", error);
            // Where it cannot be sent, the supervisor hears that the gate has closed.
            let _ = send(&gate, &Message::failure(&error), &[]);
            raw::exit(1)
        }
    }
}

/// In init: makes the filesystems of its own namespaces, hands them over, waits until its root is whole, and becomes
/// the program that it is for.
fn begin(clone: &InitClone<'_, OwnedFd>, gate: OwnedFd) -> ! {
    let hand_over = || -> Result<()> {
        // Of the supervisor, whose copy this is: mounts, sockets, a way back into the host's namespace.
        raw::close_except(&[gate.as_fd()])
            .map_err(|error| KernelError::new("close", "the host's descriptors", error))?;
        let own = clone.own.iter().map(mount::own_filesystem).collect::<Result<Vec<_>>>()?;
        send(&gate, &Message::Own(Vec::new()), &own)
            .map_err(|error| KernelError::new("hand over", "the filesystems of init", error))
    };
    if let Err(error) = hand_over() {
        // Where it cannot be sent, the supervisor hears that the gate has closed.
        let _ = send(&gate, &Message::failure(&error), &[]);
        raw::exit(1)
    }
    clone.program.run(gate)
}

pub(super) fn root_ready(held: &Held<OwnedFd>) -> Result<()> {
    send(&held.gate, &Message::Attached, &[]).map_err(|error| KernelError::new("clone", "init", error))
}

pub(super) fn assembled(held: &mut Held<OwnedFd>) -> Result<()> {
    answer(held)?;
    match receive(&held.gate)? {
        Message::Ready(fds) => {
            held.handed = fds;
            Ok(())
        }
        Message::Closed => Err(ended_early(held)),
        _ => Err(KernelError::new("receive from", "init", io::ErrorKind::InvalidData)),
    }
}

/// Init looks its files up: they are answered for until it says something.
fn answer(held: &Held<OwnedFd>) -> Result<()> {
    let Some(files) = &held.files else { return Ok(()) };
    let end = Instant::now() + INSIDE_DEADLINE;
    let answer = || -> io::Result<()> {
        let mut server = fuse::Server::new(files.try_clone()?, 0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut fds = [PollFd::new(&held.gate, PollFlags::IN), PollFd::new(files, PollFlags::IN)];
            if poll(&mut fds, Some(&timeout))? == 0 || !fds[0].revents().is_empty() {
                // Receiving tells which it is.
                return Ok(());
            }
            server.serve(&mut fuse::Nothing, Instant::now())?;
        }
    };
    answer().map_err(|error| KernelError::new("answer for", "the files of init", error))
}

pub(super) fn check_alive(held: &mut Held<OwnedFd>) -> Result<()> {
    let mut gate = [PollFd::new(&held.gate, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut gate, Some(&now)) {
        Ok(0) => Ok(()),
        Ok(_) if held.handed.is_empty() => assembled(held),
        // It has nothing to say any more until it is released.
        Ok(_) => Err(ended_early(held)),
        Err(error) => Err(KernelError::new("receive from", "init", error)),
    }
}

/// What became of an init that has closed its end of the gate and has not been executed.
fn ended_early(held: &Held<OwnedFd>) -> KernelError {
    let how = end(held).map_or_else(|| "its init has ended".to_owned(), |status| how(&status));
    KernelError::new("put together", "the tenant", io::Error::other(how))
}

/// How an init ended that is about to.
fn end(held: &Held<OwnedFd>) -> Option<WaitIdStatus> {
    // The gate closes a moment before its end can be waited for; whatever the poll says, that is asked next.
    let end = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(&held.pidfd, PollFlags::IN)], Some(&end));
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::PidFd(held.pidfd.as_fd()), options).ok().flatten()
}

/// What became of an init that was killed before it was executed; none for one that was. Which it is say its flags in
/// proc_pid_stat(5), `PF_EXITING` and `PF_FORKNOEXEC` of the kernel's `linux/sched.h`: the first is set before the gate
/// closes. A reaper executes nothing, and may have ended by itself by now: that is no failure.
fn killed_early(held: &Held<OwnedFd>) -> Option<KernelError> {
    const EXITING: u32 = 0x4;
    const NEVER_EXECUTED: u32 = 0x40;
    let stat = fs::read_to_string(format!("/proc/{}/stat", held.pid)).ok()?;
    let flags = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(6)?.parse::<u32>().ok()?;
    if flags & EXITING == 0 || flags & NEVER_EXECUTED == 0 {
        return None;
    }
    let killed = end(held).filter(|status| status.terminating_signal().is_some())?;
    Some(KernelError::new("put together", "the tenant", io::Error::other(how(&killed))))
}

fn how(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("its init exited with code {code}"),
        (None, Some(libc::SIGKILL)) => {
            "its init was killed, probably because memory_max is too small".to_owned()
        }
        (None, Some(signal)) => format!("its init was killed by signal {signal}"),
        (None, None) => "its init has ended".to_owned(),
    }
}

pub(super) fn release(held: Held<OwnedFd>, program: &str, terminals: usize) -> Result<Payload<OwnedFd>> {
    let failed = |error: io::Error| KernelError::new("execute", program, error);
    send(&held.gate, &Message::Go, &[]).map_err(failed)?;
    match receive(&held.gate)? {
        // The gate closes on exec; also when init is killed before it.
        Message::Closed => killed_early(&held).map_or(Ok(()), Err)?,
        _ => return Err(failed(io::ErrorKind::InvalidData.into())),
    }
    let mut fds = held.handed;
    let notify = (fds.len() > terminals).then(|| fds.pop()).flatten();
    Ok(Payload {
        pid: held.pid,
        pidfd: held.pidfd,
        terminals: fds,
        notify,
        files: held.files,
        network: None,
        remains: Vec::new(),
        kept: None,
    })
}

pub(super) fn kill(pid: i32) -> Result<()> {
    let Some(process) = Pid::from_raw(pid) else { return Ok(()) };
    let kill = || -> rustix::io::Result<()> {
        kill_process(process, Signal::KILL)?;
        rustix::io::retry_on_intr(|| waitpid(Some(process), WaitOptions::empty()))?;
        Ok(())
    };
    match kill() {
        Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::CHILD) => Ok(()),
        Err(error) => Err(KernelError::new("kill process", pid, error)),
    }
}
