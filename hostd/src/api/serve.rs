//! The socket: who may connect, and how the service ends.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    sync::Arc,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    serve::IncomingStream,
};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::UnixListener;

use crate::{
    error::{Code, Failure},
    host::Host,
};

/// The group that may do what root may, through this socket.
pub const GROUP: &str = "tenantry";

/// Longest path that a Unix socket can have, bytes, see unix(7).
const MAX_SOCKET_PATH: usize = 107;

/// The process at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Uid,
    gid: Gid,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(cred) => Self { uid: Uid::from_raw(cred.uid()), gid: Gid::from_raw(cred.gid()) },
            // Nobody: refused below.
            Err(_) => Self { uid: Uid::from_raw(u32::MAX), gid: Gid::from_raw(u32::MAX) },
        }
    }
}

impl Peer {
    fn may_connect(self, group: Option<Gid>) -> bool {
        if self.uid.is_root() {
            return true;
        }
        let Some(group) = group else { return false };
        if self.gid == group {
            return true;
        }
        let supplementary = || -> Option<Vec<Gid>> {
            let user = User::from_uid(self.uid).ok()??;
            let name = std::ffi::CString::new(user.name).ok()?;
            getgrouplist(&name, user.gid).ok()
        };
        supplementary().is_some_and(|groups| groups.contains(&group))
    }
}

/// Binds the socket: mode 0660, of root and, where there is one, the group `tenantry`. The store's lock
/// is held, so a file that is there belongs to nobody.
///
/// # Errors
/// The path is too long for a socket, or the socket cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let text = format!("a socket's path has at most {MAX_SOCKET_PATH} bytes: choose a shorter --root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Bound under another name, so that nobody connects before the mode is set.
    let staged = path.with_extension("new");
    let _ = fs::remove_file(&staged);
    let listener = UnixListener::bind(&staged)?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o660))?;
    if let Some(group) = group() {
        chown(&staged, None, Some(group.as_raw()))?;
    }
    fs::rename(&staged, path)?;
    Ok(listener)
}

fn group() -> Option<Gid> {
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}

async fn only_permitted(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let permitted = tokio::task::spawn_blocking(move || peer.uid.is_root() || peer.may_connect(group()));
    if permitted.await.unwrap_or(false) {
        return next.run(request).await;
    }
    log::warn!("refused a request of uid {}", peer.uid);
    Failure::new(Code::Forbidden, "only root and members of the group \"tenantry\" may do this")
        .help("run it as root, or: usermod --append --groups tenantry USER")
        .into_response()
}

/// Serves until `shutdown` is done; requests in progress are answered first.
///
/// # Errors
/// The socket fails.
pub async fn serve(
    listener: UnixListener,
    host: Arc<Host>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router: Router = super::router(host).layer(middleware::from_fn(only_permitted));
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_refused() {
        let peer = |uid, gid| Peer { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) };
        let group = Some(Gid::from_raw(4242));
        assert!(peer(0, 0).may_connect(None));
        assert!(peer(65_533, 4242).may_connect(group));
        assert!(!peer(65_533, 65_533).may_connect(group));
        assert!(!peer(65_533, 4242).may_connect(None));
    }
}
