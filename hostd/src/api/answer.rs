//! What a handler answers, and how a failure is told.

use std::time::Instant;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use wire::{Changed, Done, Failure};

use crate::records::{Change, StoreError};

/// What every handler returns.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// A failure as an answer.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = Message(self.0.message.clone());
        let mut response = (status, Json(self.0)).into_response();
        response.extensions_mut().insert(message);
        response
    }
}

/// The message of a failure, kept with its response for those that cannot read that any more.
#[derive(Clone, Debug)]
pub(super) struct Message(pub(super) String);

impl From<Change> for Changed {
    fn from(change: Change) -> Self {
        match change {
            Change::Created => Self::Created,
            Change::Changed => Self::Changed,
            Change::Unchanged => Self::Unchanged,
        }
    }
}

/// The answer to a request that was made at `since`.
pub(super) fn done(name: impl ToString, result: impl Into<Changed>, since: Instant) -> Json<Done> {
    Json(Done {
        name: name.to_string(),
        result: result.into(),
        needs_restart: false,
        waiting: Vec::new(),
        warnings: Vec::new(),
        killed: None,
        took_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
    })
}
