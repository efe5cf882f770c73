//! Requests and answers. Times are milliseconds or microseconds, sizes are bytes, as the names say.

use serde::{Deserialize, Serialize};

use crate::{
    explain::Source,
    state::TenantState,
    summary::{StatLimits, Summary, Waiting},
    unit::{EffectiveLimit, UnitReport},
    usage::{DiskUsage, HostMemory, Traffic, Usage},
};

/// What a request changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    /// It was made, or started.
    Created,
    /// It differs now.
    Changed,
    /// It was as asked for already.
    Unchanged,
}

/// The answer to a request that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {
    /// The tenant, or the NIC.
    pub name: String,
    /// What became of the request.
    pub result: Changed,
    /// Whether something of it takes effect at the next start only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_restart: bool,
    /// The keys that take effect at the next start only, where they are known one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// What is not as it should be and did not keep it from being done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why everything in the tenant was killed, where it was to be stopped and did not end when it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<String>,
    /// From the request to the answer, microseconds.
    pub took_us: u64,
}

/// Everything about one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Detail {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// The host name that its file gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The host name that it has set itself, in its own `/etc/hostname`, and that it uses instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname_inside: Option<String>,
    /// What is wrong with its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its machine-id(5).
    pub uuid: String,
    /// Its number.
    pub index: u32,
    /// First and last host uid.
    pub uids: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Counts the writes of its record.
    pub generation: u64,
    /// Digest of the version it boots next.
    pub digest: String,
    /// Digest of the version it has booted, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_digest: Option<String>,
    /// Process id of its supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor_pid: Option<i32>,
    /// Process id of its init, as the host sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_pid: Option<i32>,
    /// How often its supervisor started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boots: Option<u32>,
    /// What its init last said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The code that its init, or its one program, ended with last: 128 and the number for a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How its init ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// Why its last start failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Why it was killed last, where it was to be stopped and did not end when it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<String>,
    /// How many of its processes the kernel killed in its present or last boot because its memory was used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Its interfaces besides loopback, as its next start makes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<Interface>,
    /// Ports of the host that lead to it, e.g. `2222:22/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// The most it may send, and the most it may receive, in bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_rate: Option<String>,
    /// Traffic of its links, while it is running and where the packet filter counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Its unit, where systemd runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitReport>,
    /// Whether its file wants it to start with the host; absent when its configuration is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// The limits that its unit has, where systemd runs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unit_limits: Vec<EffectiveLimit>,
    /// When its present boot began, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What it uses, while it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What of its file takes effect at its next start, while it is up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// The last lines of its console, without control characters, oldest first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// What it has stored; absent until it is measured, where the filesystem does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskUsage>,
    /// Its cgroup v2 directory, while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

/// One interface of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Interface {
    /// Its name inside.
    pub name: String,
    /// `routed`, `bridge`, `macvlan`, `phys` or `vlan`.
    pub mode: String,
    /// The bridge, the parent, or the NIC itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Tag of a VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Name of the host's end of a veth pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Its hardware address; absent when it is the NIC's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// Its default gateways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Whether it comes from the tenant's file, its profile or `nics.toml`.
    pub source: Source,
}

/// Where a NIC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum HostNicState {
    /// A running tenant has it.
    Held,
    /// Its tenant does not run, or has not been started since it was given the NIC.
    Waiting,
    /// It is on the host, and no tenant that exists is to have it.
    Free,
    /// This host has no such NIC now.
    Missing,
}

/// A NIC of the host, or a VLAN of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostNic {
    /// The NIC.
    pub link: String,
    /// The VLAN; absent for the whole NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Where it is.
    pub state: HostNicState,
    /// The tenant it is given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Its name inside, where one is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The addresses it is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Whether `nics.toml` gives it, or the tenant's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// NICs of the host and the tenants that have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostNics {
    /// The rows of `nics.toml`, then the NICs in tenants' files, then unassigned NICs.
    pub nics: Vec<HostNic>,
    /// Rows that do nothing, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A row of `nics.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NicAssignment {
    /// The NIC.
    pub link: String,
    /// Only this VLAN of it, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The tenant.
    pub tenant: String,
    /// Its name inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its addresses, each with the length of its prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// A tenant to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// Its name.
    pub name: String,
    /// `IMAGE`, `IMAGE:CHANNEL` or `IMAGE@VERSION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// `key=value` pairs of its configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

/// The name that a tenant gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The name.
    pub name: String,
}

/// How a tenant is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StartRequest {
    /// Pass over limits that this host cannot enforce.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unenforced: bool,
    /// Refuse it also where a limit that is only this host's default cannot be enforced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// How a tenant is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StopRequest {
    /// Seconds until it is killed; its own `stop_timeout_sec` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u32>,
    /// Only ask it to power off: neither wait for that nor kill it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ask_only: bool,
}

/// How a tenant is killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct KillRequest {
    /// Signal for its init, e.g. `SIGHUP`; without one everything in it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// A tenant's configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigText {
    /// The text.
    pub text: String,
}

/// A new text for a tenant's configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigReplace {
    /// The text that the new one was made from; the file must still say that.
    pub base: String,
    /// The new text.
    pub text: String,
    /// Pass over limits that this host cannot enforce.
    #[serde(default)]
    pub allow_unenforced: bool,
}

/// Changes to single keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ConfigChange {
    /// `key=value` pairs.
    pub set: Vec<String>,
    /// Keys to be removed.
    pub unset: Vec<String>,
    /// Pass over limits that this host cannot enforce.
    pub allow_unenforced: bool,
}

/// Use against limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stat {
    /// The tenant.
    pub name: String,
    /// What it does.
    pub state: TenantState,
    /// What it uses.
    pub usage: Usage,
    /// What it may use at most.
    pub limits: StatLimits,
    /// What went over its ports, where the packet filter counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
}

/// Use against limits of several tenants, and of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatList {
    /// Of the tenants, by name.
    pub tenants: Vec<Stat>,
    /// Of the host, with all its tenants whichever are asked for.
    pub host: HostMemory,
}

/// What a tenant was started with where it is running, else what its next start will do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanAnswer {
    /// One step a line.
    pub text: String,
    /// The same as data.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub plan: serde_json::Value,
    /// How the next start of a tenant that is running differs: lines that it does not have, after `- `, and those
    /// that are new, after `+ `.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// Lines of a console's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLines {
    /// The lines, oldest first, without control characters.
    pub lines: Vec<String>,
    /// Where to go on: the `after` of a request for what comes next. A word to be handed back as it is.
    pub position: String,
}

/// This hostd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostAnswer {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// For how long it has run, milliseconds.
    pub uptime_ms: u64,
    /// The running kernel.
    pub kernel: String,
    /// Who starts the supervisors: `systemd` or `standalone`.
    pub units: String,
    /// Number of tenants.
    pub tenants: usize,
    /// Number of running tenants.
    pub running: usize,
    /// Number of removed tenants whose files are still being deleted.
    #[serde(default)]
    pub removing: usize,
    /// Why no tenant can be made here, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
