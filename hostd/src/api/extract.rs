//! What a request says, checked: its body, its parameters, the tenant that its path names.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use tenant::TenantName;
use wire::{Code, Failure, tenant_name};

use super::answer::Refusal;

/// How long a body may take to arrive.
pub(super) const BODY: Duration = Duration::from_secs(30);

/// A JSON body whose faults are told as a [`Failure`]; one that does not arrive in time is one of them.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match tokio::time::timeout(BODY, Json::from_request(request, state)).await {
            Ok(read) => Ok(Self(read.map(|Json(body)| body)?)),
            Err(_) => {
                let text = format!("the body of the request did not arrive within {} s", BODY.as_secs());
                Err(Failure::new(Code::Timeout, text).into())
            }
        }
    }
}

impl From<rejection::JsonRejection> for Refusal {
    fn from(rejection: rejection::JsonRejection) -> Self {
        Self(Failure::new(Code::Invalid, rejection.body_text()))
    }
}

/// Query parameters whose faults are told as a [`Failure`].
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(Refusal))]
pub(super) struct Parameters<T>(pub(super) T);

impl From<rejection::QueryRejection> for Refusal {
    fn from(rejection: rejection::QueryRejection) -> Self {
        Self(Failure::new(Code::Invalid, rejection.body_text()))
    }
}

/// The tenant that a path names.
pub(super) struct Named(pub(super) TenantName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = path.map_err(|rejection| Failure::new(Code::Invalid, rejection.body_text()))?;
        Ok(Self(tenant_name(&name)?))
    }
}
