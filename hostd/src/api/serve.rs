//! The socket: who may connect, how long anybody may take, and how the service ends.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use tokio::{
    net::{UnixListener, UnixStream},
    time::sleep,
};
use wire::{Code, Failure};

use super::{PendingChanges, Refusal, connection::Connection};
use crate::host::{Host, Progress};

/// The group that may do what root may, through this socket.
pub const GROUP: &str = "tenantry";

/// Longest path that a Unix socket can have, bytes, see unix(7).
const MAX_SOCKET_PATH: usize = 107;
/// How long the head of a request may take to arrive, on a connection that is idle otherwise.
const HEAD: Duration = Duration::from_secs(15);
/// How long a client may take nothing of its answer.
const STALL: Duration = Duration::from_secs(30);
/// So much of an answer is in the kernel before its client has read any of it, bytes; the kernel takes twice as much for it.
const SENT_AT_ONCE: usize = 1 << 20;
/// How long to wait when no connection can be accepted because descriptors or memory are exhausted.
const RETRY: Duration = Duration::from_millis(100);
/// What is answered as soon as hostd knows what runs, before it has set right what an earlier one left.
const WHEN_KNOWING: [&str; 2] = ["/v1/tenants", "/v1/stat"];
/// What is answered before hostd knows what runs: that it is there.
const AT_ONCE: [&str; 2] = ["/v1/host", "/v1/openapi.json"];

/// The process at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Uid,
    gid: Gid,
}

impl Peer {
    fn of(stream: &UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(cred) => Self { uid: Uid::from_raw(cred.uid()), gid: Gid::from_raw(cred.gid()) },
            // None: refused below.
            Err(_) => Self { uid: Uid::from_raw(u32::MAX), gid: Gid::from_raw(u32::MAX) },
        }
    }

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
/// is held, so a file that is there belongs to no process.
///
/// # Errors
/// The path is too long for a socket, or the socket cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let text =
            format!("the path of a socket is limited to {MAX_SOCKET_PATH} bytes: choose a shorter --root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Bound under another name, so that no process connects before the mode is set.
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

/// The answer to everything that a stranger asks.
async fn refuse() -> Refusal {
    let text = "only root and members of the group \"tenantry\" may do this";
    Refusal(
        Failure::new(Code::Forbidden, text)
            .help("run it as root, or: usermod --append --groups tenantry USER"),
    )
}

/// Holds requests back until hostd knows what runs, and those that may change something until it is ready.
async fn when_ready(State(host): State<Arc<Host>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if request.method() == Method::GET && WHEN_KNOWING.contains(&path) {
        host.has_come(Progress::Knowing).await;
    } else if !AT_ONCE.contains(&path) {
        host.has_come(Progress::Ready).await;
    }
    next.run(request).await
}

/// All requests, answered as soon as hostd has come far enough.
pub(super) fn held_back(host: Arc<Host>) -> Router {
    super::router(host.clone()).layer(middleware::from_fn_with_state(host, when_ready))
}

/// Serves until `shutdown` is done; requests in progress are answered first, and changes are made to their end whose
/// client has hung up.
///
/// # Errors
/// The socket fails.
pub async fn serve(
    listener: UnixListener,
    host: Arc<Host>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = held_back(host.clone());
    let refusal = Router::new().fallback(refuse);
    let (connections, under_way) = (GracefulShutdown::new(), PendingChanges::default());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream: UnixStream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if passes(&error) => {
                    log::warn!("cannot accept connections for now: {error}");
                    sleep(RETRY).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        // An answer for a thousand tenants goes out at once. Where that cannot be, it takes some turns.
        let _ = set_socket_send_buffer_size_force(&stream, SENT_AT_ONCE);
        let (router, refusal, watcher) = (router.clone(), refusal.clone(), connections.watcher());
        let under_way = under_way.clone();
        tokio::spawn(async move {
            let peer = Peer::of(&stream);
            // The databases of users may be far away.
            let permitted =
                tokio::task::spawn_blocking(move || peer.uid.is_root() || peer.may_connect(group()));
            let service = match permitted.await {
                Ok(true) => router,
                _ => {
                    log::warn!("refused a connection of uid {}", peer.uid);
                    refusal
                }
            };
            let connection = Connection::new(stream, STALL);
            let given = connection.given();
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(given.clone());
                let answering = super::answer(&service, &under_way, request.map(Body::new));
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(connection), service);
            if let Err(error) = watcher.watch(connection).await {
                log::debug!("a connection of uid {} ended: {error}", peer.uid);
            }
        });
    }
    drop(listener);
    // Those who read along would go on for ever.
    host.events().close();
    connections.shutdown().await;
    // No connection is left that could begin another one.
    under_way.ended().await;
    Ok(())
}

/// Whether accept(2) may succeed a moment later.
fn passes(error: &io::Error) -> bool {
    const PASSING: [i32; 7] = [
        nix::libc::EMFILE,
        nix::libc::ENFILE,
        nix::libc::ENOMEM,
        nix::libc::ENOBUFS,
        nix::libc::ECONNABORTED,
        nix::libc::EINTR,
        nix::libc::EPERM,
    ];
    error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_users_are_refused() {
        let peer = |uid, gid| Peer { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) };
        let group = Some(Gid::from_raw(4242));
        assert!(peer(0, 0).may_connect(None));
        assert!(peer(65_533, 4242).may_connect(group));
        assert!(!peer(65_533, 65_533).may_connect(group));
        assert!(!peer(65_533, 4242).may_connect(None));
    }
}
