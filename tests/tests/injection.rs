//! Errors of the kernel in the middle of a start: whatever call fails, the start succeeds or says why, in bounded time,
//! nothing stays behind, and the next start works.
//!
//! strace(1) makes single calls of hostd and of everything it starts fail. Which call of a supervisor that is changes
//! with the code, so each point is counted from the first or from the last call of its kind in a start that was watched
//! before; that an error was really injected is read from strace's own log. A call of the same number in another
//! process of the start fails as well.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, Output, Run, Running, Tenant, poll};

/// Which of a supervisor's calls.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// This one, from 1.
    First(usize),
    /// This one, from 1, counted from the end.
    Last(usize),
}

use Call::{First, Last};

/// A call and the error that it ends with.
type Point = (&'static str, &'static str, Call);

/// While the supervisor reports that its tenant is up: every write and socket there may fail, and the tenant is up
/// all the same.
const REPORTS: &[Point] = &[
    ("write", "ENOSPC", Last(1)),
    ("write", "EIO", Last(1)),
    ("write", "ENOSPC", Last(2)),
    ("rename", "ENOSPC", Last(1)),
    ("socket", "EMFILE", Last(1)),
    ("socket", "EMFILE", Last(2)),
    ("sendto", "ENOBUFS", Last(1)),
    ("sendto", "EAGAIN", Last(2)),
    ("unlink", "EIO", Last(1)),
    ("poll", "ENOMEM", Last(1)),
];

/// While hostd starts the supervisor, and the supervisor begins.
const BEGINNINGS: &[Point] = &[
    ("epoll_ctl", "ENOSPC", First(2)),
    ("clone3", "EAGAIN", First(1)),
    ("execve", "ENOMEM", First(1)),
    ("close_range", "EINVAL", First(1)),
    ("prlimit64", "EPERM", First(1)),
    ("socket", "EMFILE", First(2)),
    ("socket", "EMFILE", First(3)),
    ("socket", "EMFILE", First(4)),
    ("bind", "EADDRINUSE", First(2)),
    ("signalfd4", "EMFILE", First(1)),
    ("flock", "ENOLCK", First(1)),
    ("flock", "ENOLCK", First(2)),
    ("rename", "ENOSPC", First(1)),
    ("rename", "ENOSPC", First(2)),
    ("mkdir", "ENOSPC", First(1)),
    ("openat", "EMFILE", First(25)),
    ("read", "EIO", First(40)),
];

/// While the tenant is put together.
const ASSEMBLIES: &[Point] = &[
    ("clone3", "EAGAIN", First(2)),
    ("sendto", "ENOBUFS", First(1)),
    ("socketpair", "EMFILE", First(1)),
    ("socketpair", "EMFILE", First(2)),
    ("setresuid", "EAGAIN", First(1)),
    ("unshare", "ENOSPC", First(1)),
    ("setns", "EPERM", First(1)),
    ("wait4", "EINTR", First(1)),
    ("wait4", "EINTR", First(2)),
    ("recvmsg", "EMFILE", First(1)),
    ("recvmsg", "EIO", First(2)),
    ("sendmsg", "ENOBUFS", First(1)),
    ("fsconfig", "ENOMEM", First(30)),
    ("mkdirat", "ENOSPC", First(9)),
    ("move_mount", "ENOMEM", First(1)),
    ("move_mount", "ENOMEM", First(9)),
    ("pivot_root", "EPERM", First(1)),
    ("bpf", "EPERM", First(1)),
    ("fcntl", "EMFILE", Last(1)),
    ("fcntl", "EMFILE", Last(8)),
    ("ioctl", "EIO", Last(1)),
    ("pidfd_open", "EMFILE", First(1)),
];

/// A host with a tenant whose starts go wrong.
struct Victim<'a> {
    host: &'a Host,
    tenant: Tenant<'a>,
    /// Name of the directory that this host's cgroups lie in.
    instance: String,
    /// First host uid of the tenant.
    uids: u32,
    /// How many calls of each kind its supervisor makes in a start.
    calls: BTreeMap<String, usize>,
}

/// strace(1) on hostd and all that it starts, until it is told to let go.
struct Strace {
    program: Running,
    log: PathBuf,
}

impl Strace {
    fn attach(host: &Host, what: &[String]) -> Self {
        let log = host.path("strace.log");
        let run = Run::new("strace", ["-f", "-qq", "-o"]).args([&log]).args(what);
        let pid = host.hostd_pid();
        let program = Running::start(&run.args(["-p", &pid.to_string()]));
        let traced = || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("hostd runs").flatten();
            let mut tasks =
                tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default());
            tasks.all(|status| {
                status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            })
        };
        poll::until_true(&format!("strace is attached; it says {:?}", program.lines()), traced);
        Self { program, log }
    }

    /// Lets go; what it has logged.
    fn detach(mut self) -> String {
        let pid = i32::try_from(self.program.id()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("strace runs");
        poll::until_true("strace lets go", || !self.program.goes_on());
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl<'a> Victim<'a> {
    fn on(host: &'a Host) -> Self {
        // Every start makes the same calls then: what is turned on for IPv6 depends on the links that there are.
        host.network().shell("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").ok();
        let tenant = host.boot("victim", &["--image", "busybox", "--set", "start_timeout_sec=20"]);
        let cgroup = PathBuf::from(tenant.field("/cgroup"));
        let instance = cgroup.parent().and_then(Path::file_name).expect("a cgroup of this host");
        let uids = tenant.field("/uids");
        let mut victim = Self {
            host,
            instance: instance.to_string_lossy().into_owned(),
            uids: uids.split('-').next().and_then(|uid| uid.parse().ok()).expect("a range of uids"),
            tenant,
            calls: BTreeMap::new(),
        };
        victim.tenant.stop();
        let strace = Strace::attach(host, &[]);
        victim.tenant.start();
        let log = strace.detach();
        let supervisor =
            log.lines().find(|line| line.contains("execve(") && line.contains("\"run\", \"victim\""));
        let supervisor = supervisor.and_then(|line| line.split(' ').next()).expect("a supervisor").to_owned();
        for line in log.lines() {
            let mut words = line.split_ascii_whitespace();
            let (pid, call) = (words.next(), words.next().and_then(|word| word.split_once('(')));
            if let (true, Some((call, _))) = (pid == Some(supervisor.as_str()), call) {
                *victim.calls.entry(call.to_owned()).or_default() += 1;
            }
        }
        victim.tenant.stop();
        victim
    }

    /// One start in which a call fails; what was injected, how the start ended. A supervisor makes a call more in a slow
    /// start, when it asks for patience, than in a quick one: what is counted from the end is counted again then.
    fn start_with(&self, (call, error, which): Point) -> (String, Output) {
        let mut all = self.calls.get(call).copied().unwrap_or_default();
        let mut tries = 0;
        loop {
            let number = match which {
                First(number) => number,
                Last(number) => {
                    (all + 1).checked_sub(number).unwrap_or_else(|| panic!("{call} is called {all} times"))
                }
            };
            let what = format!("{call} number {number} fails with {error}");
            let inject = format!("inject={call}:error={error}:when={number}");
            let strace = Strace::attach(
                self.host,
                &["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject],
            );
            let started = self.tenant.ctl("start", &[]).limit(Duration::from_secs(60)).output();
            let log = strace.detach();
            if log.contains("(INJECTED)") {
                return (what, started);
            }
            tries += 1;
            assert!(tries < 3 && matches!(which, Last(_)), "{what}: it was never called\n{log}");
            all = most_of_one_process(&log, call);
            self.tenant.stop();
        }
    }

    /// What there is of the tenant while it does not run.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = cgroups(Path::new("/sys/fs/cgroup"), &self.instance, 6)
            .into_iter()
            .map(|dir| format!("cgroup {}", dir.display()))
            .collect();
        let links = self.host.run("ip", &["-brief", "link", "show", "type", "veth"]).ok().stdout;
        left.extend(links.lines().map(|line| format!("link {line}")));
        let elements = self.host.run("nft", &["list", "ruleset"]).ok().stdout;
        left.extend(elements.lines().filter(|line| line.contains("t1-0")).map(|line| format!("nft {line}")));
        let turns = fs::read_dir(self.host.path("run/tenantry/turns")).into_iter().flatten().flatten();
        left.extend(turns.map(|entry| format!("turn {}", entry.file_name().to_string_lossy())));
        left.extend(self.processes());
        left
    }

    /// Processes in the tenant's unit. A zombie's parent is about to take it.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            let status = read("status");
            let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            let uid = uid.and_then(|ids| ids.split_ascii_whitespace().next()?.parse::<u32>().ok());
            // Another host's tenants may have the same uids: hostd itself tells whose this one is.
            let is_its = uid.is_some_and(|uid| (self.uids..self.uids + 65_536).contains(&uid))
                && self.is_below_hostd(&status);
            let is_in_unit = read("cgroup").contains(&format!("/{}/victim", self.instance));
            if (is_its || is_in_unit) && !status.contains("\nState:\tZ") {
                let name = status.lines().next().unwrap_or_default();
                found.push(format!("process {} {name}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }

    fn is_below_hostd(&self, status: &str) -> bool {
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        parent == Some(self.host.hostd_pid().to_string().as_str())
    }

    /// One start in which a call fails.
    fn endures(&self, point: Point) {
        let (call, ..) = point;
        let (what, started) = self.start_with(point);
        assert!(started.took < Duration::from_secs(15), "{what}: the start took {:?}", started.took);
        if started.status.success() {
            self.tenant.awaits("running");
            assert_eq!(self.tenant.says("echo up"), "up", "{what}");
            self.tenant.ctl("kill", &[]).ok();
        } else {
            assert!(
                started.stderr.contains("error: cannot start tenant \"victim\": "),
                "{what}: {}",
                started.stderr
            );
            assert_ne!(self.tenant.phase(), "running", "{what}");
            assert!(!started.stderr.contains("panicked"), "{what}: {}", started.stderr);
            // No other error of the kernel has part in it.
            let is_named = call != "setns" || started.stderr.contains("Operation not permitted");
            assert!(is_named, "{what}: {}", started.stderr);
            // An init that cannot put its root together has no network either: that is not the fault.
            let is_root = matches!(call, "move_mount" | "pivot_root");
            assert!(
                !is_root || started.stderr.contains("cannot start its init: "),
                "{what}: {}",
                started.stderr
            );
        }
        self.is_gone(&what);
        self.tenant.start();
        assert_eq!(self.tenant.says("echo up"), "up", "after {what}");
        self.tenant.stop();
        self.is_gone(&what);
    }

    fn is_gone(&self, what: &str) {
        poll::within(Duration::from_secs(5), &format!("{what}: {:?} goes", self.left()), || {
            self.left().is_empty().then_some(())
        });
    }
}

/// How many calls of one kind the process makes that makes the most of them: the supervisor, in what is asked here.
fn most_of_one_process(log: &str, call: &str) -> usize {
    let mut calls = BTreeMap::new();
    for line in log.lines() {
        let mut words = line.split_ascii_whitespace();
        let (pid, name) = (words.next(), words.next().and_then(|word| word.split_once('(')));
        if let (Some(pid), Some((name, _))) = (pid, name)
            && name == call
        {
            *calls.entry(pid).or_default() += 1;
        }
    }
    calls.into_values().max().unwrap_or_default()
}

/// The directories of the tenant in the cgroups of one host.
fn cgroups(dir: &Path, instance: &str, depth: u8) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if *entry.file_name() == *instance {
            found.extend(Some(entry.path().join("victim")).filter(|dir| dir.exists()));
        } else if depth > 0 {
            found.extend(cgroups(&entry.path(), instance, depth - 1));
        }
    }
    found
}

#[test]
fn what_fails_while_a_start_is_reported_harms_no_tenant() {
    let host = Host::start();
    let victim = Victim::on(&host);
    for point in REPORTS {
        victim.endures(*point);
    }
}

#[test]
fn what_fails_while_a_supervisor_begins_is_told_and_leaves_nothing() {
    let host = Host::start();
    let victim = Victim::on(&host);
    for point in BEGINNINGS {
        victim.endures(*point);
    }
}

#[test]
fn what_fails_while_a_tenant_is_put_together_is_told_and_leaves_nothing() {
    let host = Host::start();
    let victim = Victim::on(&host);
    for point in ASSEMBLIES {
        victim.endures(*point);
    }
}

#[test]
fn a_supervisor_that_cannot_be_signalled_is_ended_all_the_same() {
    let host = Host::start();
    let victim = Victim::on(&host);
    for words in [&["kill"][..], &["stop", "--timeout", "1"]] {
        victim.tenant.start();
        let inject = ["-e", "trace=pidfd_send_signal", "-e", "inject=pidfd_send_signal:error=EPERM"];
        let strace = Strace::attach(&host, &inject.map(str::to_owned));
        let done = victim.tenant.ctl(words[0], &words[1..]).limit(Duration::from_secs(60)).output();
        assert!(strace.detach().contains("(INJECTED)"), "{words:?}");
        assert!(done.took < Duration::from_secs(20), "{words:?} took {:?}", done.took);
        // A supervisor that is not told of the kill, and is fast enough, says that its init was killed.
        let phase = victim.tenant.phase();
        assert!(["stopped", "failed"].contains(&phase.as_str()), "{words:?}: {phase}: {}", done.stderr);
        victim.is_gone(&format!("{words:?}"));
    }
}
