//! `refresh`: what is stale in tenants is restarted by their own init: units first, then init executes itself again.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::{ExitCode, Stdio},
    time::Duration,
};

use clap::Args;
use client::Client;
use serde::Serialize;
use tenant::Layout;
use tokio::time::{Instant, sleep};
use wire::{Code, Failure, NotLooked, Stale, StaleKind, StaleRemedy, StaleUnit};

use super::{
    Context, many, output,
    select::Selection,
    stale::{self, Looked},
};

/// How long what was restarted may take until nothing of it is stale.
const SETTLE: Duration = Duration::from_secs(10);
/// Between two looks meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// The exit code where something is still stale.
const LEFT: u8 = 4;

/// Restart what is stale in tenants: units, then init executes itself again
///
/// Nothing that is not stale is restarted. Sessions of users are ended only where that is asked for; units whose restart
/// would break others, such as dbus.service, are named and left.
#[derive(Debug, Args)]
pub(super) struct Refresh {
    #[command(flatten)]
    selection: Selection,
    /// End stale sessions of users too
    #[arg(long)]
    sessions: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

/// What became of one tenant.
#[derive(Clone, Debug, Serialize)]
struct Refreshed {
    name: String,
    /// The version that it runs.
    version: String,
    /// What was restarted.
    restarted: Vec<String>,
    /// What is still stale, and why.
    left: Vec<Left>,
}

#[derive(Clone, Debug, Serialize)]
struct Left {
    unit: String,
    remedy: StaleRemedy,
    /// What its restart said.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    what_to_do: String,
}

impl Refresh {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let Looked { list, is_one } = stale::look(&context.client, &self.selection).await?;
        let with_sessions = self.with_sessions(&list.tenants)?;
        let (mut done, mut failed) = (Vec::new(), list.failed);
        for tenant in list.tenants {
            let name = tenant.name.clone();
            match refresh(context, tenant, with_sessions).await {
                Ok(one) => {
                    if !context.output.json {
                        output::write(&text(&one));
                    }
                    done.push(one);
                }
                Err(failure) if is_one => return Err(failure),
                Err(error) => failed.push(NotLooked { name, error }),
            }
        }
        match (context.output.json, is_one, &done[..]) {
            (true, true, [one]) => context.output.value(one),
            (true, ..) => context.output.value(&stale::as_list(&done, &failed)),
            (false, ..) => failed.iter().for_each(|failed| context.output.failure(&failed.error)),
        }
        if !failed.is_empty() {
            return Ok(many::worst(failed.iter().map(|failed| &failed.error)));
        }
        let is_left = done.iter().any(|one| !one.left.is_empty());
        Ok(if is_left { ExitCode::from(LEFT) } else { ExitCode::SUCCESS })
    }

    /// Whether sessions of users are to be ended.
    fn with_sessions(&self, tenants: &[Stale]) -> Result<bool, Failure> {
        let of = |tenant: &Stale| {
            let users = tenant.units.iter().filter(|unit| is_of_a_user(unit));
            users
                .map(|unit| output::clean(&format!("  {}: {}", tenant.name, unit.title())) + "\n")
                .collect::<String>()
        };
        let sessions: String = tenants.iter().map(of).collect();
        if sessions.is_empty() || self.yes {
            return Ok(self.sessions);
        }
        if !io::stdin().is_terminal() {
            return match self.sessions {
                false => Ok(false),
                true => Err(output::no_terminal()),
            };
        }
        let _ =
            write!(io::stderr(), "These users and commands run code of an earlier version:\n{}", sessions);
        Ok(output::confirms("End them?"))
    }
}

fn is_of_a_user(unit: &StaleUnit) -> bool {
    unit.remedy == StaleRemedy::LogOut
}

/// The commands that deal with what is stale, in their order, each with the units it is for.
fn commands(units: &[StaleUnit], with_sessions: bool) -> Vec<(Vec<String>, Vec<StaleUnit>)> {
    let of = |is: &dyn Fn(&StaleUnit) -> bool| -> Vec<StaleUnit> {
        units.iter().filter(|unit| is(unit)).cloned().collect()
    };
    let names = |units: &[StaleUnit]| units.iter().filter_map(|unit| unit.unit.clone()).collect::<Vec<_>>();
    let mut commands = Vec::new();
    let mut add = |start: &[&str], more: Vec<String>, units: Vec<StaleUnit>| {
        let start = start.iter().map(|word| (*word).to_owned());
        if !units.is_empty() {
            commands.push((start.chain(more).collect(), units));
        }
    };
    let restart = of(&|unit| unit.remedy == StaleRemedy::RestartUnit);
    add(&["systemctl", "try-restart", "--"], names(&restart), restart);
    for unit in units {
        let Some(name) = &unit.unit else { continue };
        match unit.remedy {
            StaleRemedy::RcService => add(&["rc-service", name, "restart"], Vec::new(), vec![unit.clone()]),
            StaleRemedy::Sv => add(&["sv", "exit", name], Vec::new(), vec![unit.clone()]),
            _ => {}
        }
    }
    if with_sessions {
        let is_scope = |unit: &StaleUnit| unit.unit.as_deref().is_some_and(|name| name.ends_with(".scope"));
        let scopes = of(&|unit| is_of_a_user(unit) && is_scope(unit));
        add(&["systemctl", "stop", "--"], names(&scopes), scopes);
        let services = of(&|unit| is_of_a_user(unit) && unit.unit.is_some() && !is_scope(unit));
        add(&["systemctl", "try-restart", "--"], names(&services), services);
        let attached = of(&|unit| unit.kind == StaleKind::Command);
        let ids = attached.iter().flat_map(|unit| &unit.processes).map(|process| process.inside.to_string());
        add(&["/bin/sh", "-c", "kill -HUP \"$@\"", "sh"], ids.collect(), attached);
    }
    add(&["systemctl", "daemon-reexec"], Vec::new(), of(&|unit| unit.remedy == StaleRemedy::DaemonReexec));
    add(&["telinit", "u"], Vec::new(), of(&|unit| unit.remedy == StaleRemedy::TelinitU));
    commands
}

async fn refresh(context: &Context, tenant: Stale, with_sessions: bool) -> Result<Refreshed, Failure> {
    let mut attempted: Vec<(StaleUnit, Option<String>)> = Vec::new();
    for (words, units) in commands(&tenant.units, with_sessions) {
        let (layout, name) = (context.layout.clone(), tenant.name.clone());
        let ran = tokio::task::spawn_blocking(move || inside(&layout, &name, &words)).await;
        let error = ran.map_err(|error| Failure::of(Code::Failed, &error))??;
        attempted.extend(units.into_iter().map(|unit| (unit, error.clone())));
    }
    let now = match attempted.is_empty() {
        true => tenant.clone(),
        false => settled(&context.client, &tenant, &attempted).await?,
    };
    let is_left = |unit: &StaleUnit| now.units.iter().any(|left| is_same(left, unit));
    let restarted =
        attempted.iter().filter(|(unit, _)| !is_left(unit)).map(|(unit, _)| unit.title()).collect();
    let left = now.units.iter().map(|unit| {
        let error =
            attempted.iter().find(|(tried, _)| is_same(tried, unit)).and_then(|(_, error)| error.clone());
        let what_to_do = stale::remedy(&tenant, unit);
        Left { unit: unit.title(), remedy: unit.remedy, error, what_to_do }
    });
    Ok(Refreshed { restarted, left: left.collect(), name: now.name.clone(), version: now.version.clone() })
}

fn is_same(one: &StaleUnit, other: &StaleUnit) -> bool {
    (one.kind, &one.unit) == (other.kind, &other.unit)
        && (one.unit.is_some() || one.kind == StaleKind::Init || one.title() == other.title())
}

/// A look at the tenant when what was restarted without an error is not stale any more, or after a while.
async fn settled(
    client: &Client,
    tenant: &Stale,
    attempted: &[(StaleUnit, Option<String>)],
) -> Result<Stale, Failure> {
    let until = Instant::now() + SETTLE;
    loop {
        let now = stale::one(client, &tenant.name).await?;
        let waits = attempted
            .iter()
            .any(|(unit, error)| error.is_none() && now.units.iter().any(|left| is_same(left, unit)));
        if !waits || Instant::now() >= until {
            return Ok(now);
        }
        sleep(PAUSE).await;
    }
}

/// Runs a command in a tenant; what it says where it fails.
fn inside(layout: &Layout, name: &str, words: &[String]) -> Result<Option<String>, Failure> {
    let mut command = wire::programs::inside(layout, name)?;
    let output = command.args(words).stdin(Stdio::null()).output().map_err(|error| {
        let program = Path::new(command.get_program()).display();
        Failure::new(Code::Failed, format!("cannot execute {program}: {error}"))
    })?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Some(wire::one_line(said.trim())))
}

fn text(one: &Refreshed) -> String {
    let mut text = String::new();
    if !one.restarted.is_empty() {
        text.push_str(&format!("restarted {}", one.restarted.join(", ")));
    }
    if one.left.is_empty() {
        text.push_str(if text.is_empty() { "nothing was stale" } else { "; nothing is stale" });
    }
    let lines = [text].into_iter().filter(|text| !text.is_empty());
    let lines = lines.chain(one.left.iter().map(|left| {
        let error = left.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        format!("still stale: {}{error}: {}", left.unit, left.what_to_do)
    }));
    lines.map(|line| output::clean(&format!("{}: {line}", one.name)) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(unit: Option<&str>, kind: &str, remedy: &str, inside: u32) -> StaleUnit {
        let process = serde_json::json!({"pid": 900 + inside, "inside": inside, "command": "x", "files": []});
        let mut value = serde_json::json!({"kind": kind, "remedy": remedy, "processes": [process]});
        if let Some(unit) = unit {
            value["unit"] = unit.into();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn units_are_restarted_before_init_executes_itself_and_users_are_left_unless_asked_for() {
        let units = [
            unit(Some("dbus.service"), "unit", "restart-tenant", 5),
            unit(Some("ssh.service"), "unit", "restart-unit", 6),
            unit(Some("web.service"), "unit", "restart-unit", 7),
            unit(Some("getty@tty1.service"), "unit", "log-out", 8),
            unit(Some("session-3.scope"), "session", "log-out", 9),
            unit(Some("user@0.service"), "session", "log-out", 10),
            unit(None, "command", "log-out", 11),
            unit(Some("ntp"), "unit", "rc-service", 12),
            unit(Some("web"), "unit", "sv", 13),
            unit(None, "init", "daemon-reexec", 1),
        ];
        let lines = |with_sessions| {
            let commands = commands(&units, with_sessions);
            commands.into_iter().map(|(words, _)| words.join(" ")).collect::<Vec<_>>()
        };
        let restart = "systemctl try-restart -- ssh.service web.service";
        let services = ["rc-service ntp restart", "sv exit web"];
        assert_eq!(lines(false), [restart, services[0], services[1], "systemctl daemon-reexec"]);
        assert_eq!(
            lines(true),
            [
                restart,
                services[0],
                services[1],
                "systemctl stop -- session-3.scope",
                "systemctl try-restart -- getty@tty1.service user@0.service",
                "/bin/sh -c kill -HUP \"$@\" sh 11",
                "systemctl daemon-reexec",
            ]
        );
    }

    #[test]
    fn what_was_done_and_what_is_left_is_said() {
        let left = |error: Option<&str>| Left {
            unit: "dbus.service".to_owned(),
            remedy: StaleRemedy::RestartTenant,
            error: error.map(str::to_owned),
            what_to_do: "tenantctl restart web".to_owned(),
        };
        let said = |restarted: &[&str], left: Vec<Left>| {
            let restarted = restarted.iter().map(|unit| (*unit).to_owned()).collect();
            text(&Refreshed { name: "web".to_owned(), version: "debian@00".to_owned(), restarted, left })
        };
        assert_eq!(said(&[], vec![]), "web: nothing was stale\n");
        assert_eq!(
            said(&["ssh.service", "init"], vec![]),
            "web: restarted ssh.service, init; nothing is stale\n"
        );
        assert_eq!(
            said(&["init"], vec![left(Some("it failed"))]),
            "web: restarted init\nweb: still stale: dbus.service (it failed): tenantctl restart web\n"
        );
    }
}
