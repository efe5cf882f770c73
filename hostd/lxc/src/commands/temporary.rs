//! A tenant that is started for one command: an existing one with a temporary init, or one that is created
//! for the command and destroyed after it, as every container of LXC 0.6 was.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitStatus,
};

use hyper::Method;
use nix::unistd::Pid;
use tenant::TenantName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::{
    Changed, Code, ConfigChange, ConfigReplace, ConfigText, Done, Failure, KillRequest, StartRequest,
};

use super::{Lxc, Result, create::warn, destroy};
use crate::import::{self, Choice};

/// Signals that are caught and forwarded to the command.
const SIGNALS: [SignalKind; 4] =
    [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];

/// What it is started with.
pub(super) struct Setup<'a> {
    /// The program, for messages.
    pub(super) program: &'static str,
    /// An lxc.conf, for a tenant that does not exist yet.
    pub(super) file: Option<&'a Path>,
    /// Lines of an lxc.conf, `KEY=VALUE`, for the same.
    pub(super) define: &'a [String],
    /// Argument vector of init; none is the tenant's own.
    pub(super) init: Option<Vec<String>>,
    /// Whether one that does not exist may be made.
    pub(super) make: bool,
}

/// A started tenant. What was made for the command is removed when this is dropped.
pub(super) struct Temporary<'a> {
    lxc: &'a Lxc,
    name: TenantName,
    made: bool,
    /// Signals that would end this program before it has cleaned up are caught while it lasts.
    signals: [Signal; 4],
}

impl<'a> Temporary<'a> {
    /// Starts the tenant, which is not running.
    pub(super) fn start(lxc: &'a Lxc, name: &TenantName, setup: &Setup<'_>) -> Result<Self> {
        let signals = lxc.wait(async {
            let catch = |kind| signal(kind).map_err(|error| Failure::of(Code::Failed, &error));
            let [hangup, interrupt, quit, terminate] = SIGNALS.map(catch);
            Ok([hangup?, interrupt?, quit?, terminate?])
        })?;
        let found = lxc.find(name)?;
        if found.is_some() && (setup.file.is_some() || !setup.define.is_empty()) {
            return Err(Failure::new(Code::Invalid, format!("{name} already has a configuration"))
                .help(format!("change it: tenantctl edit {name}; or omit -f and -s")));
        }
        if found.is_none() && !setup.make {
            return Err(Failure::new(Code::NoTenant, "No container config specified")
                .help(format!("create the tenant first: lxc-create -n {name} -f FILE")));
        }
        let mut temporary = Temporary { lxc, name: name.clone(), made: false, signals };
        match (&setup.init, found) {
            (_, None) => {
                make(lxc, name, setup)?;
                // From here on it goes whatever happens; before, it may be another's.
                temporary.made = true;
                begin(lxc, name)?;
            }
            (None, Some(_)) => begin(lxc, name)?,
            (Some(init), Some(_)) => {
                let other = OtherInit::set(lxc, name, init)?;
                let started = begin(lxc, name);
                drop(other);
                started?;
            }
        }
        Ok(temporary)
    }

    /// Whether it goes when the command has ended.
    pub(super) fn is_made(&self) -> bool {
        self.made
    }

    /// Runs a command of the host to its end; signals that come meanwhile are for it.
    pub(super) fn run(&mut self, command: std::process::Command) -> io::Result<ExitStatus> {
        let [hangup, interrupt, quit, terminate] = &mut self.signals;
        self.lxc.runtime.block_on(async {
            let mut child = tokio::process::Command::from(command).spawn()?;
            loop {
                let kind = tokio::select! {
                    status = child.wait() => return status,
                    _ = hangup.recv() => nix::sys::signal::Signal::SIGHUP,
                    _ = interrupt.recv() => nix::sys::signal::Signal::SIGINT,
                    _ = quit.recv() => nix::sys::signal::Signal::SIGQUIT,
                    _ = terminate.recv() => nix::sys::signal::Signal::SIGTERM,
                };
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
                if let Some(pid) = pid {
                    // It may have ended just now.
                    let _ = nix::sys::signal::kill(pid, kind);
                }
            }
        })
    }

    /// Stops it if it is running.
    pub(super) fn kill(&self) {
        // It may have ended by itself.
        let _: Result<Done> = self.lxc.post(&self.name, "/kill", &KillRequest::default());
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.made || matches!(self.lxc.find(&self.name), Ok(None)) {
            return;
        }
        if let Err(failure) = destroy::remove(self.lxc, &self.name) {
            let _ = writeln!(
                io::stderr(),
                "error: cannot remove {}: {failure}\nhelp: lxc-destroy -f -n {}",
                self.name,
                self.name
            );
        }
    }
}

fn begin(lxc: &Lxc, name: &TenantName) -> Result<()> {
    let _: Done = lxc.post(name, "/start", &StartRequest::default())?;
    Ok(())
}

/// The settings that make a command the tenant's init.
fn pairs(init: &[String]) -> Vec<String> {
    vec![format!("init={}", toml::Value::from(init.to_vec())), "ready=exec".to_owned()]
}

fn make(lxc: &Lxc, name: &TenantName, setup: &Setup<'_>) -> Result<()> {
    let mut text = setup.file.map(import::text).transpose()?.unwrap_or_default();
    for pair in setup.define {
        text.push_str(&format!("\n{pair}"));
    }
    let choice = Choice { name: Some(name.as_str()), ..Choice::default() };
    let file = setup.file.unwrap_or_else(|| Path::new(setup.program));
    let mut import = import::translate(lxc.layout(), file, &text, &choice)?;
    warn(setup.program, &import);
    import.fragment.description = Some(format!("created by {} for one command", setup.program));
    if let Some(init) = &setup.init {
        for pair in pairs(init) {
            let one = tenant::config::set(&pair).map_err(|error| Failure::of(Code::Invalid, &error))?;
            import.fragment = import.fragment.overlaid(one);
        }
    }
    let done = lxc.wait(import::create(lxc.client(), lxc.layout(), &import))?;
    match done.result {
        Changed::Created => Ok(()),
        Changed::Changed | Changed::Unchanged => {
            let text = format!("another client created {name} just now");
            Err(Failure::new(Code::NameTaken, text).help("choose another name"))
        }
    }
}

/// Another init in a tenant's file, for as long as it takes to start: a reboot from inside boots its own.
struct OtherInit<'a> {
    lxc: &'a Lxc,
    path: String,
    before: String,
}

impl<'a> OtherInit<'a> {
    fn set(lxc: &'a Lxc, name: &TenantName, init: &[String]) -> Result<Self> {
        let path = client::tenant(name.as_str(), "/config");
        let ConfigText { text: before } = lxc.wait(lxc.client().get(&path))?;
        let other = OtherInit { lxc, path, before };
        let change = ConfigChange { set: pairs(init), ..ConfigChange::default() };
        let _: Done = lxc.wait(lxc.client().request(Method::PATCH, &other.path, &change))?;
        Ok(other)
    }

    fn restore(&self) -> Result<()> {
        let ConfigText { text: base } = self.lxc.wait(self.lxc.client().get(&self.path))?;
        let request = ConfigReplace { base, text: self.before.clone(), allow_unenforced: true };
        let _: Done = self.lxc.wait(self.lxc.client().request(Method::PUT, &self.path, &request))?;
        Ok(())
    }
}

impl Drop for OtherInit<'_> {
    fn drop(&mut self) {
        if let Err(failure) = self.restore() {
            let _ = writeln!(
                io::stderr(),
                "error: cannot remove the temporary init from the tenant's file: {failure}\nhelp: tenantctl edit NAME"
            );
        }
    }
}
