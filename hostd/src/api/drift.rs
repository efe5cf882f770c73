//! `/v1/tenants/NAME/drift`: files of a tenant that hide files of its image, and what becomes of them.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::Deserialize;
#[cfg(feature = "openapi")]
use wire::Failure;
use wire::{Drift, DriftMergeRequest, DriftMerged, DriftView};

use super::{Answer, Body, Named, Parameters};
use crate::host::Host;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/tenants/{name}/drift", get(list))
        .route("/v1/tenants/{name}/drift/view", get(view))
        .route("/v1/tenants/{name}/drift/merge", post(merge))
}

/// The files of a tenant that hide files of its image, those that hide a fix first.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/drift",
    params(("name" = String, Path)),
    responses((status = 200, body = Drift), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn list(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Drift> {
    Ok(Json(host.drift(&name).await?))
}

/// Of which path.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct ViewParameters {
    /// The path inside, absolute.
    path: String,
}

/// Three views of a path: the image's file in the version that the tenant's own comes from, the image's file now, the
/// tenant's own.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/drift/view",
    params(("name" = String, Path), ViewParameters),
    responses((status = 200, body = DriftView), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn view(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<ViewParameters>,
) -> Answer<DriftView> {
    Ok(Json(host.drift_view(&name, &parameters.path).await?))
}

/// Merges a file of a tenant's own with that of its image.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/drift/merge",
    params(("name" = String, Path)),
    request_body = DriftMergeRequest,
    responses((status = 200, body = DriftMerged), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn merge(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<DriftMergeRequest>,
) -> Answer<DriftMerged> {
    Ok(Json(host.merge(&name, request).await?))
}
