//! The way in: what the joiner does, and what the process it starts does before it executes. Both are
//! copies of a single-threaded caller and never return.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use caps::{CapSet, CapsHashSet};
use nix::{
    sched::setns,
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    },
    unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    pipe::{PipeFlags, pipe_with},
    termios::{Winsize, tcsetwinsize},
};

use super::{
    channel::Channel,
    command::{Command, ParentProcess, Streams},
    context::ExecContext,
    locale,
    passwd::{self, User},
    program::Image,
    step::Step,
    target::Target,
};
use crate::{
    init::confine::{Confinement, change_profile_on_exec},
    kernel::{
        pty,
        raw::{self, Fork, Parent},
    },
};

/// What the processes on the way in are called inside.
const NAME: &str = "tenant";

/// A step and the errno it failed with.
type StepError = (Step, i32);

fn at(step: Step) -> impl Fn(io::Error) -> StepError {
    move |error| (step, error.raw_os_error().unwrap_or(libc::EIO))
}

/// What the joiner is to do.
pub(super) struct Way<'a> {
    pub(super) target: &'a Target,
    pub(super) command: &'a Command,
    pub(super) context: &'a ExecContext,
    pub(super) streams: &'a Streams<'a>,
    pub(super) parent: ParentProcess,
    pub(super) channel: &'a Channel,
    /// The host's `/dev/null`: inside, the list of devices may lack it.
    pub(super) null: OwnedFd,
}

/// The joiner.
pub(super) fn run(way: Way<'_>) -> ! {
    let channel = way.channel;
    if let Err((step, errno)) = enter_and_clone(way) {
        let _ = channel.send_failure(step, errno);
        raw::exit(1);
    }
    raw::exit(0)
}

fn enter_and_clone(way: Way<'_>) -> Result<(), StepError> {
    let Way { target, command, context, streams, parent, channel, null } = way;
    target.enter_v1().map_err(at(Step::EnterCgroup))?;
    let mut kept = vec![target.pidfd.as_fd(), channel.as_fd(), null.as_fd()];
    match streams {
        Streams::Tty(tty) => kept.push(*tty),
        Streams::Given(given) => kept.extend(given),
        Streams::NewTty { .. } | Streams::Pipes => {}
    }
    harden(&kept, null.as_fd()).map_err(at(Step::Harden))?;
    drop(null);
    if let Some(profile) = &context.apparmor {
        change_profile_on_exec(profile).map_err(at(Step::Confine))?;
    }
    target.ceiling.share(&context.limits).map_err(at(Step::TakeShare))?;
    setns(&target.pidfd, target.namespaces).map_err(|error| at(Step::EnterNamespaces)(error.into()))?;
    become_user(0, 0, &[]).map_err(at(Step::BecomeRoot))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let user = find_user(command.user.as_deref()).map_err(at(Step::FindUser))?;
    let user = user.ok_or((Step::FindUser, libc::ENOENT))?;
    let groups = passwd::read("/etc/group").map(|text| passwd::groups(&text, &user));
    let groups = groups.map_err(at(Step::FindUser))?;
    // Made by root, who may open the multiplexer of any devpts.
    let ends = match streams {
        Streams::Tty(tty) => Some(Ends::given([*tty; 3])),
        Streams::Given(given) => Some(Ends::given(*given)),
        Streams::NewTty { rows, cols } => Some(new_terminal(&user, *rows, *cols)),
        Streams::Pipes => None,
    };
    let ends = ends.transpose().map_err(at(Step::OpenTerminal))?;
    let locale = locale::of_tenant();
    let env = [command.env.as_slice(), &locale, &command.asked];
    let image = Image::new(&command.argv, &user, env).map_err(at(Step::Execute))?;
    become_user_for_good(&user, &groups).map_err(at(Step::BecomeUser))?;
    confine(&target.ceiling.confine(&context.confinement), &user).map_err(at(Step::Confine))?;
    enter_directory(command, &user).map_err(at(Step::EnterDirectory))?;
    // Made by the user, whose they are: what opens /dev/stdout again must be let in.
    let Ends { far, near } = ends.map_or_else(Ends::of_pipes, Ok).map_err(at(Step::MakePipes))?;
    let has_terminal = matches!(streams, Streams::Tty(_) | Streams::NewTty { .. });
    let last = Last { fds: far, has_terminal, parent, image, channel };
    match parent {
        ParentProcess::Caller => match raw::clone3(0, Parent::Grandparent, None) {
            Ok(Fork::Child) => last.act(),
            Ok(Fork::Parent(pid)) => {
                let near: Vec<BorrowedFd<'_>> = near.iter().map(AsFd::as_fd).collect();
                channel.send_born(pid, &near).map_err(at(Step::SetUp))
            }
            Err(error) => Err(at(Step::Clone)(error)),
        },
        ParentProcess::Init => orphan(last),
    }
}

/// Starts the process as an orphan of the tenant's pid namespace: its parent ends at once, and init
/// takes it.
fn orphan(last: Last<'_>) -> Result<(), StepError> {
    match raw::clone3(0, Parent::Caller, None) {
        Ok(Fork::Child) => match raw::clone3(0, Parent::Caller, None) {
            Ok(Fork::Child) => match last.channel.send_here() {
                Ok(()) => last.act(),
                // No process waits for it any more.
                Err(_) => raw::exit(1),
            },
            Ok(Fork::Parent(_)) => raw::exit(0),
            Err(error) => {
                let (step, errno) = at(Step::Clone)(error);
                let _ = last.channel.send_failure(step, errno);
                raw::exit(1)
            }
        },
        Ok(Fork::Parent(parent)) => {
            // Were this process to end first, the parent would become an orphan of the host.
            let parent = rustix::process::Pid::from_raw(parent);
            match rustix::process::waitpid(parent, rustix::process::WaitOptions::empty()) {
                Ok(_) => Ok(()),
                Err(error) => Err(at(Step::Clone)(error.into())),
            }
        }
        Err(error) => Err(at(Step::Clone)(error)),
    }
}

/// The process's standard streams, and what the caller has of them.
struct Ends {
    far: [OwnedFd; 3],
    near: Vec<OwnedFd>,
}

impl Ends {
    fn given([stdin, stdout, stderr]: [BorrowedFd<'_>; 3]) -> io::Result<Self> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        Ok(Self { far: [copy(stdin)?, copy(stdout)?, copy(stderr)?], near: Vec::new() })
    }

    fn of_pipes() -> io::Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let ((stdin, near_in), (near_out, stdout), (near_err, stderr)) = (pipe()?, pipe()?, pipe()?);
        Ok(Self { far: [stdin, stdout, stderr], near: vec![near_in, near_out, near_err] })
    }
}

/// What the process itself does between its birth and its exec.
struct Last<'a> {
    fds: [OwnedFd; 3],
    /// Whether the first of them is to be its controlling terminal.
    has_terminal: bool,
    parent: ParentProcess,
    image: Image,
    channel: &'a Channel,
}

impl Last<'_> {
    fn act(self) -> ! {
        let Self { fds, has_terminal, parent, image, channel } = self;
        let fault = match set_up(fds, has_terminal, parent, channel) {
            Ok(()) => (Step::Execute, image.execute()),
            Err(error) => at(Step::SetUp)(error),
        };
        // A caller who is gone misses nothing.
        let _ = channel.send_failure(fault.0, fault.1);
        raw::exit(if fault.1 == libc::ENOENT { 127 } else { 126 })
    }
}

/// From here on nothing inside can look into this process, and of the host there is nothing in it but copies of
/// the caller's memory. What anybody may read of any process, its arguments, says nothing of the host either.
pub(super) fn harden(kept: &[BorrowedFd<'_>], null: BorrowedFd<'_>) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    raw::overwrite_arguments(NAME)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    raw::new_session_keyring()?;
    raw::close_except(kept)?;
    // 0, 1 and 2 are the caller's own; the process inside gets others in their place. Until then they
    // must be something, or the next descriptor would take their numbers.
    let is_kept = |number: i32| kept.iter().any(|fd| std::os::fd::AsRawFd::as_raw_fd(fd) == number);
    if !is_kept(0) {
        rustix::stdio::dup2_stdin(null)?;
    }
    if !is_kept(1) {
        rustix::stdio::dup2_stdout(null)?;
    }
    if !is_kept(2) {
        rustix::stdio::dup2_stderr(null)?;
    }
    Ok(())
}

/// A change of ids makes a process dumpable again where `fs.suid_dumpable` says so, and clears its
/// death signal.
pub(super) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prctl::set_dumpable(false)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Like [`become_user`], with the capabilities still there that [`confine`] needs. The other order would keep a
/// tenant whose root may not change its ids from being entered.
fn become_user_for_good(user: &User, groups: &[u32]) -> io::Result<()> {
    prctl::set_keepcaps(true)?;
    become_user(user.uid, user.gid, groups)?;
    prctl::set_keepcaps(false)?;
    let permitted = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    caps::set(None, CapSet::Effective, &permitted).map_err(io::Error::other)
}

/// Gives up everything that is not the tenant's, and what a change of ids would have taken from another user
/// than root.
fn confine(confinement: &Confinement, user: &User) -> io::Result<()> {
    confinement.apply()?;
    if user.uid != 0 {
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &CapsHashSet::new()).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn find_user(wanted: Option<&str>) -> io::Result<Option<User>> {
    Ok(passwd::find(&passwd::read("/etc/passwd")?, wanted.unwrap_or("root")))
}

/// A pseudoterminal of the tenant's own devpts; what is near is its master.
fn new_terminal(user: &User, rows: u16, cols: u16) -> io::Result<Ends> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let pty = pty::open(root)?;
    if rows > 0 && cols > 0 {
        tcsetwinsize(&pty.master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    fchown(&pty.slave, Some(Uid::from_raw(user.uid)), None)?;
    Ok(Ends { near: vec![pty.master], ..Ends::given([pty.slave.as_fd(); 3])? })
}

fn enter_directory(command: &Command, user: &User) -> io::Result<()> {
    match &command.dir {
        Some(dir) => Ok(rustix::process::chdir(dir.as_str())?),
        None if command.argv.is_empty() => {
            Ok(rustix::process::chdir(user.home.as_str()).or_else(|_| rustix::process::chdir("/"))?)
        }
        None => Ok(rustix::process::chdir("/")?),
    }
}

/// A session of its own (never the caller's: its controlling terminal would be reachable as
/// `/dev/tty`), the streams in their places, no signal blocked or ignored, nothing else open.
fn set_up(fds: [OwnedFd; 3], has_terminal: bool, parent: ParentProcess, channel: &Channel) -> io::Result<()> {
    if parent == ParentProcess::Caller {
        // It ends when its caller is killed; and if that was so before this took effect, there is no use in it.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if channel.is_abandoned() {
            raw::exit(1);
        }
    }
    rustix::process::setsid()?;
    if has_terminal {
        raw::set_controlling_tty(&fds[0])?;
    }
    let [stdin, stdout, stderr] = fds;
    rustix::stdio::dup2_stdin(&stdin)?;
    rustix::stdio::dup2_stdout(&stdout)?;
    rustix::stdio::dup2_stderr(&stderr)?;
    drop((stdin, stdout, stderr));
    // Closed, not only on exec: while that is done the tenant can look.
    raw::close_except(&[channel.as_fd()])?;
    let catchable: Vec<Signal> =
        Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)).collect();
    raw::default_signals(&catchable)?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_number() {
        for (number, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, number);
            assert_eq!(Step::from_number(number as u8), Some(step));
        }
        assert_eq!(Step::from_number(Step::ALL.len() as u8), None);
    }
}
