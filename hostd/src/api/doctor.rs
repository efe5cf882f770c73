//! `/v1/doctor`: whether this host is as tenants need it.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};

use super::{Answer, types::Failure};
use crate::{
    doctor::{Diagnosis, examine},
    host::Host,
};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/doctor", get(look).post(repair))
}

/// Looks, and changes nothing.
#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = Diagnosis), (status = "5XX", body = Failure)))]
pub(super) async fn look(State(host): State<Arc<Host>>) -> Answer<Diagnosis> {
    Ok(Json(examine(&host, false).await?))
}

/// Puts right what is ours, without touching tenants.
#[utoipa::path(post, path = "/v1/doctor", responses((status = 200, body = Diagnosis), (status = "5XX", body = Failure)))]
pub(super) async fn repair(State(host): State<Arc<Host>>) -> Answer<Diagnosis> {
    Ok(Json(examine(&host, true).await?))
}
