//! `stale`: which units of tenants run code of an earlier version.

use std::{collections::BTreeSet, process::ExitCode};

use clap::Args;
use client::Client;
use serde::Serialize;
use wire::{Failure, NotLooked, Stale, StaleKind, StaleList, StaleRemedy, StaleUnit};

use super::{Context, many, output, select::Selection};

/// Where looks at several tenants are asked for.
const LIST: &str = "/v1/stale";
/// The exit code of `--exit-code` where something is stale.
const STALE: u8 = 5;

/// Show which units of tenants run code of an earlier version of their image
///
/// Without names it is for all tenants that are running. `tenantctl refresh` restarts what is shown.
#[derive(Debug, Args)]
pub(super) struct ListStale {
    #[command(flatten)]
    selection: Selection,
    /// Exit with 5 if something is stale
    #[arg(long)]
    exit_code: bool,
}

/// A look at the selected tenants.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) list: StaleList,
    /// Whether the command line names one tenant.
    pub(super) is_one: bool,
}

/// Looks at the selected tenants, in one request. Of several, those that are down are left out.
pub(super) async fn look(client: &Client, selection: &Selection) -> Result<Looked, Failure> {
    if selection.is_everything() {
        let list: StaleList = client.get(LIST).await?;
        if !list.tenants.is_empty() || !list.failed.is_empty() {
            return Ok(Looked { list, is_one: false });
        }
        // None is running, or there is none.
    }
    let chosen = selection.resolve(client).await?;
    if let (true, [name]) = (chosen.is_one, &chosen.names[..]) {
        let stale = one(client, name).await?;
        return Ok(Looked { list: StaleList { tenants: vec![stale], failed: Vec::new() }, is_one: true });
    }
    let mut list: StaleList = client.get(&of_names(&chosen.names)).await?;
    let wanted: BTreeSet<&str> = chosen.names.iter().map(String::as_str).collect();
    list.tenants.retain(|tenant| wanted.contains(tenant.name.as_str()));
    list.failed.retain(|failed| wanted.contains(failed.name.as_str()));
    // A plain name may be that of a tenant that there is not, or of one that is down: it is said, and which of both.
    let seen: BTreeSet<String> = list.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    for name in chosen.names.iter().filter(|name| selection.names.contains(name) && !seen.contains(*name)) {
        match one(client, name).await {
            Ok(stale) => list.tenants.push(stale),
            Err(error) if list.failed.iter().all(|failed| failed.name != *name) => {
                list.failed.push(NotLooked { name: name.clone(), error });
            }
            Err(_) => {}
        }
    }
    list.tenants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Looked { list, is_one: false })
}

/// Where a look at these tenants alone is asked for; at all, where that takes more than one request.
fn of_names(names: &[String]) -> String {
    if names.len() > wire::MOST_PARAMETERS {
        return LIST.to_owned();
    }
    let names: Vec<_> = names.iter().map(|name| format!("name={}", client::segment(name))).collect();
    format!("{LIST}?{}", names.join("&"))
}

/// Looks at one tenant.
pub(super) async fn one(client: &Client, name: &str) -> Result<Stale, Failure> {
    client.get(&client::tenant(name, "/stale")).await
}

impl ListStale {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let Looked { list, is_one } = look(&context.client, &self.selection).await?;
        if !context.output.json {
            output::write(&text(&list.tenants));
            list.failed.iter().for_each(|failed| context.output.failure(&failed.error));
        } else if let (true, [stale]) = (is_one, &list.tenants[..]) {
            context.output.value(stale);
        } else {
            context.output.value(&as_list(&list.tenants, &list.failed));
        }
        if !list.failed.is_empty() {
            return Ok(many::worst(list.failed.iter().map(|failed| &failed.error)));
        }
        let is_stale = list.tenants.iter().any(|tenant| !tenant.units.is_empty());
        Ok(if self.exit_code && is_stale { ExitCode::from(STALE) } else { ExitCode::SUCCESS })
    }
}

/// As JSON: what is answered for one tenant, or its name and the error, by name.
pub(super) fn as_list(tenants: &[impl Serialize], failed: &[NotLooked]) -> Vec<serde_json::Value> {
    let value = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
    let mut list: Vec<_> = tenants.iter().map(|tenant| value(serde_json::to_value(tenant))).collect();
    list.extend(failed.iter().map(|failed| value(serde_json::to_value(failed))));
    list.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    list
}

/// A row for each unit, and a line for all.
fn text(tenants: &[Stale]) -> String {
    let stale: Vec<&Stale> = tenants.iter().filter(|tenant| !tenant.units.is_empty()).collect();
    let rows: Vec<Vec<String>> = stale
        .iter()
        .flat_map(|tenant| {
            tenant.units.iter().map(|unit| {
                let (pids, files) = (pids(unit), files(unit));
                let remedy = remedy(tenant, unit);
                [&tenant.name, &unit.title(), &pids, &files, &remedy].map(|cell| output::clean(cell)).to_vec()
            })
        })
        .collect();
    let table = match rows.is_empty() {
        true => String::new(),
        false => output::table(&["TENANT", "UNIT", "PIDS", "FILE", "REMEDY"], rows, &[]),
    };
    let said = match (stale.len(), tenants) {
        (0, [one]) => format!("{}: nothing is stale", output::clean(&one.name)),
        (count, _) => format!("{count} of {} running tenants have stale units", tenants.len()),
    };
    format!("{table}{said}\n")
}

/// The ids inside.
fn pids(unit: &StaleUnit) -> String {
    const SHOWN: usize = 3;
    let ids: Vec<String> =
        unit.processes.iter().take(SHOWN).map(|process| process.inside.to_string()).collect();
    shortened(ids.join(","), unit.processes.len(), SHOWN)
}

fn files(unit: &StaleUnit) -> String {
    let paths: BTreeSet<(bool, &str)> = unit
        .processes
        .iter()
        .flat_map(|process| &process.files)
        .map(|file| (file.role == wire::StaleRole::Library, file.path.as_str()))
        .collect();
    let first = paths.first().map_or("-", |(_, path)| path);
    shortened(first.to_owned(), paths.len(), 1)
}

fn shortened(text: String, all: usize, shown: usize) -> String {
    if all > shown { format!("{text} +{}", all - shown) } else { text }
}

/// What an admin does about a unit.
pub(super) fn remedy(tenant: &Stale, unit: &StaleUnit) -> String {
    let name = &tenant.name;
    match unit.remedy {
        StaleRemedy::RestartUnit
        | StaleRemedy::DaemonReexec
        | StaleRemedy::TelinitU
        | StaleRemedy::RcService
        | StaleRemedy::Sv => format!("tenantctl refresh {name}"),
        StaleRemedy::LogOut if unit.kind == StaleKind::Command => "end the command".to_owned(),
        StaleRemedy::LogOut => format!("the user logs out, or: tenantctl refresh {name} --sessions"),
        StaleRemedy::RestartProcess => format!("restart it inside, or: tenantctl restart {name}"),
        StaleRemedy::RestartTenant => format!("tenantctl restart {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(units: serde_json::Value) -> Stale {
        let value = serde_json::json!({"name": "web", "version": "debian@0123456789ab", "units": units});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_unit_is_shown_with_its_program_before_its_libraries() {
        let file = |role, path| serde_json::json!({"role": role, "path": path, "version": "debian@00"});
        let process = |inside: u32, files| serde_json::json!({"pid": 1, "inside": inside, "command": "sshd", "files": files});
        let files = serde_json::json!([file("library", "/usr/lib/a.so"), file("program", "/usr/sbin/sshd")]);
        let processes: Vec<_> = (1..=5).map(|inside| process(inside, files.clone())).collect();
        let tenant = stale(serde_json::json!([
            {"unit": "ssh.service", "kind": "unit", "remedy": "restart-unit", "processes": processes},
            {"kind": "init", "remedy": "daemon-reexec", "processes": [process(1, files)]},
        ]));
        assert_eq!(
            text(&[tenant]),
            "TENANT  UNIT         PIDS      FILE               REMEDY\n\
             web     ssh.service  1,2,3 +2  /usr/sbin/sshd +1  tenantctl refresh web\n\
             web     init         1         /usr/sbin/sshd +1  tenantctl refresh web\n\
             1 of 1 running tenants have stale units\n"
        );
        assert_eq!(text(&[stale(serde_json::json!([]))]), "web: nothing is stale\n");
    }
}
