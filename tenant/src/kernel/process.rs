//! Processes: the one that owns the user namespace, the one that enters it, and init.

use std::{
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use caps::{CapSet, Capability};
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg,
        socketpair,
        sockopt::{Timeout, set_socket_timeout},
    },
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, WaitStatus, kill_process,
        pidfd_open, waitid, waitpid,
    },
};

use super::{
    Held, KernelError, Payload, Prepared, Result,
    raw::{self, Fork, Parent},
    staging::Staging,
};
use crate::{init::assemble, model::ids::UidRange, plan::Plan};

/// Init has this long for its mounts and interfaces; it waits for nothing but the kernel.
const INSIDE_DEADLINE: Duration = Duration::from_secs(30);
/// The owner of a user namespace has this long to make it; it waits for nothing but the kernel.
const OWNER_DEADLINE: Duration = Duration::from_secs(10);
/// Most descriptors in one message: SCM_MAX_FD of the kernel is 253.
const MAX_FDS: usize = 72;

/// Every namespace of init besides the user and time namespaces, which it is born into.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// A child of this process that nobody has waited for, so that its number cannot mean another one. Dropping it
/// kills it and waits for it: whatever fails, it does not outlive this.
#[derive(Debug)]
struct OwnChild(i32);

impl OwnChild {
    /// Waits until it has ended by itself.
    fn join(self) -> io::Result<WaitStatus> {
        let ended = wait_for(self.0)?;
        std::mem::forget(self);
        Ok(ended)
    }

    /// Leaves it to somebody else to end.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        if let Some(process) = Pid::from_raw(self.0) {
            // Without a process to signal or to wait for there is nothing left to do.
            let _ = kill_process(process, Signal::KILL);
            let _ = wait_for(self.0);
        }
    }
}

fn wait_for(pid: i32) -> io::Result<WaitStatus> {
    let ended = rustix::io::retry_on_intr(|| waitpid(Pid::from_raw(pid), WaitOptions::empty()))?;
    ended.map(|(_, status)| status).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Makes the user namespace under the range's first uid: pools like inotify are counted against the
/// uid that made it, see user_namespaces(7).
pub(crate) fn user_namespace(uids: UidRange) -> Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(OWNER_DEADLINE))?;
        let owner = match raw::clone3(0, Parent::Caller, None)? {
            Fork::Child => {
                drop(ours);
                own_namespace(uids.base(), theirs)
            }
            Fork::Parent(owner) => OwnChild(owner),
        };
        drop(theirs);
        // Killed once the namespace is held, or cannot be had: it has nothing to finish.
        map_and_open(&mut File::from(ours), owner.0, uids)
    };
    make().map_err(|error| KernelError::new("make a user namespace for uids", uids, error))
}

/// The child that makes the namespace, and keeps it until it is killed or its parent is gone.
fn own_namespace(base: u32, gate: OwnedFd) -> ! {
    let code = become_owner(base).map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0);
    let mut gate = File::from(gate);
    // A parent that cannot be told waits for the end of the gate instead.
    if gate.write_all(&[code as u8]).is_ok() {
        // What comes, an end or an error, is the end of the wait.
        let _ = gate.read(&mut [0]);
    }
    raw::exit(0)
}

/// In the child: leave root for the tenant's own uid, then unshare the user namespace.
fn become_owner(base: u32) -> io::Result<()> {
    nix::sys::prctl::set_keepcaps(true)?;
    setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(base), Gid::from_raw(base));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // A change of ids clears it. The parent waits for this process as long as it lives, so that it cannot have
    // ended before.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // Some hosts let only CAP_SYS_ADMIN make user namespaces.
    caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).map_err(io::Error::other)?;
    Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
}

fn map_and_open(gate: &mut File, child: i32, uids: UidRange) -> io::Result<OwnedFd> {
    let mut code = [0];
    gate.read_exact(&mut code).map_err(in_time)?;
    if code[0] != 0 {
        return Err(io::Error::from_raw_os_error(code[0].into()));
    }
    let map = format!("0 {} {}", uids.base(), UidRange::LEN);
    fs::write(format!("/proc/{child}/uid_map"), &map)?;
    fs::write(format!("/proc/{child}/gid_map"), &map)?;
    Ok(File::open(format!("/proc/{child}/ns/user"))?.into())
}

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

pub(crate) fn spawn(
    plan: &Plan,
    user: &OwnedFd,
    staging: Staging,
    mounts: Vec<Prepared<OwnedFd>>,
) -> Result<Held<OwnedFd>> {
    let failed = |error: io::Error| KernelError::new("clone", "init", error);
    let flags = SocketFlags::CLOEXEC;
    let (gate, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| failed(error.into()))?;
    set_socket_timeout(&gate, Timeout::Recv, Some(INSIDE_DEADLINE)).map_err(|error| failed(error.into()))?;
    let cgroup = File::open(&plan.cgroup.payload)
        .map_err(|error| KernelError::new("open cgroup", plan.cgroup.payload.display(), error))?;
    let entrant = match raw::clone3(0, Parent::Caller, Some(cgroup.as_fd())).map_err(failed)? {
        Fork::Child => {
            drop(gate);
            enter_and_clone(plan, user, theirs)
        }
        Fork::Parent(entrant) => OwnChild(entrant),
    };
    drop(theirs);
    let (init, own) = introduction(&gate, entrant)?;
    let pid = init.0;
    let process = Pid::from_raw(pid).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    staging.assemble(plan, mounts, own)?;
    let staging = staging.leave()?;
    send(&gate, &Message::Attached, &[]).map_err(failed)?;
    init.keep();
    Ok(Held { pid, pidfd, gate, staging, handed: Vec::new() })
}

/// Who init is, from the entrant, and the filesystems that init has made, from init: whichever comes first.
fn introduction(gate: &OwnedFd, entrant: OwnChild) -> Result<(OwnChild, Vec<OwnedFd>)> {
    let failed = |error: io::Error| KernelError::new("clone", "init", error);
    let first = receive(gate)?;
    if let Message::Pid(pid) = first {
        let init = OwnChild(pid);
        entrant.join().map_err(failed)?;
        return match receive(gate)? {
            Message::Own(own) => Ok((init, own)),
            _ => Err(failed(io::ErrorKind::InvalidData.into())),
        };
    }
    let ended = entrant.join().map_err(failed)?;
    match first {
        Message::Own(own) if ended.exit_status() == Some(0) => match receive(gate)? {
            Message::Pid(pid) => Ok((OwnChild(pid), own)),
            _ => Err(failed(io::ErrorKind::InvalidData.into())),
        },
        Message::Own(_) => Err(failed(io::Error::other("who cloned it cannot tell its number"))),
        _ => Err(failed(io::ErrorKind::InvalidData.into())),
    }
}

/// In the child: enter the tenant's user namespace as its root and clone init from there, so that
/// every other namespace belongs to it. Init becomes the supervisor's child.
fn enter_and_clone(plan: &Plan, user: &OwnedFd, gate: OwnedFd) -> ! {
    let enter = || -> io::Result<Fork> {
        // Here and not in the supervisor: with another time namespace for its children than its own no program can
        // be started by posix_spawn(3) before Linux 6.2.
        if plan.time_namespace {
            unshare_time()?;
        }
        setns(user, CloneFlags::CLONE_NEWUSER)?;
        setgroups(&[])?;
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(root.1, root.1, root.1)?;
        setresuid(root.0, root.0, root.0)?;
        raw::clone3(NAMESPACES.bits() as u64, Parent::Grandparent, None)
    };
    match enter() {
        Ok(Fork::Child) => assemble::run(plan, gate),
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

pub(crate) fn assembled(held: &mut Held<OwnedFd>) -> Result<()> {
    match receive(&held.gate)? {
        Message::Ready(fds) => {
            held.handed = fds;
            Ok(())
        }
        Message::Closed => Err(ended_early(held)),
        _ => Err(KernelError::new("hear of", "init", io::ErrorKind::InvalidData)),
    }
}

pub(crate) fn speaks(held: &mut Held<OwnedFd>) -> Result<()> {
    let mut gate = [PollFd::new(&held.gate, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut gate, Some(&now)) {
        Ok(0) => Ok(()),
        Ok(_) if held.handed.is_empty() => assembled(held),
        // It has nothing to say any more until it is released.
        Ok(_) => Err(ended_early(held)),
        Err(error) => Err(KernelError::new("hear of", "init", error)),
    }
}

/// What became of an init that has closed its end of the gate and has not been executed.
fn ended_early(held: &Held<OwnedFd>) -> KernelError {
    // The gate closes a moment before its end can be waited for; whatever the poll says, that is asked next.
    let end = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(&held.pidfd, PollFlags::IN)], Some(&end));
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let ended = waitid(WaitId::PidFd(held.pidfd.as_fd()), options).ok().flatten();
    let how = ended.map_or_else(|| "its init has ended".to_owned(), |status| how(&status));
    KernelError::new("put together", "the tenant", io::Error::other(how))
}

fn how(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("its init exited with code {code}"),
        (None, Some(libc::SIGKILL)) => {
            "its init was killed, as the kernel does where memory_max is too small".to_owned()
        }
        (None, Some(signal)) => format!("its init was killed by signal {signal}"),
        (None, None) => "its init has ended".to_owned(),
    }
}

pub(crate) fn release(plan: &Plan, held: Held<OwnedFd>) -> Result<Payload<OwnedFd>> {
    let failed = |error: io::Error| KernelError::new("execute", &plan.init.argv[0], error);
    let mut fds = held.handed;
    send(&held.gate, &Message::Go, &[]).map_err(failed)?;
    match receive(&held.gate)? {
        // The gate closes on exec.
        Message::Closed => {}
        _ => return Err(failed(io::ErrorKind::InvalidData.into())),
    }
    let notify = (fds.len() > usize::from(plan.ttys) + 1).then(|| fds.pop()).flatten();
    Ok(Payload {
        pid: held.pid,
        pidfd: held.pidfd,
        terminals: fds,
        notify,
        network: None,
        remains: vec![held.staging],
    })
}

pub(crate) fn kill(pid: i32) -> Result<()> {
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

/// What passes over the gate, one packet each.
#[derive(Debug)]
pub(crate) enum Message {
    /// Init's process id.
    Pid(i32),
    /// The filesystems that init has made, detached.
    Own(Vec<OwnedFd>),
    /// Every mount is attached.
    Attached,
    /// The root is in place; with the masters of the pseudoterminals and the notify socket.
    Ready(Vec<OwnedFd>),
    /// The interfaces are there: configure them and execute.
    Go,
    /// A step failed: errno, operation and object.
    Failed(i32, String, String),
    /// The other side is gone.
    Closed,
}

impl Message {
    pub(crate) fn failure(error: &KernelError) -> Self {
        let errno = error.source.raw_os_error().unwrap_or(0);
        let object = match errno {
            0 => format!("{}: {}", error.object, error.source),
            _ => error.object.clone(),
        };
        Self::Failed(errno, error.operation.to_string(), object)
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Pid(pid) => [b"P".as_slice(), &pid.to_ne_bytes()].concat(),
            Self::Go => b"G".to_vec(),
            Self::Own(_) => b"O".to_vec(),
            Self::Attached => b"A".to_vec(),
            Self::Ready(_) => b"R".to_vec(),
            Self::Failed(errno, operation, object) => {
                let text = format!("{operation}\0{object}");
                [b"E".as_slice(), &errno.to_ne_bytes(), text.as_bytes()].concat()
            }
            Self::Closed => Vec::new(),
        }
    }

    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> io::Result<Self> {
        let number = |bytes: &[u8]| {
            let bytes = bytes.get(1..5).and_then(|bytes| bytes.try_into().ok());
            bytes.map(i32::from_ne_bytes).ok_or(io::ErrorKind::InvalidData)
        };
        Ok(match bytes.first() {
            None => Self::Closed,
            Some(b'P') => Self::Pid(number(bytes)?),
            Some(b'G') => Self::Go,
            Some(b'O') => Self::Own(fds),
            Some(b'A') => Self::Attached,
            Some(b'R') => Self::Ready(fds),
            Some(b'E') => {
                let text = String::from_utf8_lossy(&bytes[5.min(bytes.len())..]).into_owned();
                let (operation, object) = text.split_once('\0').unwrap_or((&text, ""));
                Self::Failed(number(bytes)?, operation.to_owned(), object.to_owned())
            }
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// Sends a message with descriptors.
pub(crate) fn send(gate: &OwnedFd, message: &Message, fds: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = message.encode();
    sendmsg(gate, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A socket's deadline has passed: what the kernel calls "try again".
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Receives a message; a failure of the other side comes back as the error it is.
pub(crate) fn receive(gate: &OwnedFd) -> Result<Message> {
    let receive = || -> io::Result<Message> {
        let mut bytes = vec![0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(gate, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            // Descriptors that this process has no room for are not there, see unix(7).
            Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) => {
                return Err(rustix::io::Errno::MFILE.into());
            }
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(in_time(error.into())),
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        Message::decode(&bytes[..length], fds)
    };
    match receive().map_err(|error| KernelError::new("hear of", "init", error))? {
        Message::Failed(0, operation, object) => {
            Err(KernelError::new(operation, object, io::Error::other("failed inside the tenant")))
        }
        Message::Failed(errno, operation, object) => {
            Err(KernelError::new(operation, object, io::Error::from_raw_os_error(errno)))
        }
        message => Ok(message),
    }
}
