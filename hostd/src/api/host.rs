//! `/v1/host`: hostd itself.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::header::CONTENT_TYPE, routing::get};
use wire::HostAnswer;

use super::Answer;
use crate::host::Host;

/// The API as a document of OpenAPI, as `examples/openapi.rs` makes it from the types.
pub const OPENAPI: &str = include_str!("../../../docs/reference/openapi.json");

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/host", get(host))
        .route("/v1/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
}

/// What this hostd is.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/host", responses((status = 200, body = HostAnswer))))]
pub(super) async fn host(State(host): State<Arc<Host>>) -> Answer<HostAnswer> {
    let records = host.store().records();
    Ok(Json(HostAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(host.uptime().as_millis()).unwrap_or(u64::MAX),
        kernel: host.store().facts().kernel.to_string(),
        units: host.units().kind().to_owned(),
        tenants: records.len(),
        running: records.keys().filter(|name| host.units().is_running(name)).count(),
        removing: host.store().trash().len(),
        problem: host.store().check_storage().err().map(|error| wire::chain(&error)),
    }))
}
