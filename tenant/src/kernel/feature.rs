//! Drivers of the host that a tenant asks for by name: whether the host has them is found by using them once, which
//! loads their modules.

use std::{io, os::fd::AsFd};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{Mode, OFlags, openat},
    process::{Pid, WaitOptions, waitpid},
};

use super::{
    KernelError, Result,
    driver::MissingDriver,
    netlink,
    raw::{self, Fork, Parent},
};
use crate::model::device::Driver;

fn missing(driver: Driver, cause: io::Error) -> KernelError {
    KernelError::new("provide", driver, MissingDriver { driver, cause })
}

/// Opens a device node once, as programs of the tenant will. `tree` is the tenant's `/dev`.
pub(super) fn open_device(tree: &impl AsFd, name: &str, driver: Driver) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(tree, name, flags, Mode::empty()).map(drop).map_err(|errno| missing(driver, errno.into()))
}

/// Makes an interface of the type once, in a network namespace that goes with it.
pub(super) fn try_driver(driver: Driver) -> Result<()> {
    let kind = match driver {
        Driver::WireGuard => driver.key(),
        // What a node is behind is tried by the node.
        Driver::Tun | Driver::Fuse => return Ok(()),
    };
    let attempt = || -> io::Result<()> {
        match raw::clone3(0, Parent::Caller, None)? {
            Fork::Child => {
                let made = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
                let made = made.and_then(|()| netlink::try_kind(kind));
                raw::exit(made.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0))
            }
            Fork::Parent(child) => {
                let status = waitpid(Pid::from_raw(child), WaitOptions::empty())?;
                match status.and_then(|(_, status)| status.exit_status()) {
                    Some(0) => Ok(()),
                    Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                    None => Err(io::Error::other("the attempt panicked")),
                }
            }
        }
    };
    attempt().map_err(|error| missing(driver, error))
}
