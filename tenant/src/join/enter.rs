//! The way in: what the joiner does, and what the process it starts does before it executes. Both are
//! copies of a single-threaded caller and never return.

use std::{
    collections::BTreeMap,
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    },
    unistd::{Gid, Uid, execve, fchown, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    termios::{Winsize, tcsetwinsize},
};

use super::{
    Adopter, Command, Streams, Target,
    channel::Channel,
    passwd::{self, User},
};
use crate::{
    facts::has_time_namespaces,
    kernel::{
        confine, pty,
        raw::{self, Fork, Parent},
    },
    plan::SecurityPlan,
};

/// What failed on the way in.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Harden,
    EnterCgroup,
    EnterNamespaces,
    BecomeRoot,
    FindUser,
    OpenTerminal,
    EnterDirectory,
    Confine,
    BecomeUser,
    Clone,
    SetUp,
    Execute,
}

impl Step {
    const ALL: [Self; 12] = [
        Self::Harden,
        Self::EnterCgroup,
        Self::EnterNamespaces,
        Self::BecomeRoot,
        Self::FindUser,
        Self::OpenTerminal,
        Self::EnterDirectory,
        Self::Confine,
        Self::BecomeUser,
        Self::Clone,
        Self::SetUp,
        Self::Execute,
    ];

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What it does, as it goes into "cannot … inside the tenant".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Harden => "let go of the host",
            Self::EnterCgroup => "enter the cgroups of init",
            Self::EnterNamespaces => "enter the namespaces of init",
            Self::BecomeRoot => "become root",
            Self::FindUser => "find the user",
            Self::OpenTerminal => "open a pseudoterminal",
            Self::EnterDirectory => "enter the working directory",
            Self::Confine => "give up capabilities",
            Self::BecomeUser => "become the user",
            Self::Clone => "clone",
            Self::SetUp => "set up the session",
            Self::Execute => "execute",
        }
    }
}

/// A step and the errno it failed with.
type Fault = (Step, i32);

fn at(step: Step) -> impl Fn(io::Error) -> Fault {
    move |error| (step, error.raw_os_error().unwrap_or(libc::EIO))
}

/// Every namespace a tenant has; the user namespace is entered first by the kernel itself. A kernel without time
/// namespaces refuses them all if that one is among them.
fn namespaces(has_time: bool) -> CloneFlags {
    let time = if has_time { CloneFlags::from_bits_retain(raw::CLONE_NEWTIME) } else { CloneFlags::empty() };
    CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP
        | time
}

/// What the joiner is to do.
pub(super) struct Way<'a> {
    pub(super) target: &'a Target,
    pub(super) command: &'a Command,
    pub(super) security: &'a SecurityPlan,
    pub(super) streams: &'a Streams<'a>,
    pub(super) adopter: Adopter,
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

fn enter_and_clone(way: Way<'_>) -> Result<(), Fault> {
    let Way { target, command, security, streams, adopter, channel, null } = way;
    target.enter_v1().map_err(at(Step::EnterCgroup))?;
    let mut kept = vec![target.pidfd.as_fd(), channel.as_fd(), null.as_fd()];
    match streams {
        Streams::Tty(tty) => kept.push(*tty),
        Streams::Pipes(pipes) => kept.extend(pipes),
        Streams::NewTty { .. } => {}
    }
    harden(&kept, null.as_fd()).map_err(at(Step::Harden))?;
    drop(null);
    setns(&target.pidfd, namespaces(has_time_namespaces()))
        .map_err(|error| at(Step::EnterNamespaces)(error.into()))?;
    become_user(0, 0, &[]).map_err(at(Step::BecomeRoot))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let user = find_user(command.user.as_deref()).map_err(at(Step::FindUser))?;
    let user = user.ok_or((Step::FindUser, libc::ENOENT))?;
    let groups = passwd::read("/etc/group").map(|text| passwd::groups(&text, &user));
    let groups = groups.map_err(at(Step::FindUser))?;
    let terminal = match streams {
        Streams::NewTty { rows, cols } => {
            Some(new_terminal(&user, *rows, *cols).map_err(at(Step::OpenTerminal))?)
        }
        _ => None,
    };
    let fds: [BorrowedFd<'_>; 3] = match (streams, &terminal) {
        (Streams::Pipes(pipes), _) => *pipes,
        (Streams::Tty(tty), _) => [*tty; 3],
        (_, Some(new)) => [new.slave.as_fd(); 3],
        (Streams::NewTty { .. }, None) => return Err((Step::OpenTerminal, libc::EIO)),
    };
    let image = Image::new(command, &user).map_err(at(Step::Execute))?;
    confine::apply(security).map_err(at(Step::Confine))?;
    become_user(user.uid, user.gid, &groups).map_err(at(Step::BecomeUser))?;
    enter_directory(command, &user).map_err(at(Step::EnterDirectory))?;
    let last = Last { fds, is_terminal: !matches!(streams, Streams::Pipes(_)), image, channel };
    match adopter {
        Adopter::Caller => match raw::clone3(0, Parent::Grandparent, None) {
            Ok(Fork::Child) => last.act(),
            Ok(Fork::Parent(pid)) => {
                let master = terminal.as_ref().map(|terminal| terminal.master.as_fd());
                channel.send_born(pid, master).map_err(at(Step::SetUp))
            }
            Err(error) => Err(at(Step::Clone)(error)),
        },
        Adopter::Init => orphan(last),
    }
}

/// Starts the process as an orphan of the tenant's pid namespace: its parent ends at once, and init
/// takes it.
fn orphan(last: Last<'_>) -> Result<(), Fault> {
    match raw::clone3(0, Parent::Caller, None) {
        Ok(Fork::Child) => match raw::clone3(0, Parent::Caller, None) {
            Ok(Fork::Child) => match last.channel.send_here() {
                Ok(()) => last.act(),
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

/// What the process itself does between its birth and its exec.
struct Last<'a> {
    fds: [BorrowedFd<'a>; 3],
    is_terminal: bool,
    image: Image,
    channel: &'a Channel,
}

impl Last<'_> {
    fn act(&self) -> ! {
        let fault = match set_up(self.fds, self.is_terminal) {
            Ok(()) => (Step::Execute, self.image.execute()),
            Err(error) => at(Step::SetUp)(error),
        };
        let _ = self.channel.send_failure(fault.0, fault.1);
        raw::exit(if fault.1 == libc::ENOENT { 127 } else { 126 })
    }
}

/// From here on nothing inside can look into this process, and there is nothing of the host in it.
fn harden(kept: &[BorrowedFd<'_>], null: BorrowedFd<'_>) -> io::Result<()> {
    prctl::set_dumpable(false)?;
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
fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prctl::set_dumpable(false)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

fn find_user(wanted: Option<&str>) -> io::Result<Option<User>> {
    Ok(passwd::find(&passwd::read("/etc/passwd")?, wanted.unwrap_or("root")))
}

fn new_terminal(user: &User, rows: u16, cols: u16) -> io::Result<pty::Pty> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let pty = pty::open(root)?;
    if rows > 0 && cols > 0 {
        tcsetwinsize(&pty.master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    fchown(&pty.slave, Some(Uid::from_raw(user.uid)), None)?;
    Ok(pty)
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
fn set_up(fds: [BorrowedFd<'_>; 3], is_terminal: bool) -> io::Result<()> {
    rustix::process::setsid()?;
    // Out of the way of 0, 1 and 2 first: one of them may be the source of another.
    let fds: Vec<OwnedFd> =
        fds.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3)).collect::<rustix::io::Result<_>>()?;
    if is_terminal {
        raw::set_controlling_tty(&fds[0])?;
    }
    rustix::stdio::dup2_stdin(&fds[0])?;
    rustix::stdio::dup2_stdout(&fds[1])?;
    rustix::stdio::dup2_stderr(&fds[2])?;
    raw::cloexec_from(3)?;
    let catchable: Vec<Signal> =
        Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)).collect();
    raw::default_signals(&catchable)?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// What is executed, prepared before powers are given up.
struct Image {
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    fn new(command: &Command, user: &User) -> io::Result<Self> {
        let mut env = BTreeMap::from([
            ("HOME", user.home.as_str()),
            ("USER", user.name.as_str()),
            ("LOGNAME", user.name.as_str()),
            ("SHELL", user.shell.as_str()),
        ]);
        env.extend(command.env.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let (programs, argv) = match command.argv.first() {
            None => {
                let name = user.shell.rsplit('/').next().unwrap_or("sh");
                (vec![user.shell.clone(), "/bin/sh".to_owned()], vec![format!("-{name}")])
            }
            Some(program) if program.contains('/') => (vec![program.clone()], command.argv.clone()),
            Some(program) => {
                let path = env.get("PATH").copied().unwrap_or("/usr/bin:/bin");
                let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
                (dirs.map(|dir| format!("{dir}/{program}")).collect(), command.argv.clone())
            }
        };
        let text = |text: String| CString::new(text).map_err(io::Error::from);
        Ok(Self {
            programs: programs.into_iter().map(text).collect::<io::Result<_>>()?,
            argv: argv.into_iter().map(text).collect::<io::Result<_>>()?,
            env: env.iter().map(|(key, value)| text(format!("{key}={value}"))).collect::<io::Result<_>>()?,
        })
    }

    /// Executes the first program that is there; returns why none was, as execvp(3) does.
    fn execute(&self) -> i32 {
        let mut fault = Errno::ENOENT;
        for program in &self.programs {
            match execve(program, &self.argv, &self.env) {
                Ok(never) => match never {},
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error @ Errno::EACCES) => fault = error,
                Err(error) => return error as i32,
            }
        }
        fault as i32
    }
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

    #[test]
    fn a_kernel_without_time_namespaces_is_asked_for_none() {
        let bits = |has_time| namespaces(has_time).bits();
        assert_eq!(
            (bits(true) & raw::CLONE_NEWTIME, bits(false) & raw::CLONE_NEWTIME),
            (raw::CLONE_NEWTIME, 0)
        );
        assert_eq!(bits(true) & !raw::CLONE_NEWTIME, bits(false));
    }

    #[test]
    fn a_program_is_looked_up_inside_and_the_user_has_its_environment() {
        let user = passwd::find("ann:x:1000:1000::/home/ann:/bin/zsh", "ann").unwrap();
        let env = vec![
            ("PATH".to_owned(), "/usr/bin:relative:/bin".to_owned()),
            ("USER".to_owned(), "x".to_owned()),
        ];
        let command = Command { argv: vec!["ls".to_owned()], env, ..Command::default() };
        let image = Image::new(&command, &user).unwrap();
        assert_eq!(image.programs, [c"/usr/bin/ls".to_owned(), c"/bin/ls".to_owned()]);
        assert!(image.env.contains(&c"HOME=/home/ann".to_owned()));
        assert!(image.env.contains(&c"USER=x".to_owned()));
        let shell = Image::new(&Command::default(), &user).unwrap();
        assert_eq!(shell.argv, [c"-zsh".to_owned()]);
        assert_eq!(shell.programs[0], c"/bin/zsh".to_owned());
    }
}
