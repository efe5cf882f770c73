//! The process everything else is for.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use serde::Serialize;

use super::{error::PlanError, inputs::Inputs, step::CREDENTIALS};
use crate::{
    config::{Kind, Signal, Tenant},
    model::{
        facts::HostFacts,
        image::{InitKind, Manifest, Ready},
    },
};

/// Path, inside the tenant, of the datagram socket that its init reports to, see sd_notify(3).
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

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

/// How init is asked to power off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StopProcedure {
    /// It is sent this signal.
    Signal(Signal),
    /// This is run inside as root, an absolute path first; it returns when init has heard.
    Command(Vec<String>),
}

impl StopProcedure {
    /// That of an init of a kind, where the kind tells it; `program` is what init is executed by.
    fn of(kind: InitKind, program: &str) -> Option<Self> {
        match kind {
            // Not SIGRTMIN+3, by which it halts: to power off it starts no program, to halt it starts systemctl(1), and
            // with that often the journal.
            InitKind::Systemd => Some(Self::Signal(Signal::SIGRTMIN_4)),
            InitKind::Busybox => Some(Self::Signal(Signal::SIGUSR2)),
            InitKind::Other => None,
            // SIGPWR is the power supply's, and leads to a script that most systems do not have. A second init(8)
            // is telinit(8).
            InitKind::SysV => Some(Self::Command(vec![program.to_owned(), "0".to_owned()])),
            // openrc-init(8) shuts down on SIGTERM, also while it boots and no process reads its FIFO yet.
            InitKind::OpenRc => Some(Self::Signal(Signal::SIGTERM)),
            // runit-init(8) becomes runit(8), and started once more it asks it to halt.
            InitKind::Runit => {
                let (dir, name) = program.rsplit_once('/').unwrap_or(("", program));
                let init = if name == "runit" { format!("{dir}/runit-init") } else { program.to_owned() };
                Some(Self::Command(vec![init, "0".to_owned()]))
            }
        }
    }
}

impl fmt::Display for StopProcedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(f),
            Self::Command(argv) => write!(f, "`{}`", argv.join(" ").escape_debug()),
        }
    }
}

/// How many files a process may have open, see `RLIMIT_NOFILE` of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What it has without asking for more.
    pub soft: u64,
    /// What it may raise that to.
    pub hard: u64,
}

impl OpenFiles {
    /// What init is given, whatever its host's own limits are: what systemd gives to services, see
    /// `DefaultLimitNOFILE=` in systemd-system.conf(5). A soft limit above 1024 breaks programs that use select(2)
    /// and makes others close a million descriptors one by one.
    pub const OF_TENANTS: Self = Self { soft: 1024, hard: 524_288 };
}

/// How init is executed, recognized as ready, and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitPlan {
    /// Who is process 1.
    pub process: FirstProcess,
    /// Argument vector; the first element is an absolute path inside.
    pub argv: Vec<String>,
    /// The directory that it is started in; none is `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Host name.
    pub hostname: String,
    /// `container_uuid`: 32 hex digits.
    pub uuid: String,
    /// How it is asked to power off.
    pub stop: StopProcedure,
    /// How long it has to end after that.
    pub stop_timeout: Duration,
    /// How long it has until it is ready.
    pub start_timeout: Duration,
    /// When it counts as started.
    pub ready: Ready,
    /// Login program for a tty that a client attaches to.
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
    let app = manifest.app.as_ref().filter(|_| is_app);
    if is_app && tenant.init.is_none() && app.is_none() {
        return Err(PlanError::NoProgram);
    }
    let program = app.map_or(&boot.init, |app| &app.init);
    let ready = tenant.ready.unwrap_or(if is_app { Ready::Exec } else { boot.ready });
    let argv = tenant.init.clone().unwrap_or_else(|| program.clone());
    if argv.is_empty() {
        return Err(PlanError::NoInit(manifest.image.to_string()));
    }
    if !argv.first().is_some_and(|program| program.starts_with('/')) {
        return Err(PlanError::Manifest("it contains no absolute path of an init".to_owned()));
    }
    let stop = match tenant.stop_signal {
        Some(signal) => StopProcedure::Signal(signal),
        None if is_app => {
            let said = app.filter(|_| tenant.init.is_none()).and_then(|app| app.stop_signal.as_deref());
            let signal = said.map_or(Ok(Signal::SIGTERM), str::parse);
            StopProcedure::Signal(signal.map_err(|error| PlanError::Manifest(error.to_string()))?)
        }
        None => stop_procedure(manifest, tenant.init.is_some(), &argv[0])?,
    };
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
    // What the image says holds for its files, whichever of its programs is started.
    env.extend(app.iter().flat_map(|app| app.env.clone()));
    env.extend(tenant.env.clone());
    let mut sysctl = tenant.sysctl.clone();
    // A host that does not speak IPv6 has none of these keys.
    sysctl.retain(|key, _| facts.ipv6 || !key.starts_with("net.ipv6."));
    Ok(InitPlan {
        process,
        argv,
        directory: app.and_then(|app| app.directory.clone()),
        env,
        hostname: tenant.hostname.clone(),
        uuid: allocation.uuid.clone(),
        stop,
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

/// How the init of an image is stopped, or another one that the tenant has in its place.
fn stop_procedure(manifest: &Manifest, is_own: bool, program: &str) -> Result<StopProcedure, PlanError> {
    // What the image says is about its own init.
    let said = if is_own { None } else { manifest.init_kind };
    let kind = said.or_else(|| InitKind::of_program(program));
    if let Some(procedure) = kind.and_then(|kind| StopProcedure::of(kind, program)) {
        return Ok(procedure);
    }
    let signal = manifest.boot.stop_signal.parse();
    signal.map(StopProcedure::Signal).map_err(|error| PlanError::Manifest(error.to_string()))
}

/// The tenant's own name servers, or those of the host where it can reach any.
fn name_servers<'a>(tenant: &'a Tenant, facts: &'a HostFacts) -> &'a [IpAddr] {
    match &tenant.dns {
        Some(own) => own,
        None if tenant.nics.is_empty() => &[],
        None => &facts.name_servers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_asked_to_end_in_its_own_way() {
        let command = |words: &[&str]| {
            Some(StopProcedure::Command(words.iter().map(|word| (*word).to_owned()).collect()))
        };
        for (kind, program, procedure) in [
            (InitKind::SysV, "/sbin/init", command(&["/sbin/init", "0"])),
            (InitKind::Runit, "/sbin/init", command(&["/sbin/init", "0"])),
            (InitKind::Runit, "/usr/bin/runit", command(&["/usr/bin/runit-init", "0"])),
            (InitKind::OpenRc, "/sbin/openrc-init", Some(StopProcedure::Signal(Signal::SIGTERM))),
            (InitKind::Systemd, "/sbin/init", Some(StopProcedure::Signal("SIGRTMIN+4".parse().unwrap()))),
            (InitKind::Busybox, "/sbin/init", Some(StopProcedure::Signal("SIGUSR2".parse().unwrap()))),
            (InitKind::Other, "/sbin/init", None),
        ] {
            assert_eq!(StopProcedure::of(kind, program), procedure, "{kind:?} by {program}");
        }
    }
}
