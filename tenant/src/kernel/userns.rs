//! User namespaces, see user_namespaces(7).

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    time::Duration,
};

use caps::{CapSet, Capability};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setfsuid, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, socketpair,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::{
    KernelError, Result,
    child::OwnChild,
    gate::in_time,
    raw::{self, Fork, Parent},
};
use crate::model::ids::UidRange;

/// The owner of a user namespace has this long to make it; it waits for nothing but the kernel.
const OWNER_DEADLINE: Duration = Duration::from_secs(10);

/// Kinds of namespaces that the kernel counts, see `/proc/sys/user` of proc(5).
const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Makes the user namespace under the range's first uid: pools like inotify are counted against the
/// uid that made it, see user_namespaces(7).
///
/// It lies in another one, which has the same ids and holds the bound: what is made in a namespace is counted in each
/// above it, against the one uid that has made the namespace in between. In its own namespace root of a tenant could
/// lift the bound, or be another uid.
pub(super) fn user_namespace(uids: UidRange, most: u32) -> Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(OWNER_DEADLINE))?;
        let owner = match raw::clone3(0, Parent::Caller, None)? {
            Fork::Child => {
                drop(ours);
                own_namespace(uids.base(), most, theirs)
            }
            Fork::Parent(owner) => OwnChild(owner),
        };
        drop(theirs);
        let mut gate = File::from(ours);
        let inner = map_and_open(&mut gate, owner.0, uids)?;
        // It takes its own child along, and has nothing else to finish. After a failure it is killed.
        drop(gate);
        owner.join()?;
        Ok(inner)
    };
    make().map_err(|error| KernelError::new("make a user namespace for uids", uids, error))
}

/// The child that makes both namespaces, and keeps them until its parent has what it wants or is gone.
fn own_namespace(base: u32, most: u32, gate: OwnedFd) -> ! {
    let mut gate = File::from(gate);
    let mut held = None;
    let mut make = || -> io::Result<()> {
        become_owner(base)?;
        gate.write_all(&answer(0))?;
        // Until there are ids in here.
        gate.read_exact(&mut [0])?;
        bound(most)?;
        let inner = inner_namespace(&gate)?;
        gate.write_all(&answer(inner.0))?;
        held = Some(inner);
        Ok(())
    };
    if let Err(error) = make() {
        // A parent that cannot be told waits for the end of the gate instead.
        let _ = gate.write_all(&answer(-error.raw_os_error().unwrap_or(libc::EIO)));
    }
    // What comes, an end or an error, is the end of the wait.
    let _ = gate.read(&mut [0]);
    drop(held);
    raw::exit(0)
}

/// A pid, 0, or an error's number, negative.
fn answer(number: i32) -> [u8; 4] {
    number.to_ne_bytes()
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
    for capability in [Capability::CAP_SYS_ADMIN, Capability::CAP_SETUID] {
        caps::raise(None, CapSet::Effective, capability).map_err(io::Error::other)?;
    }
    // For files alone it stays root: those in /proc that set a child's ids are root's, because it is not dumpable.
    setfsuid(Uid::from_raw(0));
    Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
}

/// In the child: how many namespaces there may be below the namespace that it is in.
fn bound(most: u32) -> io::Result<()> {
    let dir = File::open("/proc/sys/user")?;
    let most = most.to_string();
    for kind in KINDS {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(&dir, format!("max_{kind}_namespaces"), flags, Mode::empty()) {
            Ok(file) => File::from(file).write_all(most.as_bytes())?,
            // A kernel without such namespaces.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// In the child: the namespace inside, with all ids of the one around it. Held by a process.
fn inner_namespace(gate: &File) -> io::Result<OwnChild> {
    let inner = match raw::clone3(CloneFlags::CLONE_NEWUSER.bits() as u64, Parent::Caller, None)? {
        Fork::Child => {
            // Until both others are gone, or this process is killed.
            let _ = { gate }.read(&mut [0]);
            raw::exit(0)
        }
        Fork::Parent(inner) => OwnChild(inner),
    };
    map(inner.0, 0)?;
    Ok(inner)
}

/// Gives a namespace its ids, which begin at `base` in the one around it.
fn map(process: i32, base: u32) -> io::Result<()> {
    let map = format!("0 {base} {}", UidRange::LEN);
    fs::write(format!("/proc/{process}/uid_map"), &map)?;
    fs::write(format!("/proc/{process}/gid_map"), &map)
}

fn map_and_open(gate: &mut File, owner: i32, uids: UidRange) -> io::Result<OwnedFd> {
    hear(gate)?;
    map(owner, uids.base())?;
    gate.write_all(&[0])?;
    let inner = hear(gate)?;
    Ok(File::open(format!("/proc/{inner}/ns/user"))?.into())
}

/// What the child says.
fn hear(gate: &mut File) -> io::Result<i32> {
    let mut number = [0; 4];
    gate.read_exact(&mut number).map_err(in_time)?;
    match i32::from_ne_bytes(number) {
        number @ 0.. => Ok(number),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
