//! `/v1/tenants/NAME/rebase`: another version of its image.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::post};
#[cfg(feature = "openapi")]
use wire::Failure;
use wire::{RebaseRequest, Rebased};

use super::{Answer, Body, Named};
use crate::host::Host;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/tenants/{name}/rebase", post(rebase))
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
