//! What supervisors say of their tenants, in `state.json`.

use std::{
    collections::HashMap,
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tenant::{
    Layout, TenantName,
    files::state::{ProcessRef, RunState},
};

use crate::quiet::{Moment, Now};

/// `state.json` as it was when it was read.
#[derive(Debug)]
struct Cached {
    stamp: (i64, i64, u64, u64),
    state: Arc<RunState>,
    /// Before the file was looked at.
    moment: Option<Moment>,
}

/// The states of all tenants, read again only when a file is another one.
#[derive(Debug)]
pub(super) struct States {
    layout: Layout,
    cached: Mutex<HashMap<TenantName, Cached>>,
}

impl States {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, cached: Mutex::default() }
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<TenantName, Cached>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last supervisor of a tenant said; none where there is no such file.
    pub(super) fn get(&self, name: &TenantName) -> Option<Arc<RunState>> {
        self.get_at(name, Now::default())
    }

    /// The same; the file is not looked at where nothing has happened to it.
    pub(super) fn get_at(&self, name: &TenantName, now: Now<'_>) -> Option<Arc<RunState>> {
        if let Some(cached) = self.cached().get(name)
            && now.is_as_at(cached.moment.as_ref())
        {
            return Some(cached.state.clone());
        }
        let moment = now.moment(name);
        let path = self.layout.run_state(name);
        let Ok(meta) = fs::metadata(&path) else {
            self.cached().remove(name);
            return None;
        };
        let stamp = (meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.size());
        if let Some(cached) = self.cached().get_mut(name)
            && cached.stamp == stamp
        {
            cached.moment = moment.or(cached.moment.take());
            return Some(cached.state.clone());
        }
        let state = Arc::new(RunState::read(&path).ok().flatten()?);
        self.cached().insert(name.clone(), Cached { stamp, state: state.clone(), moment });
        Some(state)
    }
}

/// The supervisor that wrote a state, if it is still running.
///
/// # Errors
/// It cannot be told: what lacks is a descriptor, or memory.
pub(super) fn find(state: &RunState) -> io::Result<Option<(ProcessRef, OwnedFd)>> {
    let process = state.supervisor;
    let Some(pid) = Pid::from_raw(process.pid).filter(|_| !state.phase.is_final()) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        opened => opened?,
    };
    // Asked after the descriptor is open: from now on the pid means the same process.
    // One that has ended is there until its parent takes it.
    Ok((process.is_alive() && !has_ended(&pidfd)).then_some((process, pidfd)))
}

/// Whether a process has ended: its pidfd is readable then, see pidfd_open(2).
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}
