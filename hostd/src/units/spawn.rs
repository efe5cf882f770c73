//! The supervisor as a process: `tenant run NAME` in a session of its own.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use tenant::{
    Layout, TenantName,
    files::{record, state::ProcessRef},
    kernel::raw::{Program, end_child, spawn_in_cgroup},
};
use wire::UnitCgroups;

/// So much of the supervisor's last words is told, bytes.
const STDERR_TAIL: u64 = 2048;

/// A supervisor that runs.
#[derive(Debug)]
pub(super) struct Spawned {
    /// Which process it is.
    pub(super) process: ProcessRef,
    /// pidfd_open(2) of it.
    pub(super) pidfd: OwnedFd,
}

/// File that takes what a supervisor says on standard error.
fn stderr_tail(layout: &Layout, name: &TenantName) -> PathBuf {
    layout.runtime(name).join("stderr")
}

/// The end of what the supervisor of a tenant said, in one line.
pub(super) fn read_stderr_tail(layout: &Layout, name: &TenantName) -> String {
    let read = || -> io::Result<String> {
        let mut file = record::open(&stderr_tail(layout, name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(STDERR_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(STDERR_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).collect()
}

fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Starts the supervisor of a tenant, born in the unit's v2 cgroup. It enters the v1 ones itself.
pub(super) fn spawn(
    program: &Path,
    layout: &Layout,
    name: &TenantName,
    cgroups: &UnitCgroups,
    notify: &Path,
) -> io::Result<Spawned> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let path = stderr_tail(layout, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A new one: whatever lay there, a link or a FIFO, is neither followed nor waited for.
    let stderr = File::options().create_new(true).write(true).mode(0o600).open(&path)?;
    let mut argv = vec![
        c_string("tenant")?,
        c_string("--root")?,
        c_string(layout.root())?,
        c_string("run")?,
        c_string(name.as_str())?,
        c_string("--cgroup")?,
        c_string(&cgroups.v2)?,
    ];
    for dir in cgroups.v1_dirs() {
        argv.extend([c_string("--v1-cgroup")?, c_string(dir)?]);
    }
    let mut notify_socket = b"NOTIFY_SOCKET=".to_vec();
    notify_socket.extend_from_slice(notify.as_os_str().as_encoded_bytes());
    let env = [
        c_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?,
        CString::new(notify_socket).map_err(|_| io::ErrorKind::InvalidInput)?,
        // As in tenant@.service.
        c_string("GLIBC_TUNABLES=glibc.malloc.tcache_count=0")?,
    ];
    let program = Program {
        path: &c_string(program)?,
        argv: &argv,
        env: &env,
        stderr: stderr.as_fd(),
        null: null.as_fd(),
    };
    let cgroup = File::open(cgroups.supervisor())?;
    let (pid, pidfd) = spawn_in_cgroup(&program, cgroup.as_fd())?;
    identified(pidfd, ProcessRef::of(pid))
}

/// A child with what it is found by later. One that cannot be found again is not left running.
fn identified(pidfd: OwnedFd, process: io::Result<ProcessRef>) -> io::Result<Spawned> {
    match process {
        Ok(process) => Ok(Spawned { process, pidfd }),
        Err(error) => Err(end_child(&pidfd, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
    use std::process::{Command, Stdio};

    /// What becomes of a child whose process can be read, or not: the answer, and whether it is still this process's.
    fn identify(read: impl FnOnce(i32) -> io::Result<ProcessRef>) -> (io::Result<Spawned>, bool) {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let spawned = identified(pidfd, read(pid.as_raw_nonzero().get()));
        // Not even a zombie is left where there is nothing to wait for.
        let is_there = !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD));
        if is_there {
            child.kill().unwrap();
        }
        // It fails for one that has been taken already.
        let _ = child.wait();
        (spawned, is_there)
    }

    /// Starts a program in the cgroup of this process.
    fn execute(path: &str) -> io::Result<(i32, OwnedFd)> {
        assert!(nix::unistd::geteuid().is_root(), "a process is born in a cgroup by root: run this as root");
        let own = tenant::model::facts::CgroupFacts::gather()?.v2_own;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let path = c_string(path)?;
        let argv = [path.clone()];
        let program =
            Program { path: &path, argv: &argv, env: &[], stderr: null.as_fd(), null: null.as_fd() };
        spawn_in_cgroup(&program, File::open(own)?.as_fd())
    }

    #[test]
    fn a_process_is_born_in_a_unit_whose_processes_were_killed_once() {
        assert!(nix::unistd::geteuid().is_root(), "this test makes cgroups: run it as root");
        let own = tenant::model::facts::CgroupFacts::gather().unwrap().v2_own;
        let v2 = own.join(format!("tenantry-test-{}", std::process::id()));
        let unit = UnitCgroups { v2: v2.clone(), ..UnitCgroups::default() };
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let path = c_string("/bin/true").unwrap();
        let argv = [path.clone()];
        let program =
            Program { path: &path, argv: &argv, env: &[], stderr: null.as_fd(), null: null.as_fd() };
        let run = || {
            crate::units::cgroups::make_unit(&unit).unwrap();
            let cgroup = File::open(unit.supervisor()).unwrap();
            let (pid, _pidfd) = spawn_in_cgroup(&program, cgroup.as_fd()).unwrap();
            waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().map(|(_, status)| status)
        };
        let first = run();
        // What a sweep does that cannot remove the directories afterwards.
        std::fs::write(v2.join("cgroup.kill"), "1").unwrap();
        let second = run();
        std::fs::remove_dir(unit.supervisor()).unwrap();
        std::fs::remove_dir(&v2).unwrap();
        for status in [first, second] {
            assert_eq!(status.and_then(|status| status.exit_status()), Some(0));
        }
    }

    #[test]
    fn a_start_takes_no_longer_in_a_large_process() {
        let quickest = || {
            let took = (0..10).map(|_| {
                let begin = std::time::Instant::now();
                let (pid, _pidfd) = execute("/bin/true").unwrap();
                let took = begin.elapsed();
                let ended = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap();
                assert_eq!(ended.and_then(|(_, status)| status.exit_status()), Some(0));
                took
            });
            took.min().unwrap()
        };
        let small = quickest();
        let memory = std::hint::black_box(vec![1_u8; 256 << 20]);
        let large = quickest();
        // A copy of the page tables of so much takes 8 ms.
        assert!(
            large < small + std::time::Duration::from_millis(3),
            "{small:?}, and {large:?} in a large one"
        );
        drop(memory);
    }

    #[test]
    fn a_program_that_cannot_be_executed_says_why_and_leaves_no_process() {
        assert_eq!(
            execute("/nonexistent").unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::NOENT.raw_os_error())
        );
        assert_eq!(
            execute("/etc").unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::ACCESS.raw_os_error())
        );
    }

    #[test]
    fn a_child_that_cannot_be_found_again_is_ended_and_taken() {
        let (refused, is_there) = identify(|_| Err(io::ErrorKind::OutOfMemory.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert!(!is_there, "it has been left to itself");
        let (spawned, is_there) = identify(ProcessRef::of);
        assert!(spawned.is_ok() && is_there);
    }
}
