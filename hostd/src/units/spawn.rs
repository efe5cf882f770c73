//! The supervisor as a process: `tenant run NAME` in a session of its own.

use std::{
    env,
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn},
    sys::{
        signal::{SigSet, Signal},
        stat::Mode,
    },
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tenant::{Layout, TenantName, state::ProcessRef};

use super::{UnitError, cgroups::UnitCgroups};

/// Number of the descriptor that the supervisor waits on until its cgroups are set up.
const GATE_FD: i32 = 3;
/// `POSIX_SPAWN_SETSID` of glibc's `spawn.h`; nix does not name it.
const SETSID: i32 = 0x80;
/// So much of the supervisor's last words is told, bytes.
const LAST_WORDS: u64 = 2048;

/// Environment variable with the directory of the program `tenant`.
const LIBEXEC: &str = "TENANTRY_LIBEXEC";

/// A supervisor that runs and waits for its gate to open.
#[derive(Debug)]
pub(super) struct Spawned {
    /// Which process it is.
    pub(super) process: ProcessRef,
    /// pidfd_open(2) of it.
    pub(super) pidfd: OwnedFd,
    gate: File,
}

impl Spawned {
    /// Lets it go on.
    pub(super) fn release(&mut self) -> io::Result<()> {
        self.gate.write_all(b"g")
    }
}

/// Finds the program `tenant`: in `$TENANTRY_LIBEXEC`, else beside this one.
///
/// # Errors
/// It is in neither place.
pub fn program() -> Result<PathBuf, UnitError> {
    let here = env::current_exe().map_err(|error| UnitError::Io("find this program", error))?;
    let dir = match env::var_os(LIBEXEC) {
        Some(dir) => PathBuf::from(dir),
        None => here.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let program = dir.join("tenant");
    if program.is_file() { Ok(program) } else { Err(UnitError::NoProgram(dir)) }
}

/// File that takes what a supervisor says on standard error.
fn last_words(layout: &Layout, name: &TenantName) -> PathBuf {
    layout.runtime(name).join("stderr")
}

/// The end of what the supervisor of a tenant said, in one line.
pub(super) fn read_last_words(layout: &Layout, name: &TenantName) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(last_words(layout, name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
        let mut bytes = Vec::new();
        file.take(LAST_WORDS).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).collect()
}

fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Starts the supervisor of a tenant. Of this process it inherits nothing but the gate.
pub(super) fn spawn(
    program: &Path,
    layout: &Layout,
    name: &TenantName,
    cgroups: &UnitCgroups,
    notify: &Path,
) -> io::Result<Spawned> {
    let (gate_theirs, gate_ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let stderr = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        // NOFOLLOW: nothing of the tenant is in this directory, and this keeps it that way.
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(last_words(layout, name))?;

    let mut actions = PosixSpawnFileActions::init()?;
    let null = c"/dev/null";
    actions.add_open(0, null, OFlag::O_RDONLY, Mode::empty())?;
    actions.add_open(1, null, OFlag::O_WRONLY, Mode::empty())?;
    actions.add_dup2(stderr.as_raw_fd(), 2)?;
    actions.add_dup2(gate_theirs.as_raw_fd(), GATE_FD)?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::from_bits_retain(SETSID.try_into().unwrap_or_default()),
    )?;
    // Rust ignores SIGPIPE, tokio handles others; the supervisor starts with none of that.
    let mut defaults = SigSet::empty();
    defaults.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&defaults)?;
    attributes.set_sigmask(&SigSet::empty())?;

    let argv = [
        c_string("tenant")?,
        c_string("--root")?,
        c_string(layout.root())?,
        c_string("run")?,
        c_string(name.as_str())?,
        c_string("--cgroup")?,
        c_string(&cgroups.v2)?,
        c_string("--gate-fd")?,
        c_string(GATE_FD.to_string())?,
    ];
    let mut notify_socket = b"NOTIFY_SOCKET=".to_vec();
    notify_socket.extend_from_slice(notify.as_os_str().as_encoded_bytes());
    let environment = [
        c_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?,
        CString::new(notify_socket).map_err(|_| io::ErrorKind::InvalidInput)?,
    ];
    let pid = posix_spawn(program, &actions, &attributes, &argv, &environment)?;
    let pid = pid.as_raw();
    let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
    // It is a child that nobody has waited for: its pid cannot mean another process.
    let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
    let process = ProcessRef::of(pid)?;
    Ok(Spawned { process, pidfd, gate: gate_ours.into() })
}
