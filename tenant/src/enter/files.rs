//! `tenant files`: files of a tenant as the tenant sees them, as an archive.
//!
//! The work is done by a process that has entered the tenant's user and mount namespaces and no others: it has the powers
//! of the tenant's root, sees nothing but the tenant's files, and nothing inside sees it. A tenant that is down has its
//! root put together for it.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, BufWriter, Read as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use filetree::{
    Dir, Keep, Owners, Pack, Reach, TreeError, Unpack, UnpackError,
    archive::{Reader, Writer},
    pack, unpack,
};
use nix::sched::{CloneFlags, setns};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, Mode, OFlags, openat},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid},
    stdio::{stdin, stdout},
};

use super::{
    error::ExecError,
    exec::find,
    joiner::{become_user, harden},
};
use crate::{
    apply::{self, StartError},
    cause::chain,
    files::{
        layout::Layout,
        sources::{LoadPlanError, Sources},
        state::RunState,
    },
    kernel::{
        Linux,
        raw::{self, Fork, Parent},
    },
    model::{facts::HostFacts, name::TenantName},
};

/// The exit code of a failure that the path is to blame for.
const NOT_FOUND: u8 = 3;
/// Longest text of a failure, bytes.
const LONGEST: u64 = 4096;

/// What is done with files of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Packs what is at a path into standard output.
    Pack {
        /// The path inside.
        path: PathBuf,
        /// What it is called in the archive, if not by its name.
        name: Option<OsString>,
    },
    /// Unpacks standard input.
    Unpack {
        /// A directory inside; or, in one, the name that the first entry of the archive gets.
        path: PathBuf,
        /// Whether files have the owners that the archive says; otherwise they are root's.
        keeps_owners: bool,
    },
}

/// Why that was not done.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The tenant cannot be entered.
    #[error(transparent)]
    Enter(#[from] ExecError),
    /// Its root cannot be put together.
    #[error("it is down, and its root cannot be put together")]
    Hold(#[from] Box<StartError>),
    /// The process inside has said why.
    #[error("{0}")]
    Inside(String, u8),
}

impl FilesError {
    /// The exit code that stands for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Enter(error) => error.exit_code(),
            Self::Hold(_) => 1,
            Self::Inside(_, code) => *code,
        }
    }

    /// The remedy, if one is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Enter(error) => error.help(),
            Self::Hold(error) => error.help(),
            Self::Inside(_, NOT_FOUND) => {
                Some("see what is there: tenantctl cp NAME:/DIRECTORY - | tar --list".to_owned())
            }
            Self::Inside(..) => None,
        }
    }
}

/// Works on files of a tenant, with this process's standard input and output. It has a single thread.
///
/// # Errors
/// Why it was not done; what was unpacked before a failure stays.
pub fn files(layout: &Layout, name: &TenantName, work: &Work) -> Result<(), FilesError> {
    let host = |what| move |error: io::Error| FilesError::Enter(ExecError::Host(what, error));
    match find(layout, name) {
        Ok((target, _)) => inside(target.pidfd.try_clone().map_err(host("open the tenant"))?, work),
        Err(ExecError::NotRunning(_)) => {
            let kernel = Linux::new();
            let standing = hold(layout, name, &kernel)?;
            let done =
                open(standing.pid()).map_err(host("open the tenant")).and_then(|pidfd| inside(pidfd, work));
            // What is left of it ends with this process, whose child it is.
            let _ = standing.end(&kernel);
            done
        }
        Err(error) => Err(error.into()),
    }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn hold(layout: &Layout, name: &TenantName, kernel: &Linux) -> Result<apply::Standing<Linux>, FilesError> {
    let host = |what| move |error: io::Error| FilesError::Enter(ExecError::Host(what, error));
    let load = |error: LoadPlanError| FilesError::Enter(error.into());
    if RunState::read(&layout.run_state(name))
        .map_err(ExecError::from)?
        .is_some_and(|said| said.is_supervised())
    {
        // It is starting, or ending.
        return Err(ExecError::NotRunning(name.to_string()).into());
    }
    let facts = HostFacts::gather().map_err(host("look at this host"))?;
    let sources = Sources::read(layout, name).map_err(|error| load(error.into()))?;
    // What is planned without a unit needs none.
    let nowhere = Path::new("/").join(layout.instance()).join(name.as_str());
    let plan = sources.plan(layout, name, &facts, Some(&nowhere), &[]).map_err(load)?;
    Ok(apply::hold(kernel, plan, &facts.cgroup.v2_own).map_err(Box::new)?)
}

/// Does the work in a process inside.
fn inside(pidfd: OwnedFd, work: &Work) -> Result<(), FilesError> {
    let host = |what| move |error: io::Error| FilesError::Enter(ExecError::Host(what, error));
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| host("make a pipe")(errno.into()))?;
    match raw::clone3(0, Parent::Caller, None).map_err(host("start a process"))? {
        Fork::Child => {
            drop(read);
            let code = match enter(&pidfd, &write).map_err(Fault::from).and_then(|()| act(work)) {
                Ok(()) => 0,
                Err(Fault { text, code }) => {
                    // The end of the pipe tells as much.
                    let _ = io::PipeWriter::from(write).write_all(text.as_bytes());
                    code
                }
            };
            raw::exit(code.into())
        }
        Fork::Parent(pid) => {
            drop(write);
            let child = Pid::from_raw(pid);
            if ends_first(&pidfd, &read) {
                // Its mounts would be there as long as that process is, and the directories beneath in use.
                let _ = child.map(|child| kill_process(child, Signal::KILL));
                let _ = rustix::io::retry_on_intr(|| waitpid(child, WaitOptions::empty()));
                return Err(FilesError::Inside("the tenant ended meanwhile".to_owned(), 1));
            }
            let mut text = String::new();
            let said = io::PipeReader::from(read).take(LONGEST).read_to_string(&mut text);
            let ended = rustix::io::retry_on_intr(|| waitpid(child, WaitOptions::empty()));
            let code = ended.ok().flatten().and_then(|(_, status)| status.exit_status());
            match code {
                Some(0) => Ok(()),
                Some(code) if said.is_ok() && !text.is_empty() => {
                    Err(FilesError::Inside(text, u8::try_from(code).unwrap_or(1)))
                }
                _ => Err(FilesError::Inside("the process inside was killed".to_owned(), 1)),
            }
        }
    }
}

/// Whether the tenant's init ends before the process inside has said something, or has ended.
fn ends_first(init: &OwnedFd, said: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(said, PollFlags::IN), PollFd::new(init, PollFlags::IN)];
    // Where it cannot be waited for, the process inside is.
    let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
    polled.is_ok() && fds[0].revents().is_empty() && !fds[1].revents().is_empty()
}

/// Why the work was not done, and the exit code.
struct Fault {
    text: String,
    code: u8,
}

impl Fault {
    fn new(error: &(impl std::error::Error + 'static), kind: io::ErrorKind) -> Self {
        let is_path = matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Self { text: chain(error), code: if is_path { NOT_FOUND } else { 1 } }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self { text: format!("cannot enter the tenant: {error}"), code: 1 }
    }
}

impl From<TreeError> for Fault {
    fn from(error: TreeError) -> Self {
        let kind = error.source.kind();
        Self::new(&error, kind)
    }
}

impl From<UnpackError> for Fault {
    fn from(error: UnpackError) -> Self {
        let kind = error.kind();
        Self::new(&error, kind)
    }
}

/// In the process that does the work: enters, with nothing of the host but the streams.
fn enter(pidfd: &OwnedFd, told: &OwnedFd) -> io::Result<()> {
    let null: OwnedFd = File::open("/dev/null")?.into();
    harden(&[stdin(), stdout(), pidfd.as_fd(), told.as_fd(), null.as_fd()], null.as_fd())?;
    drop(null);
    setns(pidfd, CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    become_user(0, 0, &[])?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// A failure of a path inside.
fn at(path: &Path) -> impl Fn(io::Error) -> Fault {
    move |error| Fault::new(&error, error.kind()).named(path)
}

impl Fault {
    fn named(self, path: &Path) -> Self {
        Self { text: format!("{path:?}: {}", self.text), ..self }
    }
}

/// A standard stream without a buffer of its own.
fn stream(of: BorrowedFd<'_>) -> io::Result<File> {
    Ok(of.try_clone_to_owned()?.into())
}

fn act(work: &Work) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty()).map_err(|errno| at(Path::new("/"))(errno.into()))?;
    let root = Dir::new(root, Reach::Confined);
    match work {
        Work::Pack { path, name } => {
            let (dir, last) = place(&root, path).map_err(at(path))?;
            let shown = name.as_deref().or_else(|| path.file_name()).unwrap_or(OsStr::new("."));
            let how = Pack { prefix: Path::new(shown), keep: Keep::Own, passes: &|_| false };
            let mut archive =
                Writer::new(BufWriter::with_capacity(256 << 10, stream(stdout()).map_err(at(path))?));
            pack(&dir, last.as_deref(), &how, &mut archive, &mut |_| Ok(()))?;
            let out = archive.finish().map_err(at(path))?;
            out.into_inner().map_err(|error| at(path)(error.into_error()))?;
            Ok(())
        }
        Work::Unpack { path, keeps_owners } => {
            let owners = if *keeps_owners { Owners::Kept } else { Owners::All(0, 0) };
            let (dir, name) = match root.find(path) {
                Ok(dir) => (dir, None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let (dir, name) = place(&root, path).map_err(at(path))?;
                    (dir, name)
                }
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    place(&root, path).map_err(at(path))?
                }
                Err(error) => return Err(at(path)(error)),
            };
            let name = name.map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            let how = Unpack {
                prefix: Path::new(""),
                owners,
                keep: Keep::Own,
                describes_top: false,
                name: name.as_deref(),
                modes: 0o7777,
            };
            unpack(&mut Reader::new(stream(stdin()).map_err(at(path))?), &dir, &how, &mut |_| Ok(()))?;
            Ok(())
        }
    }
}

/// The directory that a path is in, and its name there; none for the root.
fn place(root: &Dir, path: &Path) -> io::Result<(Dir, Option<CString>)> {
    match path.file_name() {
        None => Ok((root.try_clone()?, None)),
        Some(name) => {
            let dir = root.find(path.parent().unwrap_or(Path::new("")))?;
            let name = CString::new(name.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok((dir, Some(name)))
        }
    }
}
