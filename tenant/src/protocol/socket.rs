//! Unix sockets below the runtime directory: bound and reached by short names, open to root and the
//! group `tenantry`.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{
            fs::chown,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    net::{SocketFlags, accept_with, sockopt::socket_peercred},
};

use crate::kernel::raw;

/// The group whose members may use the sockets besides root.
pub const GROUP: &str = "tenantry";

/// The numeric id of [`GROUP`] in group(5). Read here and not by getgrnam(3), which loads modules of
/// the name service into a process that has to stay small.
pub fn group() -> Option<u32> {
    let file = File::open("/etc/group").ok()?;
    for line in BufReader::new(file.take(1 << 20)).lines() {
        let line = line.ok()?;
        let mut fields = line.split(':');
        if fields.next() == Some(GROUP) {
            return fields.nth(1)?.parse().ok();
        }
    }
    None
}

/// Runs `act` with a path to `path` that always fits the 107 bytes of a socket's address.
fn by_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, parent, flags, Mode::empty())?;
    act(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

/// A listening socket, mode 0660, in place of whatever was there. The caller's lock says that no process
/// else serves it.
///
/// # Errors
/// The failing call's.
pub fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // bind(2) makes the file with mode 0777 without the umask; no process may slip in before a chmod.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o117));
    let listener = by_short_path(path, |short| UnixListener::bind(short));
    rustix::process::umask(umask);
    let listener = listener?;
    if let Some(group) = group {
        chown(path, None, Some(group))?;
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to a socket.
///
/// # Errors
/// The failing call's; `NotFound` or `ConnectionRefused` when no process serves it.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    by_short_path(path, |short| UnixStream::connect(short))
}

/// The next client that may be served, its socket not blocking; none when there is no client at all.
/// Clients of other users are turned away.
///
/// # Errors
/// A client waits and cannot be taken: this process, or the host, has no descriptor or no memory left.
pub(crate) fn accept(listener: &UnixListener, group: Option<u32>) -> io::Result<Option<UnixStream>> {
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream: OwnedFd = match accept_with(listener, flags) {
            Ok(stream) => stream,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if is_permitted(&stream, group) {
            return Ok(Some(stream.into()));
        }
    }
}

fn is_permitted(stream: &OwnedFd, group: Option<u32>) -> bool {
    let Ok(peer) = socket_peercred(stream) else { return false };
    if peer.uid.is_root() {
        return true;
    }
    let Some(group) = group else { return false };
    peer.gid.as_raw() == group || raw::peer_groups(stream.as_fd()).is_ok_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_socket_can_lie_deeper_than_an_address_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("console.sock");
        let listener = listen(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let _client = connect(&path).unwrap();
        let served = accept(&listener, Some(client_gid())).unwrap();
        assert!(served.is_some());
        assert!(accept(&listener, None).unwrap().is_none());
        // A second supervisor of the same tenant, after a crash of the first.
        drop(listener);
        listen(&path, None).unwrap();
    }

    fn client_gid() -> u32 {
        rustix::process::getgid().as_raw()
    }
}
