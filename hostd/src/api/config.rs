//! `/v1/tenants/NAME/config`: the tenant's configuration file.

use std::{sync::Arc, time::Instant};

use axum::{Json, Router, extract::State, routing::get};
use wire::{ConfigChange, ConfigReplace, ConfigText, Done};

use super::{Answer, Body, Named, answer::done};
use crate::{host::Host, units::limits::Enforce};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/tenants/{name}/config", get(read).put(replace).patch(change))
}

/// The text of the file.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/config",
    params(("name" = String, Path)),
    responses((status = 200, body = ConfigText), (status = 404, body = wire::Failure))
))]
pub(super) async fn read(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<ConfigText> {
    Ok(Json(ConfigText { text: host.store().config_text(&name)? }))
}

/// Replaces the file, unless it was changed since the caller read it.
#[cfg_attr(feature = "openapi", utoipa::path(
    put,
    path = "/v1/tenants/{name}/config",
    params(("name" = String, Path)),
    request_body = ConfigReplace,
    responses((status = 200, body = Done), (status = "4XX", body = wire::Failure))
))]
pub(super) async fn replace(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<ConfigReplace>,
) -> Answer<Done> {
    let since = Instant::now();
    let ConfigReplace { base, text, allow_unenforced } = request;
    let (change, needs_restart) =
        host.configure(&name, base, text, Enforce::asked_unless(allow_unenforced)).await?;
    let warnings = super::links::warnings(&host, &name);
    let Json(answer) = done(name, change, since);
    Ok(Json(Done { needs_restart, warnings, ..answer }))
}

/// Sets and removes keys; comments in the file stay.
#[cfg_attr(feature = "openapi", utoipa::path(
    patch,
    path = "/v1/tenants/{name}/config",
    params(("name" = String, Path)),
    request_body = ConfigChange,
    responses((status = 200, body = Done), (status = "4XX", body = wire::Failure))
))]
pub(super) async fn change(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<ConfigChange>,
) -> Answer<Done> {
    let since = Instant::now();
    let ConfigChange { set, unset, allow_unenforced } = request;
    let (change, needs_restart) =
        host.set(&name, set, unset, Enforce::asked_unless(allow_unenforced)).await?;
    let warnings = super::links::warnings(&host, &name);
    let Json(answer) = done(name, change, since);
    Ok(Json(Done { needs_restart, warnings, ..answer }))
}
