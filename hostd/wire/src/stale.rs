//! What in a tenant runs code of a version that is not its present one.

use serde::{Deserialize, Serialize};

/// A tenant that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stale {
    /// The tenant.
    pub name: String,
    /// The version that its directories show, `debian@0123456789ab`.
    pub version: String,
    /// What is stale: units by name, then sessions, then init; empty if nothing is.
    pub units: Vec<StaleUnit>,
}

/// Stale processes that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaleUnit {
    /// The name of the unit: `ssh.service`, `session-3.scope`, or of the service of OpenRC or runit: `ssh`; absent for init,
    /// for commands of `tenantctl`, and where init knows no service of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What it is.
    pub kind: StaleKind,
    /// What makes it run the present version.
    pub remedy: StaleRemedy,
    /// Its stale processes, by their ids inside.
    pub processes: Vec<StaleProcess>,
}

impl StaleUnit {
    /// As people call it.
    pub fn title(&self) -> String {
        match (&self.unit, self.kind) {
            (Some(unit), _) => unit.clone(),
            (None, StaleKind::Init) => "init".to_owned(),
            (None, _) => {
                let all =
                    self.processes.iter().map(|process| format!("{} {}", process.command, process.inside));
                all.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// What stale processes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StaleKind {
    /// The tenant's init.
    Init,
    /// A service, or a scope.
    Unit,
    /// A session of a user, or a user's own systemd.
    Session,
    /// A command or a shell of `tenantctl`.
    Command,
    /// A process of which init knows no service.
    Process,
}

/// What makes stale processes run the present version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StaleRemedy {
    /// A restart of the unit.
    RestartUnit,
    /// `systemctl daemon-reexec` inside.
    DaemonReexec,
    /// `telinit u` inside.
    TelinitU,
    /// `rc-service SERVICE restart` inside.
    RcService,
    /// `sv exit SERVICE` inside, which is then started again.
    Sv,
    /// The user logs out, or the command ends.
    LogOut,
    /// What started the process inside starts it again.
    RestartProcess,
    /// A restart of the tenant.
    RestartTenant,
}

/// A stale process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaleProcess {
    /// Its process id on the host.
    pub pid: u32,
    /// Its process id in the tenant's own namespace.
    pub inside: u32,
    /// Its name, at most 15 bytes.
    pub command: String,
    /// The files of an earlier version.
    pub files: Vec<StaleFile>,
}

/// A file of an earlier version that a process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaleFile {
    /// What it is to the process.
    pub role: StaleRole,
    /// Its path in the version.
    pub path: String,
    /// The version, `debian@0123456789ab`.
    pub version: String,
}

/// What a file is to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StaleRole {
    /// Its program.
    Program,
    /// A library, or another file of which it executes code.
    Library,
    /// The script that it interprets.
    Script,
}

/// What is wrong with a tenant that could not be looked at, in a list of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotLooked {
    /// The tenant.
    pub name: String,
    /// Why.
    pub error: crate::Failure,
}

/// A look at several tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaleList {
    /// Those that are running, sorted by name.
    pub tenants: Vec<Stale>,
    /// Those that could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<NotLooked>,
}

/// What the last look at a tenant found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaleCount {
    /// How many of its units, sessions and processes were stale.
    pub units: usize,
    /// When that was, milliseconds since 1970 UTC.
    pub seen_ms: u64,
}
