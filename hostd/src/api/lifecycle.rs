//! `/v1/tenants/NAME/{start,stop,…}`: answered when it is done.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::Deserialize;
use tenant::files::state::Exit;
use wire::{Changed, Code, Done, Failure, Goal, KillRequest, StartRequest, StopRequest, Waited};

use super::{Answer, Body, Named, Parameters, answer::done};
use crate::{
    doctor::reach,
    host::{Host, Started, Stopped},
    units::limits::Enforce,
};

/// Longest `wait`, seconds.
const MAX_WAIT: u32 = 86_400;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/tenants/{name}/start", post(start))
        .route("/v1/tenants/{name}/stop", post(stop))
        .route("/v1/tenants/{name}/restart", post(restart))
        .route("/v1/tenants/{name}/kill", post(kill))
        .route("/v1/tenants/{name}/freeze", post(freeze))
        .route("/v1/tenants/{name}/thaw", post(thaw))
        .route("/v1/tenants/{name}/park", post(park))
        .route("/v1/tenants/{name}/wake", post(wake))
        .route("/v1/tenants/{name}/wait", get(wait))
        .route("/v1/tenants/{name}/reload", post(reload))
        .route("/v1/tenants/{name}/prepare", post(prepare))
}

/// Handling of limits that this host cannot enforce.
fn enforce(request: &StartRequest) -> Result<Enforce, Failure> {
    match (request.strict, request.allow_unenforced) {
        (true, true) => {
            Err(Failure::new(Code::Invalid, "`strict` and `allow_unenforced` exclude each other"))
        }
        (true, false) => Ok(Enforce::All),
        (false, allow) => Ok(Enforce::asked_unless(allow)),
    }
}

/// Starts a tenant and answers when it is ready; a running one is not changed.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/start",
    params(("name" = String, Path)),
    request_body = StartRequest,
    responses((status = 200, body = Done), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn start(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<StartRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    let started = host.start(&name, enforce(&request)?).await?;
    Ok(told_start(&host, name, started, since))
}

/// The answer to a start, with what keeps the tenant from the world and what does not hold it back.
fn told_start(host: &Host, name: impl ToString, started: Started, since: Instant) -> Json<Done> {
    let Started { change, killed, tenant } = started;
    let mut warnings = tenant.as_ref().map(reach::warnings).unwrap_or_default();
    warnings.extend(tenant.map(|tenant| host.unprotected(&tenant)).unwrap_or_default());
    let Json(answer) = done(name, change, since);
    Json(Done { killed, warnings, ..answer })
}

/// The answer to what stops a tenant on its way.
fn told(name: impl ToString, Stopped { change, killed }: Stopped, since: Instant) -> Json<Done> {
    let Json(answer) = done(name, change, since);
    Json(Done { killed, ..answer })
}

/// Stops a tenant and answers when nothing of it is left, unless it is only to be asked.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/stop",
    params(("name" = String, Path)),
    request_body = StopRequest,
    responses((status = 200, body = Done), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn stop(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<StopRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    if request.ask_only {
        let change = host.ask_to_stop(&name).await?;
        return Ok(done(name, change, since));
    }
    let limit = request.timeout_sec.map(|seconds| Duration::from_secs(seconds.into()));
    let stopped = host.stop(&name, limit).await?;
    Ok(told(name, stopped, since))
}

/// Stops a tenant if it is running, then starts it.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/restart",
    params(("name" = String, Path)),
    request_body = StartRequest,
    responses((status = 200, body = Done), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn restart(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<StartRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    let started = host.restart(&name, enforce(&request)?).await?;
    Ok(told_start(&host, name, started, since))
}

/// Kills a tenant, or sends a signal to its init.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/kill",
    params(("name" = String, Path)),
    request_body = KillRequest,
    responses((status = 200, body = Done), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn kill(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<KillRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    host.kill(&name, request.signal.as_deref()).await?;
    Ok(done(name, Changed::Changed, since))
}

/// Freezes all processes of a tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/freeze",
    params(("name" = String, Path)),
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn freeze(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Done> {
    let since = Instant::now();
    let change = host.freeze(&name, true).await?;
    Ok(done(name, change, since))
}

/// Lets the processes of a frozen tenant go on.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/thaw",
    params(("name" = String, Path)),
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn thaw(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Done> {
    let since = Instant::now();
    let change = host.freeze(&name, false).await?;
    Ok(done(name, change, since))
}

/// Parks a tenant, whether it is idle or not: it stands still until it is needed. One that is in use is not parked.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/park",
    params(("name" = String, Path)),
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn park(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Done> {
    let since = Instant::now();
    let change = host.park(&name, true).await?;
    Ok(done(name, change, since))
}

/// Wakes a parked tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/wake",
    params(("name" = String, Path)),
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn wake(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Done> {
    let since = Instant::now();
    let change = host.park(&name, false).await?;
    Ok(done(name, change, since))
}

/// Applies the current file of a tenant to the running tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/reload",
    params(("name" = String, Path)),
    request_body = StartRequest,
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn reload(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<StartRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    let (change, waiting) = host.reload(&name, enforce(&request)?).await?;
    let Json(answer) = done(name, change, since);
    Ok(Json(Done { needs_restart: !waiting.is_empty(), waiting, ..answer }))
}

/// Makes ready what a tenant's start needs besides its supervisor, which asks for this.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/prepare",
    params(("name" = String, Path)),
    responses((status = 200, body = Done), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn prepare(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Done> {
    let since = Instant::now();
    let change = host.prepare(&name).await?;
    Ok(done(name, change, since))
}

/// How a tenant is waited for.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct WaitParameters {
    /// What it is waited for to be.
    #[serde(default, rename = "for")]
    goal: Goal,
    /// Seconds until the answer is a timeout; 60 if absent.
    timeout_sec: Option<u32>,
}

/// Answers when a tenant is up, or down.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/wait",
    params(("name" = String, Path), WaitParameters),
    responses((status = 200, body = Waited), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn wait(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<WaitParameters>,
) -> Answer<Waited> {
    let seconds = parameters.timeout_sec.unwrap_or(60).min(MAX_WAIT);
    let up = parameters.goal == Goal::Running;
    let state = host.wait(&name, up, Duration::from_secs(seconds.into())).await?;
    let said = host.units().state(&name).filter(|_| !state.is_up());
    Ok(Json(Waited { state, exit_code: said.and_then(|said| said.exit).map(Exit::code) }))
}
