//! Counts the calls of the programs under test, and makes one of them fail, or kills its process before it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsFd as _, IntoRawFd as _, OwnedFd},
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use syscalls::Sysno;
use tenantry_tests::handed::{self, Call};

use crate::calls;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Error(Errno),
    /// Its process is killed before it.
    Kill,
}

/// Which process, as far as a point can name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Role(String);

/// The calls of one verb.
pub(crate) type Counts = BTreeMap<(Role, Sysno), u32>;

/// One call of a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) role: Role,
    pub(crate) call: Sysno,
    /// Which of its kind in its role, from 1.
    pub(crate) number: u32,
    pub(crate) fault: Fault,
}

impl fmt::Display for Point {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, call, number, fault } = self;
        write!(to, "{} {call} {number} ", role.0)?;
        match fault {
            Fault::Error(errno) => write!(to, "{errno:?}"),
            Fault::Kill => to.write_str("KILL"),
        }
    }
}

impl Role {
    /// Whether it is the victim's supervisor itself.
    pub(crate) fn is_supervisor(&self) -> bool {
        self.0 == "supervisor"
    }

    /// Whether it is the program that a verb calls, with no daemon behind it.
    pub(crate) fn is_tool(&self) -> bool {
        self.0 == "rootfsctl"
    }

    /// Whether it is hostd itself.
    pub(crate) fn is_hostd(&self) -> bool {
        self.0 == "hostd"
    }
}

/// Makes calls fail. Its socket is gone when it is dropped; what is still at work goes on undisturbed.
pub(crate) struct Injector {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The tenant whose supervisor is meant.
    tenant: String,
    roles: HashMap<i32, Option<(Role, i32)>>,
    counts: Counts,
    point: Option<Point>,
    hit: bool,
}

fn held(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Injector {
    /// With its socket at a path; about this tenant.
    pub(crate) fn new(socket: PathBuf, tenant: &str) -> Self {
        let listener = UnixListener::bind(&socket).expect("a socket can be bound");
        let state = Arc::new(Mutex::new(State { tenant: tenant.to_owned(), ..State::default() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&adopt(stream), &shared));
            }
        });
        Self { socket, state }
    }

    /// The beginning of the command line of a program whose calls are to be counted.
    pub(crate) fn words(&self) -> Vec<String> {
        let own = std::env::current_exe().expect("a program has a path");
        let text = |path: &Path| path.to_str().expect("paths of tests are text").to_owned();
        vec![text(&own), LAUNCH.to_owned(), text(&self.socket)]
    }

    /// Begins to count; with a point, makes it happen.
    pub(crate) fn begin(&self, point: Option<&Point>) {
        let mut state = held(&self.state);
        state.counts.clear();
        state.roles.clear();
        state.hit = false;
        state.point = point.cloned();
    }

    /// Whether the point has been reached.
    pub(crate) fn was_hit(&self) -> bool {
        held(&self.state).hit
    }

    /// What was called since [`Self::begin`], and whether the point was reached.
    pub(crate) fn end(&self) -> (Counts, bool) {
        let mut state = held(&self.state);
        state.point = None;
        (std::mem::take(&mut state.counts), state.hit)
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.socket));
    }
}

/// The first argument of this program as what starts others.
pub(crate) const LAUNCH: &str = "launch";

/// `launch SOCKET PROGRAM ARGUMENT…`: becomes a program whose calls are handed to the one at the socket.
pub(crate) fn launch(mut words: impl Iterator<Item = String>) -> ! {
    let socket = words.next().expect("a socket");
    let program = words.next().expect("a program");
    let mut stream = UnixStream::connect(socket).expect("the test listens");
    // The next descriptor is known; to tell it afterwards would be a call that waits for the one who is to be told.
    let next = stream.try_clone().expect("a descriptor");
    let number = std::os::fd::AsRawFd::as_raw_fd(&next);
    drop(next);
    writeln!(stream, "{} {number}", std::process::id()).expect("the test listens");
    let numbers: Vec<i32> = calls::all().map(|(call, _)| call.id()).collect();
    let listener = handed::hand_over(&numbers).expect("the filter can be installed");
    assert_eq!(listener.into_raw_fd(), number);
    panic!("{program}: {}", Command::new(&program).args(words).exec())
}

/// Whether the first argument of a call is a descriptor of this kind.
fn is_on(call: &Call, kind: &str) -> bool {
    let link = fs::read_link(format!("/proc/{}/fd/{}", call.thread, call.arguments[0]));
    link.is_ok_and(|target| target.to_string_lossy().contains(kind))
}

/// Takes the descriptor of a launched program.
fn adopt(stream: UnixStream) -> OwnedFd {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("it says which descriptor");
    let (pid, number) = line.trim().split_once(' ').expect("a process and a descriptor");
    let (pid, number): (i32, i32) = (pid.parse().expect("a pid"), number.parse().expect("a number"));
    let own = rustix::process::Pid::from_raw(pid).expect("a pid");
    let process = rustix::process::pidfd_open(own, PidfdFlags::empty()).expect("it waits");
    let link = format!("/proc/{pid}/fd/{number}");
    tenantry_tests::poll::until_true("its filter is installed", || {
        fs::read_link(&link).is_ok_and(|target| target.to_string_lossy().contains("seccomp"))
    });
    rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty()).expect("it is there")
}

/// Answers every call until no process is left that could make one.
fn serve(listener: &OwnedFd, state: &Mutex<State>) {
    handed::answer_at_once(listener.as_fd());
    loop {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if nix::poll::poll(&mut ready, PollTimeout::NONE).is_err() {
            continue;
        }
        let events = ready[0].revents().unwrap_or(PollFlags::empty());
        if !events.contains(PollFlags::POLLIN) {
            return;
        }
        let Ok(call) = handed::next(listener.as_fd()) else { continue };
        let fault = held(state).fault_of(&call);
        match fault {
            None => handed::answer(listener.as_fd(), &call, None),
            Some((Fault::Error(errno), _)) => handed::answer(listener.as_fd(), &call, Some(errno)),
            Some((Fault::Kill, process)) => {
                let _gone = kill(Pid::from_raw(process), Signal::SIGKILL);
                handed::answer(listener.as_fd(), &call, Some(Errno::EINTR));
            }
        }
    }
}

impl State {
    /// Counts a call; the fault it is to have, and its process.
    fn fault_of(&mut self, call: &Call) -> Option<(Fault, i32)> {
        let number = Sysno::new(usize::try_from(call.number).ok()?)?;
        let known = self.role(call.thread);
        if matches!(number, Sysno::execve | Sysno::execveat) {
            // It is another program from then on.
            self.roles.remove(&call.thread);
        }
        let (role, process) = known?;
        if matches!(number, Sysno::read | Sysno::write) && is_on(call, "anon_inode:") {
            // Of an eventfd or a signalfd: there is nothing behind it that could fail.
            return None;
        }
        let count = self.counts.entry((role.clone(), number)).or_default();
        *count += 1;
        let point = self.point.as_ref()?;
        if point.call != number || point.role != role || point.number != *count {
            return None;
        }
        self.hit = true;
        Some((point.fault, process))
    }

    fn role(&mut self, thread: i32) -> Option<(Role, i32)> {
        if let Some(known) = self.roles.get(&thread) {
            return known.clone();
        }
        let found = self.look(thread);
        self.roles.insert(thread, found.clone());
        found
    }

    fn look(&self, thread: i32) -> Option<(Role, i32)> {
        let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<i32>().ok());
        let (process, parent) = (field("Tgid:")?, field("PPid:")?);
        let program = self.program(process)?;
        // What was started as another program, and not by a fork of this one.
        let is_main = self.program(parent).as_deref() != Some(program.as_str());
        let name = if is_main { program } else { format!("{program}/child") };
        Some((Role(name), process))
    }

    /// What a process is, by its command line; nothing for what is inside of tenants, or another tenant's.
    fn program(&self, process: i32) -> Option<String> {
        let line = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.split('\0').collect();
        let name = words.first()?.rsplit('/').next()?;
        match name {
            "hostd" | "rootfsctl" => Some(name.to_owned()),
            "tenant" if !words.contains(&self.tenant.as_str()) => None,
            "tenant" if words.contains(&"run") => Some("supervisor".to_owned()),
            "tenant" if words.contains(&"files") => Some("files".to_owned()),
            _ => None,
        }
    }
}
