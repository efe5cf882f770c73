//! What a power cut can leave of a change to a directory.
//!
//! [`Recording::of`] does something and records what becomes of a directory, call by call. [`Recording::states`] are the
//! directories that a power cut after each of these calls can leave, by what a journaling filesystem promises:
//!
//! - What one call does to names (mkdir, link, rename, unlink) is done wholly or not at all.
//! - It stays done from the next fsync(2) of a directory that it changed, or syncfs(2). Before that it may be lost, or
//!   stay while an earlier one is lost; but nothing stays that needs what is lost, as a rename needs what it renames.
//! - What is in a file stays from the next fsync(2) of it, or syncfs(2). Before that the file may be empty or short,
//!   whatever its names are.
//!
//! Linux's filesystems promise more. What holds by this holds on all of them.

mod event;
mod record;
mod tree;

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

pub use self::{event::Recording, tree::names_below};
use self::{
    event::{Event, Name},
    tree::{Id, Inode, Left},
};

/// A directory that a power cut can leave.
#[derive(Debug)]
pub struct State {
    left: Left,
    /// Whether what was recorded was at its end before the power failed.
    pub is_done: bool,
    at: usize,
    text: String,
}

impl State {
    /// Makes it below an empty directory.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn write(&self, to: &Path) {
        self.left.write(to).unwrap_or_else(|error| panic!("{self}: {error}"));
    }
}

impl fmt::Display for State {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

/// What is in files that were not written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    Whole,
    Half,
    Empty,
}

/// Which changes of names are lost, of those that were not written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    None,
    All,
    /// All but one, and what that needs.
    AllBut(usize),
    /// One, and what needs it.
    Only(usize),
}

impl Recording {
    /// Does something, and records what becomes of a directory meanwhile, by this thread's work and that of all threads
    /// and processes that it starts. What is in `run` at its top is on no disk and is passed over.
    ///
    /// # Panics
    /// When calls cannot be handed over, or `act` panics.
    pub fn of<T: Send>(top: &Path, act: impl FnOnce() -> T + Send) -> (Self, T) {
        record::record(top, act)
    }

    /// How many things happened.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing did.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Each directory that a power cut can leave, once, with the last moment at which it can.
    pub fn states(&self) -> Vec<State> {
        let mut states: HashMap<Left, (usize, String)> = HashMap::new();
        let mut moment = Moment::first(self);
        loop {
            for (lost, data) in moment.choices() {
                let told = (moment.at, moment.tell(lost, data));
                states.insert(moment.left(lost, data), told);
            }
            if !moment.advance() {
                break;
            }
        }
        let state = |(left, (at, text))| State { left, is_done: at == self.events.len(), text, at };
        let mut states: Vec<State> = states.into_iter().map(state).collect();
        states.sort_by(|one, other| (one.at, &one.text).cmp(&(other.at, &other.text)));
        states
    }
}

fn names(event: &Event) -> &[Name] {
    match event {
        Event::Names(names) => names,
        _ => &[],
    }
}

/// Whether a change of names cannot have been made without an earlier one.
fn needs(later: &[Name], earlier: &[Name]) -> bool {
    let is_of_two = later.iter().any(|name| name.dir != later[0].dir);
    later.iter().any(|name| {
        earlier.iter().any(|before| {
            let is_same_name = (name.dir, &name.name) == (before.dir, &before.name);
            let is_same_file = name.after.is_some() && name.after == before.after;
            // From one directory to another: both are there.
            is_same_name || is_same_file || (is_of_two && before.after == Some(name.dir))
        })
    })
}

/// What is on the disk, and what is not, after so many events.
struct Moment<'a> {
    recording: &'a Recording,
    at: usize,
    /// Of each change of names the earlier ones that it needs.
    needed: Vec<Vec<usize>>,
    /// Which changes of names have been written out.
    is_kept: Vec<bool>,
    /// What every file is now, and what the disk has of it.
    now: HashMap<Id, Arc<Inode>>,
    disk: HashMap<Id, Arc<Inode>>,
}

impl<'a> Moment<'a> {
    fn first(recording: &'a Recording) -> Self {
        let events = &recording.events;
        let needed = (0..events.len()).map(|later| {
            (0..later).filter(|earlier| needs(names(&events[later]), names(&events[*earlier]))).collect()
        });
        let inodes = recording.inodes.clone();
        Self {
            recording,
            at: 0,
            needed: needed.collect(),
            is_kept: vec![false; events.len()],
            now: inodes.clone(),
            disk: inodes,
        }
    }

    /// Goes on by an event; false at the end.
    fn advance(&mut self) -> bool {
        let Some(event) = self.recording.events.get(self.at) else { return false };
        match event {
            Event::Names(_) => {}
            Event::Inode(id, inode) => {
                self.now.insert(*id, Arc::clone(inode));
                self.disk.entry(*id).or_insert_with(|| Arc::new(inode.cut(|_| 0)));
            }
            Event::Synced(id) => {
                self.disk.insert(*id, Arc::clone(&self.now[id]));
                for change in 0..self.at {
                    if names(&self.recording.events[change]).iter().any(|name| name.dir == *id) {
                        keep(&self.needed, &mut self.is_kept, change);
                    }
                }
            }
            Event::AllSynced => {
                self.disk = self.now.clone();
                self.is_kept[..self.at].fill(true);
            }
        }
        self.at += 1;
        true
    }

    fn choices(&self) -> Vec<(Lost, Data)> {
        let mut choices = Vec::new();
        for lost in [Lost::None, Lost::All] {
            choices.extend([Data::Whole, Data::Half, Data::Empty].map(|data| (lost, data)));
        }
        let events = &self.recording.events;
        // Until then what may be lost becomes more.
        if matches!(events.get(self.at), None | Some(Event::Synced(_) | Event::AllSynced)) {
            let may_be = |change: &usize| !self.is_kept[*change] && !names(&events[*change]).is_empty();
            for change in (0..self.at).filter(may_be) {
                choices.extend([Lost::AllBut(change), Lost::Only(change)].map(|lost| (lost, Data::Empty)));
            }
        }
        choices
    }

    /// Which changes of names stay.
    fn stays(&self, lost: Lost) -> Vec<bool> {
        match lost {
            Lost::None => vec![true; self.at],
            Lost::All => self.is_kept[..self.at].to_vec(),
            Lost::AllBut(one) => {
                let mut stays = self.is_kept[..self.at].to_vec();
                keep(&self.needed, &mut stays, one);
                stays
            }
            Lost::Only(one) => {
                let mut stays = vec![true; self.at];
                stays[one] = false;
                for later in one + 1..self.at {
                    stays[later] = self.needed[later].iter().all(|earlier| stays[*earlier]);
                }
                stays
            }
        }
    }

    fn left(&self, lost: Lost, data: Data) -> Left {
        let mut left = self.recording.names.clone();
        for (event, _) in self.recording.events.iter().zip(self.stays(lost)).filter(|(_, stays)| *stays) {
            for Name { dir, name, after, .. } in names(event) {
                match after {
                    Some(id) => left.insert((*dir, name.clone()), *id),
                    None => left.remove(&(*dir, name.clone())),
                };
            }
        }
        Left::of(self.recording.top, &left, |id| self.inode(id, data))
    }

    fn inode(&self, id: Id, data: Data) -> Arc<Inode> {
        let (now, disk) = (&self.now[&id], &self.disk[&id]);
        match data {
            Data::Whole => Arc::clone(now),
            // One that was written out before has what it had then.
            Data::Half if **disk == now.cut(|_| 0) => Arc::new(now.cut(|length| length / 2)),
            Data::Half | Data::Empty => Arc::clone(disk),
        }
    }

    fn tell(&self, lost: Lost, data: Data) -> String {
        let events = &self.recording.events;
        let change = |at: usize| tell(names(&events[at]));
        let last = (0..self.at).rev().find(|at| !names(&events[*at]).is_empty());
        let last = last.map_or("the beginning".to_owned(), change);
        let lost = match lost {
            Lost::None => "no name is lost".to_owned(),
            Lost::All => "every name that may be lost is".to_owned(),
            Lost::AllBut(one) => format!("every name that may be lost is, but for {}", change(one)),
            Lost::Only(one) => format!("lost is {}", change(one)),
        };
        let data = match data {
            Data::Whole => "data is whole",
            Data::Half => "half of the data is lost",
            Data::Empty => "data is lost",
        };
        format!("after {} of {} events, the last name being {last}: {lost}; {data}", self.at, events.len())
    }
}

/// Keeps a change of names, and those that it needs.
fn keep(needed: &[Vec<usize>], is_kept: &mut [bool], change: usize) {
    if !std::mem::replace(&mut is_kept[change], true) {
        needed[change].iter().for_each(|earlier| keep(needed, is_kept, *earlier));
    }
}

fn tell(names: &[Name]) -> String {
    let told: Vec<String> = names
        .iter()
        .map(|name| match (name.before, name.after) {
            (None, _) => format!("+{}", name.path.display()),
            (_, None) => format!("-{}", name.path.display()),
            _ => format!("={}", name.path.display()),
        })
        .collect();
    told.join(" ")
}
