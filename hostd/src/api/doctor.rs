//! `/v1/doctor`: whether this host is as tenants need it.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use serde::Deserialize;
use tenant::model::ids::Index;
use wire::{Code, Failure, doctor::Diagnosis};

use super::{Answer, Parameters};
use crate::{doctor::examine, host::Host};

/// What is to be looked at.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct DoctorParameters {
    /// For how many tenants in all, 1 to 65533; those that exist if absent.
    tenants: Option<u32>,
}

impl DoctorParameters {
    fn check(self) -> Result<Option<u32>, Failure> {
        match self.tenants {
            Some(tenants) if !(1..=Index::MAX).contains(&tenants) => {
                let text = format!("{tenants} tenants is outside 1 to {}", Index::MAX);
                Err(Failure::new(Code::Invalid, text).help("use a number in that range"))
            }
            tenants => Ok(tenants),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/doctor", get(look).post(repair))
}

/// Looks, and changes nothing.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/doctor",
    params(DoctorParameters),
    responses((status = 200, body = Diagnosis), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn look(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<DoctorParameters>,
) -> Answer<Diagnosis> {
    Ok(Json(examine(&host, false, parameters.check()?).await?))
}

/// Repairs what belongs to Tenantry, without affecting tenants.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/doctor",
    params(DoctorParameters),
    responses((status = 200, body = Diagnosis), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn repair(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<DoctorParameters>,
) -> Answer<Diagnosis> {
    Ok(Json(examine(&host, true, parameters.check()?).await?))
}
