//! The process everything else is for.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::Serialize;

use super::{CREDENTIALS, Inputs, PlanError};
use crate::{
    config::{Kind, Signal, Tenant},
    facts::HostFacts,
    image::Ready,
};

/// Path, inside the tenant, of the datagram socket that its init reports to, see sd_notify(3).
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

/// What asks a program that is no init to end.
const APP_STOP_SIGNAL: &str = "SIGTERM";

/// What process 1 of a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstProcess {
    /// The program itself: an init.
    Program,
    /// A small one that starts the program, passes signals on to it, reaps, and ends as it ends.
    Reaper,
}

impl FirstProcess {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::App | Kind::AppPlus => Self::Reaper,
            Kind::SharedOs | Kind::Os | Kind::Router => Self::Program,
        }
    }
}

/// How init is executed, recognized as ready, and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitPlan {
    /// Who is process 1.
    pub process: FirstProcess,
    /// Argument vector; the first element is an absolute path inside.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Host name.
    pub hostname: String,
    /// `container_uuid`: 32 hex digits.
    pub uuid: String,
    /// Number of the signal that asks it to power off.
    pub stop_signal: i32,
    /// How long it has to end after that signal.
    pub stop_timeout: Duration,
    /// How long it has until it is ready.
    pub start_timeout: Duration,
    /// When it counts as started.
    pub ready: Ready,
    /// Login program for a tty that somebody attaches to.
    pub getty: Vec<String>,
    /// Largest size of a console log, bytes.
    pub console_log: u64,
    /// Whether the console's lines go to the host's journal, where it has one.
    pub console_journal: bool,
    /// Keys of its network namespace that are set before it runs, see sysctl(8).
    pub sysctl: BTreeMap<String, String>,
    /// The name servers it is told.
    pub name_servers: Vec<IpAddr>,
    /// The domains it searches.
    pub dns_search: Vec<String>,
}

impl InitPlan {
    /// Text of `/run/host/resolv.conf`, see resolv.conf(5); none without name servers.
    pub fn resolv_conf(&self) -> Option<String> {
        if self.name_servers.is_empty() {
            return None;
        }
        let mut text: String =
            self.name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        if !self.dns_search.is_empty() {
            text.push_str(&format!("search {}\n", self.dns_search.join(" ")));
        }
        Some(text)
    }
}

pub(super) fn plan(inputs: &Inputs<'_>) -> Result<InitPlan, PlanError> {
    let Inputs { tenant, allocation, manifest, facts, credentials, .. } = *inputs;
    let boot = &manifest.boot;
    let process = FirstProcess::of(tenant.kind);
    // What the image says of its init is not about another program.
    let is_app = process == FirstProcess::Reaper;
    if is_app && tenant.init.is_none() {
        return Err(PlanError::NoProgram);
    }
    let stop_signal = match tenant.stop_signal {
        Some(signal) => signal,
        None if is_app => APP_STOP_SIGNAL.parse().expect("its name is valid"),
        None => boot.stop_signal.parse::<Signal>().map_err(|error| PlanError::Manifest(error.to_string()))?,
    };
    let ready = tenant.ready.unwrap_or(if is_app { Ready::Exec } else { boot.ready });
    let argv = tenant.init.clone().unwrap_or_else(|| boot.init.clone());
    if argv.is_empty() {
        return Err(PlanError::NoInit(manifest.image.to_string()));
    }
    if !argv.first().is_some_and(|program| program.starts_with('/')) {
        return Err(PlanError::Manifest("it has no absolute path to an init".to_owned()));
    }
    let mut env = BTreeMap::from([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("TERM", "linux"),
        ("container", "tenantry"),
        ("container_uuid", allocation.uuid.as_str()),
    ])
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect::<BTreeMap<_, _>>();
    if ready == Ready::Notify {
        env.insert("NOTIFY_SOCKET".to_owned(), NOTIFY_SOCKET.to_owned());
    }
    if !credentials.is_empty() {
        env.insert("CREDENTIALS_DIRECTORY".to_owned(), format!("/{CREDENTIALS}"));
    }
    env.extend(tenant.env.clone());
    let mut sysctl = tenant.sysctl.clone();
    // A host that does not speak IPv6 has none of these keys.
    sysctl.retain(|key, _| facts.ipv6 || !key.starts_with("net.ipv6."));
    Ok(InitPlan {
        process,
        argv,
        env,
        hostname: tenant.hostname.clone(),
        uuid: allocation.uuid.clone(),
        stop_signal: stop_signal.number(),
        stop_timeout: tenant.stop_timeout,
        start_timeout: tenant.start_timeout,
        ready,
        getty: tenant.getty.clone().unwrap_or_else(|| boot.getty.clone()),
        console_log: tenant.console_log,
        console_journal: tenant.console_journal,
        sysctl,
        name_servers: name_servers(tenant, facts).to_vec(),
        dns_search: tenant.dns_search.clone(),
    })
}

/// The tenant's own name servers, or those of the host where it can reach any.
fn name_servers<'a>(tenant: &'a Tenant, facts: &'a HostFacts) -> &'a [IpAddr] {
    match &tenant.dns {
        Some(own) => own,
        None if tenant.nics.is_empty() => &[],
        None => &facts.name_servers,
    }
}
