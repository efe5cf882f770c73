//! What is done to a directory, call by call. seccomp(2) hands each call of a thread to another one, which looks at the
//! directory before it lets the call be made: nothing has to be known of a call but whether it writes out.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use syscalls::Sysno;

use super::{
    event::{Event, Name, Recording},
    tree::{Id, Inode, Kind, Names, Seen},
};
use crate::handed::{self, Call};

/// The calls before which the directory is looked at: those that change names or files, or write them out.
const CALLS: &str = "mkdir mkdirat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat unlink unlinkat \
     rmdir open openat openat2 creat chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat write pwrite64 writev \
     pwritev pwritev2 copy_file_range sendfile splice fallocate ftruncate truncate ioctl fsync fdatasync syncfs sync";

/// A directory that is looked at again and again.
pub(super) struct Recorder<'a> {
    top: &'a Path,
    /// The numbers of what was there at the last look, by inode number.
    ids: HashMap<u64, Id>,
    names: Names,
    inodes: HashMap<Id, Arc<Inode>>,
    next: Id,
    events: Vec<Event>,
    threads: HashSet<i32>,
}

/// Does something, and records what becomes of a directory meanwhile.
pub(super) fn record<T: Send>(top: &Path, act: impl FnOnce() -> T + Send) -> (Recording, T) {
    let mut recorder = Recorder {
        top,
        ids: HashMap::new(),
        names: Names::new(),
        inodes: HashMap::new(),
        next: 0,
        events: Vec::new(),
        threads: HashSet::new(),
    };
    recorder.look();
    let (names, inodes) = (recorder.names.clone(), recorder.inodes.clone());
    let before = recorder.events.len();
    let numbers: Vec<i32> =
        CALLS.split_whitespace().filter_map(|name| Some(name.parse::<Sysno>().ok()?.id())).collect();
    let (tell, hear) = mpsc::channel();
    let done = thread::scope(|scope| {
        let acting = scope.spawn(move || {
            nix::sys::prctl::set_no_new_privs().expect("it can always be set");
            drop(tell.send(handed::hand_over(&numbers).expect("the filter can be installed")));
            act()
        });
        if let Ok(listener) = hear.recv() {
            recorder.serve(listener.as_fd());
        }
        acting.join()
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let events = recorder.events.split_off(before);
    (Recording { top: recorder.ids[&Seen::number(top)], names, inodes, events }, done)
}

impl Recorder<'_> {
    /// Until no thread is left that could make a call.
    fn serve(&mut self, listener: std::os::fd::BorrowedFd<'_>) {
        handed::answer_at_once(listener);
        loop {
            let mut ready = [PollFd::new(listener, PollFlags::POLLIN)];
            if nix::poll::poll(&mut ready, PollTimeout::NONE).is_err() {
                continue;
            }
            if !ready[0].revents().unwrap_or(PollFlags::empty()).contains(PollFlags::POLLIN) {
                break;
            }
            let Ok(call) = handed::next(listener) else { continue };
            self.threads.insert(call.thread);
            if may_change(&call) {
                self.look();
                self.note(&call);
            }
            handed::answer(listener, &call, None);
        }
        self.look();
    }

    /// Notes what a call writes out. It counts from the beginning of the call: no thread relies on it before its end.
    fn note(&mut self, call: &Call) {
        match Sysno::new(usize::try_from(call.number).unwrap_or_default()) {
            Some(Sysno::syncfs | Sysno::sync) => self.events.push(Event::AllSynced),
            Some(Sysno::fsync | Sysno::fdatasync) => {
                let file = format!("/proc/{}/fd/{}", call.thread, call.arguments[0]);
                let number = fs::metadata(file).map(|meta| meta.ino()).ok();
                let known = number.and_then(|number| self.ids.get(&number));
                self.events.extend(known.map(|id| Event::Synced(*id)));
            }
            _ => {}
        }
    }

    /// Looks what is another than at the last look.
    fn look(&mut self) {
        let seen = loop {
            let Ok(seen) = Seen::read(self.top) else { continue };
            // What other threads do meanwhile must not be seen by halves.
            if self.threads.len() < 2 || Seen::read(self.top).is_ok_and(|again| again == seen) {
                break seen;
            }
        };
        let ids = self.identify(&seen);
        let names: Names =
            seen.names.iter().map(|((dir, name), own)| ((ids[dir], name.clone()), ids[own])).collect();
        let changed: BTreeSet<_> = self.names.keys().chain(names.keys()).collect();
        let changes: Vec<Name> = changed
            .into_iter()
            .filter(|slot| self.names.get(slot) != names.get(slot))
            .map(|slot| Name {
                dir: slot.0,
                name: slot.1.clone(),
                before: self.names.get(slot).copied(),
                after: names.get(slot).copied(),
                path: path_of(slot.0, &[&names, &self.names]).join(&slot.1),
            })
            .collect();
        if !changes.is_empty() {
            self.events.push(Event::Names(changes));
        }
        (self.ids, self.names) = (ids, names);
    }

    /// The numbers of what is there; what is new or changed is noted.
    fn identify(&mut self, seen: &Seen) -> HashMap<u64, Id> {
        let mut ids = HashMap::new();
        for (number, inode) in &seen.inodes {
            let known = self.ids.get(number).copied();
            let known = known.filter(|id| {
                std::mem::discriminant::<Kind>(&self.inodes[id].kind) == std::mem::discriminant(&inode.kind)
            });
            let id = known.unwrap_or_else(|| {
                self.next += 1;
                self.next
            });
            if self.inodes.get(&id) != Some(inode) {
                self.inodes.insert(id, Arc::clone(inode));
                self.events.push(Event::Inode(id, Arc::clone(inode)));
            }
            ids.insert(*number, id);
        }
        ids
    }
}

/// Whether something can be another after a call than before.
fn may_change(call: &Call) -> bool {
    const MAKES: u64 = (nix::libc::O_CREAT | nix::libc::O_TRUNC) as u64;
    match Sysno::new(usize::try_from(call.number).unwrap_or_default()) {
        Some(Sysno::openat) => call.arguments[2] & MAKES != 0,
        #[cfg(target_arch = "x86_64")]
        Some(Sysno::open) => call.arguments[1] & MAKES != 0,
        _ => true,
    }
}

/// The path of a directory, by the first of these in which it has one.
fn path_of(dir: Id, all: &[&Names]) -> PathBuf {
    for names in all {
        if let Some(((parent, name), _)) = names.iter().find(|(_, id)| **id == dir) {
            return path_of(*parent, all).join(name);
        }
    }
    PathBuf::new()
}
