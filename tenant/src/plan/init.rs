//! The process everything else is for.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::PlanError;
use crate::{
    allocation::Allocation,
    config::{Signal, Tenant},
    image::{Manifest, Ready},
};

/// Path, inside the tenant, of the datagram socket that its init reports to, see sd_notify(3).
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

/// How init is executed, recognized as ready, and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitPlan {
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
}

pub(super) fn plan(
    tenant: &Tenant,
    allocation: &Allocation,
    manifest: &Manifest,
) -> Result<InitPlan, PlanError> {
    let boot = &manifest.boot;
    let stop_signal = match tenant.stop_signal {
        Some(signal) => signal,
        None => boot.stop_signal.parse::<Signal>().map_err(|error| PlanError::Manifest(error.to_string()))?,
    };
    let ready = tenant.ready.unwrap_or(boot.ready);
    let argv = tenant.init.clone().unwrap_or_else(|| boot.init.clone());
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
    env.extend(tenant.env.clone());
    Ok(InitPlan {
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
    })
}
