//! A host whose programs hand their calls over, and what verbs find there.

use std::{
    cell::Cell,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    time::{Duration, Instant},
};

use tenantry_tests::{Host, Output, Run, Tenant};

use crate::inject::Injector;

/// The tenant that verbs are about.
pub(crate) const VICTIM: &str = "victim";
/// How long a verb may take in which something fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
pub(crate) struct Site {
    // Goes first: its programs need the injector until they have ended.
    pub(crate) host: Host,
    pub(crate) injector: Injector,
    /// The boot of the victim that a verb must not end.
    pub(crate) victims_boot: Cell<(i32, u64)>,
}

impl Site {
    /// With two versions of an image; hostd is not running.
    pub(crate) fn new() -> Self {
        let host = Host::bare();
        host.two_versions_of_busybox();
        let injector = Injector::new(host.path("inject.sock"), VICTIM);
        Self { host, injector, victims_boot: Cell::default() }
    }

    /// Starts hostd and waits until it answers.
    pub(crate) fn start_hostd(&self) {
        let words = self.injector.words();
        self.host.start_hostd_behind(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// A program of the host whose calls are counted.
    pub(crate) fn tool(&self, name: &str, args: &[&str]) -> Run {
        let words = self.injector.words();
        let run = Run::new(&words[0], &words[1..]).args([self.host.program(name)]).args(args);
        run.env("TENANTRY_ROOT", self.host.root())
    }

    /// Starts hostd, whose calls are counted from the first on, until it answers or has ended: what it said then.
    pub(crate) fn start_hostd_once(&self) -> Output {
        let (begin, words) = (Instant::now(), self.injector.words());
        let log = self.host.hostd_log().len();
        self.host.spawn_hostd_behind(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut has_answered = false;
        while begin.elapsed() < LIMIT && !has_answered && self.has_live_hostd() {
            has_answered = self.host.answers();
        }
        let said = self.host.hostd_log().get(log..).unwrap_or_default().to_owned();
        Output {
            words: "hostd".to_owned(),
            status: ExitStatus::from_raw(if has_answered { 0 } else { 1 << 8 }),
            stdout: String::new(),
            stderr: said,
            took: begin.elapsed(),
        }
    }

    pub(crate) fn victim(&self) -> Tenant<'_> {
        Tenant::new(&self.host, VICTIM)
    }

    pub(crate) fn has_live_hostd(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.host.hostd_pid())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }
}
