//! `/v1/stale` and `/v1/tenants/NAME/stale`: what runs code of an earlier version.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
#[cfg(feature = "openapi")]
use wire::Failure;
use wire::{Stale, StaleList};

use super::{Answer, Named, Parameters, select::Selection};
use crate::host::Host;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/stale", get(all)).route("/v1/tenants/{name}/stale", get(one))
}

/// The stale processes of a running tenant, by unit. Every request is a new look.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/stale",
    params(("name" = String, Path)),
    responses((status = 200, body = Stale), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn one(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Stale> {
    Ok(Json(host.stale(&name).await?))
}

/// The stale processes of running tenants, of all or of those with these names.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/stale",
    params(("name" = Option<Vec<String>>, Query, description = "A name, or a pattern of names; all if absent")),
    responses((status = 200, body = StaleList), (status = 400, body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn all(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Answer<StaleList> {
    let selection = Selection::of_names("a look at what is stale", &parameters)?;
    Ok(Json(host.all_stale(|name| selection.has_name(name)).await))
}
