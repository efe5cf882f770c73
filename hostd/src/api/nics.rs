//! `/v1/nics`: NICs and VLANs of the host, and the tenants that have them.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use axum::{Json, Router, extract::State, routing::get};
use serde::Deserialize;
use tenant::{
    TenantName,
    config::Fragment,
    model::{
        net::{InvalidWord, LinkName},
        nic_table::NicRow,
    },
    plan::LinkPlan,
};
use wire::{
    Code, Done, Failure, HostNic, HostNicState, HostNics, Interface, NicAssignment, Source, tenant_name,
};

use super::{
    Answer, Body, Parameters,
    answer::done,
    links::{has, links, warnings},
};
use crate::{
    assign::{claims::Part, nic_table::Given},
    host::{Host, blocking},
    records::StoreError,
};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/nics", get(list).put(give).delete(take))
}

/// What is listed.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    /// Also show unassigned NICs.
    #[serde(default)]
    all: bool,
}

/// NICs and VLANs of the host that tenants have.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/nics",
    params(ListParameters),
    responses((status = 200, body = HostNics), (status = "4XX", body = Failure))
))]
pub(super) async fn list(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Answer<HostNics> {
    let look = move || -> Result<HostNics, Failure> {
        let given = host.store().given()?;
        let here = links()?;
        let mut answer = HostNics::default();
        for one in &given {
            if !one.is_known {
                let what = nic_text(one.link.as_str(), one.part);
                answer.warnings.push(format!(
                    "nics.toml assigns {what} to {:?}, but there is no such tenant",
                    one.tenant.as_str()
                ));
            }
            answer.nics.push(nic(&host, one, &here));
        }
        if parameters.all {
            let known: BTreeSet<String> = given.iter().map(|one| one.link.to_string()).collect();
            let own = own_links(&host);
            let free = here.iter().filter(|link| !known.contains(*link) && !own.contains(*link));
            answer.nics.extend(free.map(|link| HostNic {
                link: link.clone(),
                vlan: None,
                state: HostNicState::Free,
                tenant: None,
                name: None,
                addresses: Vec::new(),
                source: None,
            }));
        }
        Ok(answer)
    };
    Ok(Json(blocking(look).await??))
}

/// Gives a NIC, or a VLAN of one, to a tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    put,
    path = "/v1/nics",
    request_body = NicAssignment,
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn give(State(host): State<Arc<Host>>, Body(request): Body<NicAssignment>) -> Answer<Done> {
    let since = Instant::now();
    let word = |error: InvalidWord| Failure::of(Code::Invalid, &error);
    let row = NicRow {
        link: request.link.parse().map_err(word)?,
        vlan: request.vlan,
        tenant: tenant_name(&request.tenant)?,
        name: request.name.map(|name| name.parse()).transpose().map_err(word)?,
        addresses: request
            .addresses
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()
            .map_err(word)?,
    };
    let what = nic_text(row.link.as_str(), row.vlan.map_or(Part::Whole, Part::Vlan));
    let work = move || -> Result<Done, Failure> {
        let change = host.store().set_nic(&row, |tenant, link, part| has(&host, tenant, link, part))?;
        let part = row.vlan.map_or(Part::Whole, Part::Vlan);
        let waits = !has(&host, &row.tenant, &row.link, part);
        let Json(answer) = done(what, change, since);
        let needs_restart = waits && host.units().is_running(&row.tenant);
        Ok(Done { needs_restart, warnings: warnings(&host, &row.tenant), ..answer })
    };
    Ok(Json(blocking(work).await??))
}

/// Which NIC is meant.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct NicParameters {
    /// The NIC.
    link: String,
    /// Only this VLAN of it.
    vlan: Option<u16>,
}

/// Takes a NIC, or a VLAN of one, away from its tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete,
    path = "/v1/nics",
    params(NicParameters),
    responses((status = 200, body = Done), (status = "4XX", body = Failure))
))]
pub(super) async fn take(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<NicParameters>,
) -> Answer<Done> {
    let since = Instant::now();
    let link: LinkName =
        parameters.link.parse().map_err(|error: InvalidWord| Failure::of(Code::Invalid, &error))?;
    let vlan = parameters.vlan;
    let what = nic_text(link.as_str(), vlan.map_or(Part::Whole, Part::Vlan));
    let work = move || -> Result<Done, Failure> {
        let has = |tenant: &TenantName, link: &LinkName, part| has(&host, tenant, link, part);
        let change = host.store().unset_nic(&link, vlan, has)?;
        Ok(done(what, change, since).0)
    };
    Ok(Json(blocking(work).await??))
}

/// `eth1`, or `eth1.100` for its VLAN 100.
fn nic_text(link: &str, part: Part) -> String {
    match part {
        Part::Vlan(id) => format!("{link}.{id}"),
        Part::Whole | Part::Shared => link.to_owned(),
    }
}

fn nic(host: &Host, given: &Given, here: &BTreeSet<String>) -> HostNic {
    let state = if has(host, &given.tenant, &given.link, given.part) {
        HostNicState::Held
    } else if !here.contains(given.link.as_str()) {
        HostNicState::Missing
    } else if given.is_known {
        HostNicState::Waiting
    } else {
        HostNicState::Free
    };
    HostNic {
        link: given.link.to_string(),
        vlan: if let Part::Vlan(id) = given.part { Some(id) } else { None },
        state,
        tenant: Some(given.tenant.to_string()),
        name: given.name.as_ref().map(ToString::to_string),
        addresses: given.addresses.iter().map(ToString::to_string).collect(),
        source: Some(if given.in_table { Source::Nics } else { Source::Tenant }),
    }
}

/// What tenants stand on or are reached by: bridges, parents, and the host's ends of their veth pairs.
fn own_links(host: &Host) -> BTreeSet<String> {
    let mut own = BTreeSet::new();
    let records = host.store().records();
    for (name, claims) in host.store().claims().iter() {
        own.extend(claims.links().iter().map(|one| one.link.to_string()));
        let Some(record) = records.get(name) else { continue };
        own.extend((0..64).map(|number| tenant::plan::host_link(host.layout(), record.index, number)));
    }
    own
}

/// The interfaces of a tenant, as its next start makes them.
///
/// # Errors
/// Whatever keeps it from being planned.
pub(super) fn interfaces(host: &Host, name: &TenantName) -> Result<Vec<Interface>, StoreError> {
    let text = host.store().config_text(name)?;
    let (_, plan) = host.store().plan_text(name, &text, None)?;
    let own: Option<Fragment> = tenant::config::parse_toml(&text).ok();
    let in_file = if own.is_some_and(|own| own.nic.is_some()) { Source::Tenant } else { Source::Profile };
    let rows = host.store().nic_table()?.nic.iter().filter(|row| row.tenant == *name).count();
    let from_table = plan.nics.len().saturating_sub(rows);
    let interface = |(number, nic): (usize, &tenant::plan::NicPlan)| {
        let (mode, link, vlan) = match &nic.link {
            LinkPlan::Routed { .. } => ("routed", None, None),
            LinkPlan::Bridge { bridge, .. } => ("bridge", Some(bridge), None),
            LinkPlan::Macvlan { parent, .. } => ("macvlan", Some(parent), None),
            LinkPlan::Phys { nic, .. } => ("phys", Some(nic), None),
            LinkPlan::Vlan { parent, id, .. } => ("vlan", Some(parent), Some(*id)),
        };
        Interface {
            name: nic.name.to_string(),
            mode: mode.to_owned(),
            link: link.map(ToString::to_string),
            vlan,
            host_name: nic.port().map(|port| port.host_name.clone()),
            mac: nic.mac.map(|mac| mac.to_string()),
            addresses: nic.addresses.iter().map(ToString::to_string).collect(),
            gateways: nic.gateways.iter().map(ToString::to_string).collect(),
            source: if number < from_table { in_file } else { Source::Nics },
        }
    };
    Ok(plan.nics.iter().enumerate().map(interface).collect())
}
