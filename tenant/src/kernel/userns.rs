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
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, socketpair,
    sockopt::{Timeout, set_socket_timeout},
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

/// Makes the user namespace under the range's first uid: pools like inotify are counted against the
/// uid that made it, see user_namespaces(7).
pub(super) fn user_namespace(uids: UidRange) -> Result<OwnedFd> {
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
        // Killed once the namespace is held, or is not available: it has nothing to finish.
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
