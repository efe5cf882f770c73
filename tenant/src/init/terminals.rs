//! The terminals of a tenant, opened where they belong: in its own devpts.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use crate::{
    kernel::{
        KernelError, Result,
        pty::{self, Pty, TERMINALS},
        raw,
    },
    plan::{NOTIFY_SOCKET, Plan},
};

/// Opens the console and the ttys, numbers 0 to `ttys` of the tenant's devpts, and puts the console in
/// its place.
pub(super) fn open(plan: &Plan, root: &OwnedFd) -> Result<Vec<Pty>> {
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
    open().map_err(|error| KernelError::new("open", TERMINALS, error))
}

/// The masters, in order, and the console's slave.
pub(super) fn hand_over(terminals: Vec<Pty>) -> (Vec<OwnedFd>, OwnedFd) {
    let mut masters = Vec::new();
    let mut console = None;
    for Pty { master, slave } in terminals {
        masters.push(master);
        console.get_or_insert(slave);
    }
    (masters, console.expect("there is always a console"))
}

pub(super) fn notify_socket() -> Result<OwnedFd> {
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

/// A process as init expects to be born: its own session, the console as its standard streams, no
/// signal blocked or ignored, no other descriptor.
pub(super) fn settle(console: &OwnedFd) -> io::Result<()> {
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
