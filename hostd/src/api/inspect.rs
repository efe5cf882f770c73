//! `/v1/tenants/NAME/{plan,explain,stat,logs}`: what can be known of a tenant.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use serde::Deserialize;
use tenant::{
    TenantName,
    config::{Fragment, parse_toml, profile},
    files::sources,
    protocol::{control::StartedPlan, wire::Tty},
    supervisor::terminals::lines::{self, Wanted},
};
use wire::{Code, Explained, Failure, LogLines, PlanAnswer, Stat, StatList, Usage};

use super::{Answer, Named, Parameters, select::Selection};
use crate::{
    explain::{Inputs, explain as explain_all},
    host::{Host, glance::stat_limits},
    records::StoreError,
};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/tenants/{name}/plan", get(plan))
        .route("/v1/tenants/{name}/explain", get(explain))
        .route("/v1/tenants/{name}/stat", get(stat))
        .route("/v1/stat", get(stats))
        .route("/v1/tenants/{name}/logs", get(logs))
}

/// Every kernel step of the tenant's start: of the one that is running, else of the next.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/plan",
    params(("name" = String, Path)),
    responses((status = 200, body = PlanAnswer), (status = "4XX", body = Failure))
))]
pub(super) async fn plan(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<PlanAnswer> {
    let cgroup = host.units().cgroups(&name).v2;
    let next = host.store().plan(&name, Some(&cgroup)).map(|(_, plan)| plan);
    if let Some(StartedPlan { text, plan }) = host.units().started_plan(&name).await {
        let pending = match next {
            Ok(next) => differences(&text, &next.to_string()),
            Err(error) => vec![format!("- it cannot be started again: {}", wire::chain(&error))],
        };
        return Ok(Json(PlanAnswer { text, plan, pending }));
    }
    let next = next?;
    let plan = serde_json::to_value(&next).map_err(|error| Failure::of(Code::Failed, &error))?;
    Ok(Json(PlanAnswer { text: next.to_string(), plan, pending: Vec::new() }))
}

/// The lines that one plan has and another has not.
fn differences(started: &str, next: &str) -> Vec<String> {
    let lacks = |text: &str, line: &&str| !text.lines().any(|other| other == *line);
    let gone = started.lines().filter(|line| lacks(next, line)).map(|line| format!("- {line}"));
    let new = next.lines().filter(|line| lacks(started, line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// Where each value of a tenant comes from.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/explain",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<Explained>), (status = "4XX", body = Failure))
))]
pub(super) async fn explain(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Vec<Explained>> {
    let store = host.store();
    let cgroups = host.units().cgroups(&name);
    let allocation = store.ready(&name)?;
    let text = store.config_text(&name)?;
    let (tenant, plan) = store.plan_text(&name, &text, Some(&cgroups.v2))?;
    let own: Fragment = parse_toml(&text).map_err(StoreError::setting(&name))?;
    let profile = profile::load_profile(store.layout(), &tenant.profile).map_err(StoreError::from)?;
    let manifest = sources::read_manifest(store.layout(), &allocation.pinned).map_err(StoreError::from)?;
    Ok(Json(explain_all(&Inputs {
        own: &own,
        profile: &profile,
        tenant: &tenant,
        allocation: &allocation,
        manifest: &manifest,
        plan: &plan,
        ports: store.nic_table()?.nic.iter().filter(|row| row.tenant == name).count(),
        facts: store.facts(),
        cgroups: &cgroups,
    })))
}

/// What a tenant uses, against its limits.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/stat",
    params(("name" = String, Path)),
    responses((status = 200, body = Stat), (status = 404, body = Failure))
))]
pub(super) async fn stat(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Stat> {
    let record = host.store().record(&name)?;
    let (state, _) = host.state(&name, record.state);
    let limits = host.store().tenant(&name).map(|tenant| tenant.limits).unwrap_or_default();
    Ok(Json(Stat {
        name: name.to_string(),
        state,
        usage: if state.is_up() { host.units().usage(&name) } else { Usage::default() },
        limits: stat_limits(&limits),
        traffic: if state.is_up() { host.traffic(&name).await } else { None },
    }))
}

/// What tenants use, against their limits, and whose the memory of the host is; all tenants, or those with these names.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/stat",
    params(("name" = Option<Vec<String>>, Query, description = "A name, or a pattern of names; all if absent")),
    responses((status = 200, body = StatList), (status = 400, body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn stats(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Answer<StatList> {
    let selection = Selection::of_names("a look at what tenants use", &parameters)?;
    Ok(Json(host.stats(move |name| selection.has_name(name.as_str())).await?))
}

/// Which lines of a log are wanted.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct LogParameters {
    /// `console`, `tty1` or a number.
    tty: Option<String>,
    /// How many lines at most; 100 if absent.
    lines: Option<usize>,
    /// Only what came after this position of an earlier answer.
    after: Option<String>,
}

/// The end of what a tty printed.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/logs",
    params(("name" = String, Path), LogParameters),
    responses((status = 200, body = LogLines), (status = "4XX", body = Failure))
))]
pub(super) async fn logs(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<LogParameters>,
) -> Answer<LogLines> {
    host.store().record(&name)?;
    let tty = match &parameters.tty {
        Some(tty) => tty.parse::<Tty>().map_err(|error| Failure::of(Code::Invalid, &error))?,
        None => Tty::CONSOLE,
    };
    let ttys = host.store().tenant(&name).map_or(Tty::MOST, |tenant| tenant.ttys);
    let read = move || read_log(&host, &name, tty, ttys, &parameters);
    Ok(Json(tokio::task::spawn_blocking(read).await.map_err(|error| Failure::of(Code::Failed, &error))??))
}

/// The lines asked for. A terminal that has no log and that the tenant, of which `ttys` are known, does not
/// have is an error.
fn read_log(
    host: &Host,
    name: &TenantName,
    tty: Tty,
    ttys: u8,
    parameters: &LogParameters,
) -> Result<LogLines, Failure> {
    let dir = host.layout().log(name);
    if lines::end(&dir, tty).is_none() && tty.number() > ttys {
        return Err(no_such_tty(name, tty, ttys));
    }
    let wanted = match &parameters.after {
        Some(after) => Wanted::After(after.parse().map_err(|error| {
            Failure::of(Code::Invalid, &error).help("pass the \"position\" of an earlier answer unchanged")
        })?),
        None => Wanted::Last(parameters.lines.unwrap_or(100)),
    };
    let (lines, position) =
        lines::read(&dir, tty, wanted).map_err(|error| Failure::of(Code::Failed, &error))?;
    Ok(LogLines { lines, position: position.to_string() })
}

fn no_such_tty(name: &TenantName, tty: Tty, ttys: u8) -> Failure {
    let have = match ttys {
        0 => "it has only a console".to_owned(),
        1 => "it has console and tty1".to_owned(),
        most => format!("it has console and tty1 to tty{most}"),
    };
    Failure::new(Code::NotFound, format!("tenant {:?} has no {tty}", name.as_str())).help(have)
}
