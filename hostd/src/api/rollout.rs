//! `/v1/rollouts`: many tenants get another version.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    routing::{get, post},
};
use wire::{Code, Failure, Rollout, RolloutRequest};

use super::{Answer, Body, Refusal};
use crate::{host::Host, rollout::record::Wanted};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/rollouts", get(list).post(start))
        .route("/v1/rollouts/{id}", get(show))
        .route("/v1/rollouts/{id}/pause", post(pause))
        .route("/v1/rollouts/{id}/resume", post(resume))
        .route("/v1/rollouts/{id}/abort", post(abort))
        .route("/v1/rollouts/{id}/rollback", post(rollback))
}

/// The rollout that a path names.
pub(super) struct Numbered(u64);

impl<S: Send + Sync> FromRequestParts<S> for Numbered {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|rejection| Failure::new(Code::Invalid, rejection.body_text()))?;
        let id = text
            .parse()
            .map_err(|_| Failure::new(Code::Invalid, format!("{text:?} is not the number of a rollout")));
        Ok(Self(id?))
    }
}

/// All rollouts, the newest first, without their tenants.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/rollouts",
    responses((status = 200, body = Vec<Rollout>), (status = "5XX", body = Failure))
))]
pub(super) async fn list(State(host): State<Arc<Host>>) -> Answer<Vec<Rollout>> {
    Ok(Json(host.rollouts().await?))
}

/// Begins a rollout; it goes on when this is answered.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/rollouts",
    request_body = RolloutRequest,
    responses((status = 200, body = Rollout), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn start(
    State(host): State<Arc<Host>>,
    Body(request): Body<RolloutRequest>,
) -> Answer<Rollout> {
    Ok(Json(host.begin_rollout(request).await?))
}

/// One rollout, with its tenants.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/rollouts/{id}",
    params(("id" = u64, Path)),
    responses((status = 200, body = Rollout), (status = "4XX", body = Failure))
))]
pub(super) async fn show(State(host): State<Arc<Host>>, Numbered(id): Numbered) -> Answer<Rollout> {
    Ok(Json(host.rollout(id).await?))
}

/// Begins nothing more until it is resumed; what is being done is done to its end.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/rollouts/{id}/pause",
    params(("id" = u64, Path)),
    responses((status = 200, body = Rollout), (status = "4XX", body = Failure))
))]
pub(super) async fn pause(State(host): State<Arc<Host>>, Numbered(id): Numbered) -> Answer<Rollout> {
    Ok(Json(host.steer_rollout(id, Wanted::Pause).await?))
}

/// Lets a paused rollout go on.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/rollouts/{id}/resume",
    params(("id" = u64, Path)),
    responses((status = 200, body = Rollout), (status = "4XX", body = Failure))
))]
pub(super) async fn resume(State(host): State<Arc<Host>>, Numbered(id): Numbered) -> Answer<Rollout> {
    Ok(Json(host.steer_rollout(id, Wanted::Run).await?))
}

/// Ends a rollout where it is; tenants that have been moved keep the version, and no channel is moved.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/rollouts/{id}/abort",
    params(("id" = u64, Path)),
    responses((status = 200, body = Rollout), (status = "4XX", body = Failure))
))]
pub(super) async fn abort(State(host): State<Arc<Host>>, Numbered(id): Numbered) -> Answer<Rollout> {
    Ok(Json(host.steer_rollout(id, Wanted::Abort).await?))
}

/// Begins a rollout that gives the tenants of one that has ended what they had.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/rollouts/{id}/rollback",
    params(("id" = u64, Path)),
    request_body = RolloutRequest,
    responses((status = 200, body = Rollout), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn rollback(
    State(host): State<Arc<Host>>,
    Numbered(id): Numbered,
    Body(request): Body<RolloutRequest>,
) -> Answer<Rollout> {
    Ok(Json(host.roll_back_rollout(id, request).await?))
}
