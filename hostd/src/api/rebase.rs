//! `/v1/tenants/NAME/rebase`: another version of its image.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::post};
use serde::Deserialize;
#[cfg(feature = "openapi")]
use wire::Failure;
use wire::{RebasePlan, RebaseRequest, Rebased};

use super::{Answer, Body, Named, Parameters};
use crate::host::Host;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/tenants/{name}/rebase", post(rebase).get(plan))
}

/// Gives a tenant another version of its image, and answers when it has it, or will have it.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/rebase",
    params(("name" = String, Path)),
    request_body = RebaseRequest,
    responses((status = 200, body = Rebased), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn rebase(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<RebaseRequest>,
) -> Answer<Rebased> {
    let target = host.rebase_target(&name, request.to.as_deref()).await?;
    Ok(Json(host.rebase(&name, &target, request.mode, request.cross_image).await?))
}
/// Which version a tenant would get.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct PlanParameters {
    /// As in a request.
    to: Option<String>,
    /// As in a request.
    #[serde(default)]
    cross_image: bool,
}

/// What a rebase would do; nothing is changed.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/rebase",
    params(("name" = String, Path), PlanParameters),
    responses((status = 200, body = RebasePlan), (status = "4XX", body = Failure))
))]
pub(super) async fn plan(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<PlanParameters>,
) -> Answer<RebasePlan> {
    let target = host.rebase_target(&name, parameters.to.as_deref()).await?;
    Ok(Json(host.plan_rebase(&name, &target, parameters.cross_image).await?))
}
