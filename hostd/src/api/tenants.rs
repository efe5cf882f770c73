//! `/v1/tenants`: what there is, what is made and removed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tenant::{Allocation, TenantName, files::state::Exit};
use wire::{
    Changed, CreateRequest, Detail, Done, RenameRequest, StatLimits, Summary, TenantState, Waiting, Woken,
    tenant_name,
};

use super::{
    Answer, Body, Named, Parameters,
    answer::{Refusal, done},
    select::Selection,
};
use crate::{
    host::{
        Host, blocking,
        events::state::ended,
        glance::{Glance, stat_limits},
    },
    quiet::Now,
    records::{self, NewTenant, broken::Broken},
    units::{last_console_lines, look::Look},
};

/// How many of a tenant's last console lines are shown with it.
const CONSOLE_LINES: usize = 10;
/// How long a list waits for what units are doing.
const PENDING: Duration = Duration::from_millis(200);

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/v1/tenants", get(list).post(create))
        .route("/v1/tenants/{name}", get(show).delete(destroy))
        .route("/v1/tenants/{name}/rename", post(rename))
}

fn summary(host: &Host, allocation: &Allocation, glance: &Glance, look: Look) -> Summary {
    let state = Host::state_of(allocation.state, &look);
    let Look { said, memory_bytes, .. } = look;
    let init = said.as_ref().and_then(|said| said.init);
    let said = said.filter(|_| state.is_up());
    let claims = host.store().claims().get(&allocation.name).cloned();
    let shown = claims.map(|claims| claims.shown(allocation)).unwrap_or_default();
    let [ipv4, ipv6] = shown.map(|address| address.map(|a| a.to_string()).unwrap_or_default());
    let booted = said.as_ref().and_then(|said| said.digest);
    let parked = said.as_ref().and_then(|said| said.parked);
    Summary {
        name: allocation.name.to_string(),
        state,
        addresses: shown.iter().flatten().map(ToString::to_string).collect(),
        ipv4,
        ipv6,
        image: allocation.pinned.image.to_string(),
        version: allocation.pinned.digest.short(),
        kind: glance.of.as_ref().map(|(kind, _)| kind.as_str().to_owned()),
        profile: glance.of.as_ref().map(|(_, profile)| profile.to_string()),
        group: glance.group.as_ref().map(|group| group.as_str().to_owned()),
        labels: glance.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        limits: stat_limits(&glance.limits),
        pending: state.is_up()
            && (!glance.waiting.is_empty()
                || booted.is_some_and(|booted| booted != allocation.pinned.digest)),
        started_ms: said.as_ref().map(|said| said.started_ms),
        ready_us: said.as_ref().and_then(|said| said.ready_us),
        exec_us: said.as_ref().and_then(|said| said.exec_us),
        parked_ms: parked.map(|parked| parked.since_ms),
        parked_way: parked.map(|parked| if parked.stopped { "stopped" } else { "frozen" }.to_owned()),
        woken: said
            .as_ref()
            .and_then(|said| said.woken)
            .map(|woken| Woken { at_ms: woken.at_ms, why: woken.why.to_string() }),
        memory_bytes,
        stale: host.stale_count(&allocation.name, init),
        unit_status: None,
        broken: None,
    }
}

/// A tenant whose record is damaged, as far as it is known.
fn broken_summary(host: &Host, name: &TenantName, broken: &Broken) -> Summary {
    let address = |four: bool| {
        let found = broken.holding.addresses.iter().find(|address| address.is_ipv4() == four);
        found.map(ToString::to_string).unwrap_or_default()
    };
    Summary {
        name: name.to_string(),
        state: TenantState::Broken,
        ipv4: address(true),
        ipv6: address(false),
        addresses: broken.holding.addresses.iter().map(ToString::to_string).collect(),
        image: String::new(),
        version: String::new(),
        kind: None,
        profile: None,
        group: None,
        labels: BTreeMap::new(),
        limits: StatLimits::default(),
        pending: false,
        started_ms: None,
        ready_us: None,
        exec_us: None,
        parked_ms: None,
        parked_way: None,
        woken: None,
        memory_bytes: host.units().memory(name),
        stale: None,
        unit_status: None,
        broken: Some(broken.reason.clone()),
    }
}

/// Tenants, sorted by name. Every parameter may be repeated: a tenant is listed that fits one of each, and all labels.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants",
    params(
        ("name" = Option<Vec<String>>, Query, description = "A name, or a pattern of names: `web*`"),
        ("state" = Option<Vec<String>>, Query, description = "A state"),
        ("image" = Option<Vec<String>>, Query, description = "`IMAGE`, a pattern, or `IMAGE@VERSION`"),
        ("kind" = Option<Vec<String>>, Query, description = "A kind, or a pattern"),
        ("profile" = Option<Vec<String>>, Query, description = "A profile, or a pattern"),
        ("group" = Option<Vec<String>>, Query, description = "A group, or a pattern"),
        ("label" = Option<Vec<String>>, Query, description = "`NAME`, `NAME=PATTERN` or `NAME!=PATTERN`"),
    ),
    responses((status = 200, body = Vec<Summary>), (status = 400, body = wire::Failure))
))]
pub(super) async fn list(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Result<Rows, Refusal> {
    let selection = Selection::parse(&parameters)?;
    // A process that only looks does not wait for systemd.
    let pending = tokio::time::timeout(PENDING, host.units().pending()).await;
    let pending = pending.ok().and_then(Result::ok).unwrap_or_default();
    let broken = host.store().broken();
    let selection = Arc::new(selection);
    let (named, selected) = (selection.clone(), selection.clone());
    let is_named = move |name: &TenantName| named.has_name(name.as_str());
    // Each by itself, so that all processors write the answer.
    let row = move |host: &Arc<Host>, record: &Allocation, glance: &Arc<Glance>, look: Look| {
        let mut summary = summary(host, record, glance, look);
        if let Some(pending) = pending.get(&record.name) {
            if pending.starts && matches!(summary.state, TenantState::Stopped | TenantState::Failed) {
                summary.state = TenantState::Starting;
            }
            summary.unit_status.clone_from(&pending.status);
        }
        selected.has(&summary).then(|| Row::new(summary))
    };
    let mut rows: Vec<Row> = host.each(is_named, row).await?.into_iter().flatten().collect();
    let broken = broken.iter().map(|(name, broken)| broken_summary(&host, name, broken));
    rows.extend(broken.filter(|summary| selection.has(summary)).map(Row::new));
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Rows(rows))
}

/// A tenant of a list, as JSON.
struct Row {
    name: String,
    json: Vec<u8>,
}

/// The longest that a tenant of a list usually is, bytes.
const ROW: usize = 512;

impl Row {
    fn new(summary: Summary) -> Self {
        let mut json = Vec::with_capacity(ROW);
        // What is in memory can be written to memory: a summary has no keys but words.
        let written = serde_json::to_writer(&mut json, &summary);
        debug_assert!(written.is_ok(), "{written:?}");
        Self { name: summary.name, json }
    }
}

/// A list, as JSON.
pub(super) struct Rows(Vec<Row>);

impl IntoResponse for Rows {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(self.0.iter().map(|row| row.json.len() + 1).sum::<usize>() + 2);
        body.push(b'[');
        for row in self.0 {
            if body.len() > 1 {
                body.push(b',');
            }
            body.extend(row.json);
        }
        body.push(b']');
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Makes a tenant; the same request again changes nothing.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants",
    request_body = CreateRequest,
    responses((status = 200, body = Done), (status = "4XX", body = wire::Failure), (status = "5XX", body = wire::Failure))
))]
pub(super) async fn create(
    State(host): State<Arc<Host>>,
    Body(request): Body<CreateRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    let name = tenant_name(&request.name)?;
    let mut set = Vec::new();
    set.extend(request.profile.map(|profile| format!("profile={}", toml::Value::from(profile))));
    set.extend(request.image.map(|image| format!("image={}", toml::Value::from(image))));
    set.extend(request.set);
    let (change, mut warnings) = host.create(&name, NewTenant { set }).await?;
    warnings.extend(super::links::warnings(&host, &name));
    let Json(answer) = done(name, change, since);
    Ok(Json(Done { warnings, ..answer }))
}

/// One tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}",
    params(("name" = String, Path)),
    responses((status = 200, body = Detail), (status = 404, body = wire::Failure))
))]
pub(super) async fn show(State(host): State<Arc<Host>>, Named(name): Named) -> Answer<Detail> {
    let allocation = host.store().record(&name)?;
    let glances = host.glances(Some(&name)).await?;
    let glance = glances.get(&name).cloned().unwrap_or_default();
    let mut summary = summary(&host, &allocation, &glance, host.units().look(&name, Now::default()));
    let is_up = summary.state.is_up();
    let said = host.units().state(&name);
    let now = said.as_ref().filter(|_| is_up);
    let (tenant, problem) = match host.store().tenant(&name) {
        Ok(tenant) => (Some(tenant), None),
        Err(error) => (None, Some(wire::chain(&error))),
    };
    let digest = allocation.pinned.digest;
    let disk = host.disk_usage(&allocation).await;
    let exit = said.as_ref().and_then(|said| said.exit).map(ended);
    let nics = super::nics::interfaces(&host, &name).unwrap_or_default();
    let traffic = if is_up { host.traffic(&name).await } else { None };
    let file = tenant.as_ref().map(|tenant| tenant.limits.clone()).unwrap_or_default();
    let (unit, unit_limits) = match host.units().report(&name, &file).await {
        Ok(Some((unit, limits))) => (Some(unit), limits),
        Ok(None) => (None, Vec::new()),
        Err(error) => {
            log::warn!("tenant {:?}: {}", name.as_str(), wire::chain(&error));
            (None, Vec::new())
        }
    };
    let booted = now.and_then(|said| said.digest).filter(|booted| *booted != digest);
    let mut waiting = if is_up { glance.waiting.clone() } else { Vec::new() };
    waiting.extend(booted.map(|booted| Waiting {
        key: "version".to_owned(),
        running: Some(booted.short()),
        next: Some(digest.short()),
    }));
    summary.pending = !waiting.is_empty();
    let (layout, own) = (host.layout().clone(), name.clone());
    let console = blocking(move || last_console_lines(&layout, &own, CONSOLE_LINES)).await?;
    Ok(Json(Detail {
        unit,
        unit_limits,
        since: now.map(|said| records::date_ms(said.started_ms / 1000 * 1000)),
        usage: is_up.then(|| host.units().usage(&name)),
        waiting,
        console,
        autostart: tenant.as_ref().map(|tenant| tenant.autostart),
        nics,
        ports: tenant
            .as_ref()
            .map(|tenant| tenant.forwards.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        net_rate: tenant.as_ref().and_then(|tenant| tenant.net_rate).map(|rate| rate.to_string()),
        hostname: tenant.map(|tenant| tenant.hostname),
        hostname_inside: host.store().hostname_inside(&name),
        problem,
        uuid: allocation.uuid,
        index: allocation.index.get(),
        uids: allocation.uid_base.to_string(),
        created: allocation.created,
        generation: allocation.generation,
        digest: digest.to_string(),
        booted_digest: booted.map(|digest| digest.to_string()),
        supervisor_pid: now.map(|said| said.supervisor.pid),
        init_pid: now.and_then(|said| said.init).map(|init| init.pid),
        boots: now.map(|said| said.boots),
        status: now.and_then(|said| said.status.clone()),
        exit_code: said.as_ref().filter(|_| !is_up).and_then(|said| said.exit).map(Exit::code),
        exit: if is_up { None } else { exit },
        failure: said
            .as_ref()
            .filter(|_| summary.state == TenantState::Failed)
            .and_then(|said| Some(said.failure.as_ref()?.message.clone())),
        killed: said.as_ref().and_then(|said| said.killed.clone()),
        oom_kills: said.as_ref().and_then(|said| said.oom_kills),
        traffic,
        disk,
        cgroup: now.map(|said| said.cgroup.clone()),
        summary,
    }))
}

/// Gives a tenant that is down another name. Its number, uid range, addresses, directories and log stay.
#[cfg_attr(feature = "openapi", utoipa::path(
    post,
    path = "/v1/tenants/{name}/rename",
    params(("name" = String, Path)),
    request_body = RenameRequest,
    responses((status = 200, body = Done), (status = "4XX", body = wire::Failure))
))]
pub(super) async fn rename(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Body(request): Body<RenameRequest>,
) -> Answer<Done> {
    let since = Instant::now();
    let new = tenant_name(&request.name)?;
    let (change, warnings) = host.rename(&name, &new).await?;
    let Json(answer) = done(new, change, since);
    Ok(Json(Done { warnings, ..answer }))
}

/// How a tenant is removed.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct DestroyParameters {
    /// Kill it first if it is running, and remove it even if its record is damaged.
    #[serde(default)]
    force: bool,
}

/// Removes a tenant and everything it stored; answers when its last file is gone. Its name is free before that, and
/// no other process waits.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete,
    path = "/v1/tenants/{name}",
    params(("name" = String, Path), DestroyParameters),
    responses((status = 200, body = Done), (status = "4XX", body = wire::Failure), (status = "5XX", body = wire::Failure))
))]
pub(super) async fn destroy(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<DestroyParameters>,
) -> Answer<Done> {
    let since = Instant::now();
    host.destroy(&name, parameters.force).await?;
    Ok(done(name, Changed::Changed, since))
}
