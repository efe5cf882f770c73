//! HTTP and JSON over a Unix socket: one file per resource.
//!
//! Every failure is a [`Failure`] as JSON with the status its code stands for. The OpenAPI document is
//! made from the types: `hostd --openapi`.

mod answer;
mod config;
mod connection;
mod copies;
mod doctor;
mod drift;
mod events;
mod extract;
mod files;
mod host;
mod inspect;
pub mod lifecycle;
mod links;
mod nics;
mod rebase;
mod rollout;
mod select;
pub mod serve;
mod stale;
mod tenants;
#[cfg(test)]
mod tests;

use std::{pin::Pin, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    response::{IntoResponse, Response},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{oneshot, watch};
use wire::{Code, Failure};

pub use self::host::OPENAPI;
use self::{
    answer::{Answer, Message, Refusal},
    extract::{Body, Named, Parameters},
};
use crate::host::Host;

/// Largest request body: a configuration file and its predecessor, bytes.
pub const MAX_BODY: usize = 3 << 20;

/// The API as a document, made from the types.
#[cfg(feature = "openapi")]
#[derive(Debug, utoipa::OpenApi)]
#[openapi(
    info(title = "hostd", description = "Tenants of one host", license(name = "Apache-2.0 OR MIT")),
    paths(
        host::host,
        events::events,
        doctor::look,
        doctor::repair,
        tenants::list,
        tenants::create,
        tenants::show,
        tenants::destroy,
        tenants::rename,
        lifecycle::start,
        lifecycle::stop,
        lifecycle::restart,
        lifecycle::kill,
        lifecycle::freeze,
        lifecycle::thaw,
        lifecycle::park,
        lifecycle::wake,
        lifecycle::wait,
        lifecycle::reload,
        lifecycle::prepare,
        config::read,
        config::replace,
        config::change,
        inspect::plan,
        inspect::explain,
        inspect::stat,
        inspect::stats,
        inspect::logs,
        stale::one,
        stale::all,
        nics::list,
        nics::give,
        nics::take,
        rollout::list,
        rollout::start,
        rollout::show,
        rollout::pause,
        rollout::resume,
        rollout::abort,
        rollout::rollback,
        rebase::rebase,
        rebase::plan,
        drift::list,
        drift::view,
        drift::merge,
        copies::clone,
        copies::export,
        copies::import,
        copies::snapshots,
        copies::take,
        copies::remove,
        copies::restore,
        copies::reset,
        files::read,
        files::write,
    ),
    components(schemas(Failure, Code))
)]
pub struct Document;

/// The changes that are under way, those whose client has hung up among them: hostd waits for them when it ends.
#[derive(Clone, Debug, Default)]
pub struct PendingChanges(watch::Sender<usize>);

/// A change that is under way, until this is dropped.
struct ChangeGuard(watch::Sender<usize>);

impl Drop for ChangeGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl PendingChanges {
    fn begin(&self) -> ChangeGuard {
        self.0.send_modify(|count| *count += 1);
        ChangeGuard(self.0.clone())
    }

    /// Waits until there is none.
    pub async fn ended(&self) {
        // The other end is here: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// An answer that is being made.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers a request. One that changes something runs to its end in a task of its own, from the moment it is here:
/// a client that hangs up cuts nothing in half, and what the task holds (a tenant's turn, say) is held until the work is done.
/// One that only looks ends with its connection.
///
/// This is the one way to all routes: none can be registered that goes by another.
pub fn answer(router: &Router, under_way: &PendingChanges, request: Request) -> Answering {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answering = TowerToHyperService::new(router.clone()).call(request);
    let answering = async move { answering.await.unwrap_or_else(|never| match never {}) };
    if method.is_safe() {
        return Box::pin(answering);
    }
    let (tell, told) = oneshot::channel();
    let change = under_way.begin();
    // Now, not when the answer is first asked for: hyper does not come to that where the client has gone already.
    tokio::spawn(async move {
        let response = answering.await;
        // There is no other process to tell.
        if let Err(response) = tell.send(response)
            && let Some(Message(message)) = response.extensions().get()
        {
            log::warn!("{method} {path}: {message}; the client has disconnected");
        }
        drop(change);
    });
    Box::pin(async move {
        told.await.unwrap_or_else(|_| {
            let text = "the request was aborted: its task panicked, or hostd is shutting down";
            Refusal(Failure::new(Code::Failed, text)).into_response()
        })
    })
}

/// All routes over a host; requests go to them by [`answer`].
pub fn router(host: Arc<Host>) -> Router {
    Router::new()
        .merge(host::routes())
        .merge(events::routes())
        .merge(doctor::routes())
        .merge(tenants::routes())
        .merge(lifecycle::routes())
        .merge(config::routes())
        .merge(inspect::routes())
        .merge(rollout::routes())
        .merge(stale::routes())
        .merge(nics::routes())
        .merge(rebase::routes())
        .merge(drift::routes())
        .merge(copies::routes())
        .merge(files::routes())
        .fallback(async || Refusal(Failure::new(Code::NotFound, "there is no such resource")))
        .method_not_allowed_fallback(async || {
            Refusal(Failure::new(Code::Invalid, "the resource does not support this method"))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(host)
}
