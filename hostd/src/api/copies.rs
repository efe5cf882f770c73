//! `/v1/tenants/NAME/clone`, `export`, `snapshots`, `restore`, `reset`, and `/v1/import`.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body as HttpBody,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
    routing::{get, post},
};
use filetree::Tally;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use serde::Deserialize;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use wire::{
    Changed, CloneRequest, Copied, Failure, ResetRequest, RestoreRequest, SnapshotInfo, SnapshotRequest,
    tenant_name,
};

use super::{Answer, Body, Named, Parameters, Refusal};
use crate::{
    host::Host,
    records::{
        NewTenant,
        copies::{Import, Taking},
    },
};

/// The trailer of a stream that ends early: a [`Failure`] as JSON.
const FAILURE: &str = "tenantry-failure";
/// How long nothing of a body may arrive.
pub(super) const SILENCE: Duration = Duration::from_secs(120);
/// So much of a stream is sent at once, bytes.
const PIECE: usize = 256 << 10;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/tenants/{name}/clone", post(clone))
        .route("/v1/tenants/{name}/export", get(export))
        .route("/v1/import", post(import))
        .route("/v1/tenants/{name}/snapshots", get(snapshots).post(take))
        .route("/v1/tenants/{name}/snapshots/{snapshot}", axum::routing::delete(remove))
        .route("/v1/tenants/{name}/restore", post(restore))
        .route("/v1/tenants/{name}/reset", post(reset))
}

fn copied(name: impl ToString, tally: Tally, since: Instant) -> Copied {
    Copied {
        name: name.to_string(),
        result: Changed::Created,
        entries: tally.entries,
        bytes: tally.bytes,
        left_out: tally.left_out,
        warnings: Vec::new(),
        took_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

/// Makes a tenant of another one: its files, with ids, keys and addresses of its own. One that is running is frozen
/// meanwhile.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/clone",
    params(("name" = String, Path)),
    request_body = CloneRequest,
    responses((status = 200, body = Copied), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn clone(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<CloneRequest>,
) -> Answer<Copied> {
    let since = Instant::now();
    let new = tenant_name(&request.name)?;
    let changes = (NewTenant { set: request.set }, request.unset);
    let (tally, warnings) = host.clone_tenant(&name, &new, changes, request.live).await?;
    Ok(Json(Copied { warnings, ..copied(new, tally, since) }))
}

/// How a tenant is exported.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct ExportParameters {
    /// Read it while it is running, each file at a moment of its own, and do not freeze it meanwhile.
    #[serde(default)]
    live: bool,
}

/// A tenant as a tar archive. An answer that ends early has the trailer `tenantry-failure`, and the archive no end.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/export",
    params(("name" = String, Path), ExportParameters),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/x-tar"),
        (status = "4XX", body = Failure),
        (status = "5XX", body = Failure),
    )
))]
pub(super) async fn export(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<ExportParameters>,
) -> Result<Response, Refusal> {
    let still = host.still(&name, parameters.live).await?;
    Ok(stream(move |out, is_wanted| async move { host.export(still, out, is_wanted).await.map(drop) }))
}

/// An answer that is written while it is sent. `write` is told when nobody wants it any more.
pub(super) fn stream<F>(write: impl FnOnce(Pieces, Arc<AtomicBool>) -> F) -> Response
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (send, receive) = mpsc::channel(4);
    let is_wanted = Arc::new(AtomicBool::new(true));
    let pieces = Pieces { send: send.clone(), buffer: Vec::with_capacity(PIECE) };
    let writing = write(pieces, is_wanted.clone());
    tokio::spawn(async move {
        if let Err(failure) = writing.await {
            // A client that has gone is told nothing.
            let _ = send.send(Err(failure)).await;
        }
    });
    let mut response = Response::new(HttpBody::new(Sent { receive, is_wanted, ended: false }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(header::TRAILER, HeaderValue::from_static(FAILURE));
    response
}

/// Takes what is written, and sends it in pieces.
pub(super) struct Pieces {
    send: mpsc::Sender<Result<Bytes, Failure>>,
    buffer: Vec<u8>,
}

impl Pieces {
    /// Sends a piece.
    ///
    /// # Errors
    /// The client has gone.
    pub(super) async fn pass(&self, piece: Bytes) -> Result<(), Failure> {
        let gone = |_| Failure::new(wire::Code::Failed, "the client has disconnected");
        self.send.send(Ok(piece)).await.map_err(gone)
    }
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.send.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A body that is sent piece by piece.
struct Sent {
    receive: mpsc::Receiver<Result<Bytes, Failure>>,
    is_wanted: Arc<AtomicBool>,
    ended: bool,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.receive.poll_recv(cx).map(|piece| match piece? {
            Ok(piece) => Some(Ok(Frame::data(piece))),
            Err(failure) => {
                self.ended = true;
                let text = serde_json::to_string(&failure).unwrap_or_default();
                let mut trailers = HeaderMap::new();
                trailers.extend(
                    HeaderValue::try_from(text)
                        .ok()
                        .map(|text| (header::HeaderName::from_static(FAILURE), text)),
                );
                Some(Ok(Frame::trailers(trailers)))
            }
        })
    }
}

/// The body of a request, for a thread that may block.
pub(super) struct Incoming {
    handle: Handle,
    body: HttpBody,
    rest: Bytes,
}

impl Incoming {
    pub(super) fn new(body: HttpBody) -> Self {
        Self { handle: Handle::current(), body, rest: Bytes::new() }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let Self { handle, body, .. } = self;
            match handle.block_on(async { timeout(SILENCE, body.frame()).await }) {
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more arrived")),
                Ok(None) => return Ok(0),
                Ok(Some(frame)) => {
                    self.rest = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
                }
            }
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// How a tenant is made of an archive.
#[derive(Debug, Default)]
struct ImportParameters(Import);

impl ImportParameters {
    fn parse(parameters: Vec<(String, String)>) -> Result<Self, Failure> {
        let mut import = Import::default();
        for (key, value) in parameters {
            match key.as_str() {
                "name" => import.name = Some(tenant_name(&value)?),
                "base" => import.base = Some(value),
                "set" => import.new.set.push(value),
                "unset" => import.unset.push(value),
                _ => {
                    let text = format!("an import has no parameter {key:?}");
                    return Err(
                        Failure::new(wire::Code::Invalid, text).help("one of: name, base, set, unset")
                    );
                }
            }
        }
        Ok(Self(import))
    }
}

/// Makes a tenant of a tar archive that an export has made. It gets numbers and addresses of this host; its uuid where no
/// tenant of this host has that.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/import",
    params(
        ("name" = Option<String>, Query, description = "Its name; the one that it had if absent"),
        ("base" = Option<String>, Query, description = "The version that its files are to lie over: `IMAGE:CHANNEL`"),
        ("set" = Option<Vec<String>>, Query, description = "`key=value` pairs that are different in its file"),
        ("unset" = Option<Vec<String>>, Query, description = "Keys that its file does not have"),
    ),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, body = Copied), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn import(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
    body: HttpBody,
) -> Answer<Copied> {
    let since = Instant::now();
    let ImportParameters(how) = ImportParameters::parse(parameters)?;
    let imported = host.import(how, Incoming::new(body)).await?;
    Ok(Json(Copied { warnings: imported.warnings, ..copied(imported.name, imported.tally, since) }))
}

/// The snapshots of a tenant, the oldest first.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/snapshots",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<SnapshotInfo>), (status = 404, body = Failure))
))]
pub(super) async fn snapshots(
    State(host): State<Arc<Host>>,
    Named(name): Named,
) -> Answer<Vec<SnapshotInfo>> {
    Ok(Json(host.snapshots(&name).await?))
}

/// Takes a snapshot of a tenant's directories. One that is running is frozen meanwhile.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/snapshots",
    params(("name" = String, Path)),
    request_body = SnapshotRequest,
    responses((status = 200, body = Copied), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn take(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<SnapshotRequest>,
) -> Answer<Copied> {
    let since = Instant::now();
    let SnapshotRequest { name: snapshot, comment, live } = request;
    let (snapshot, tally) = host.take_snapshot(&name, Taking { name: snapshot, comment, live }).await?;
    Ok(Json(copied(snapshot, tally, since)))
}

/// Removes a snapshot.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete,
    path = "/v1/tenants/{name}/snapshots/{snapshot}",
    params(("name" = String, Path), ("snapshot" = String, Path)),
    responses((status = 200, body = Copied), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn remove(
    State(host): State<Arc<Host>>,
    Path((name, snapshot)): Path<(String, String)>,
) -> Answer<Copied> {
    let since = Instant::now();
    host.remove_snapshot(&tenant_name(&name)?, snapshot.clone()).await?;
    Ok(Json(Copied { result: Changed::Changed, ..copied(snapshot, Tally::default(), since) }))
}

/// Puts the files of a snapshot in the place of those of a tenant that is down.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/restore",
    params(("name" = String, Path)),
    request_body = RestoreRequest,
    responses((status = 200, body = Copied), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn restore(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<RestoreRequest>,
) -> Answer<Copied> {
    let since = Instant::now();
    let tally = host.restore(&name, (request.snapshot, request.keep_base)).await?;
    Ok(Json(Copied { result: Changed::Changed, ..copied(name, tally, since) }))
}

/// Makes directories of a tenant that is down as its image has them.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/reset",
    params(("name" = String, Path)),
    request_body = ResetRequest,
    responses((status = 200, body = Copied), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn reset(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<ResetRequest>,
) -> Answer<Copied> {
    let since = Instant::now();
    let dirs = host.reset(&name, request.dirs).await?;
    let tally = Tally { entries: dirs.len() as u64, ..Tally::default() };
    Ok(Json(Copied { result: Changed::Changed, ..copied(name, tally, since) }))
}
