//! What tenants store, on a filesystem that does not count it: a walk over their directories like that of du(1), slow
//! on purpose, remembered with its time.
//!
//! A tenant chooses how much there is to walk over, so nothing waits for a walk but a caller who says for how
//! long. One thread walks at a time, at the lowest priority, and rests as long as it works. It goes from open directory to
//! open directory by openat2(2): no link, and no mount, leads it elsewhere. It looks at `MAX_ENTRIES` entries at most,
//! `MAX_DEPTH` deep; what is beyond is not counted, and the figure says so.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use filetree::Reach;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat},
    io::Errno,
};
use tenant::files::record;

/// Most entries of one tenant that are looked at: some seconds of work, and 32 MiB of memory if each is a file of
/// several names.
const MAX_ENTRIES: u64 = 2_000_000;
/// Directories that are open at once.
const MAX_DEPTH: usize = 128;
/// Entries between two looks at the clock.
const STRIDE: u64 = 512;
/// How long is worked before a rest of the same length.
const SPELL: Duration = Duration::from_millis(10);
/// A figure younger than this is not measured again.
const MIN_AGE: Duration = Duration::from_secs(30);
/// Nor one that is younger than so many times what its walk took.
const AGE_PER_WALK: u32 = 100;

const BENEATH: ResolveFlags = Reach::Beneath.resolve();

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOATIME);

/// What is stored below a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Bytes on the disk, as du(1) counts them: each file once, holes not.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Whether there is more than was looked at.
    pub is_partial: bool,
}

/// What was measured, and when.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What was found.
    pub stored: Stored,
    /// When the walk ended.
    pub at: Instant,
    /// How long it took.
    took: Duration,
}

impl Measured {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < MIN_AGE.max(self.took.saturating_mul(AGE_PER_WALK))
    }
}

/// Measures what tenants store, one after the other, when a client asks.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    figures: Mutex<Figures>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Figures {
    /// By the directory that was walked.
    known: HashMap<PathBuf, Measured>,
    waiting: VecDeque<PathBuf>,
    /// What the thread walks over, if there is one.
    walking: Option<PathBuf>,
}

impl Figures {
    fn is_asked_for(&self, dir: &Path) -> bool {
        self.walking.as_deref() == Some(dir) || self.waiting.iter().any(|waiting| waiting == dir)
    }
}

impl Shared {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    /// What is stored below a directory, as far as it is known. If that is not fresh it is measured again, and this
    /// waits for it for as long as `patience`, which may be nothing.
    pub fn stored(&self, dir: &Path, patience: Duration) -> Option<Measured> {
        let begin = Instant::now();
        let mut figures = self.0.figures();
        let known = figures.known.get(dir).copied();
        if known.is_some_and(|known| known.is_fresh(begin)) {
            return known;
        }
        self.ask(&mut figures, dir);
        while figures.is_asked_for(dir) {
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() {
                break;
            }
            (figures, _) = self.0.news.wait_timeout(figures, left).unwrap_or_else(PoisonError::into_inner);
        }
        figures.known.get(dir).copied()
    }

    /// Forgets a directory that is gone.
    pub fn forget(&self, dir: &Path) {
        let mut figures = self.0.figures();
        figures.known.remove(dir);
        figures.waiting.retain(|waiting| waiting != dir);
    }

    /// Has a directory measured, by a thread that ends when there is nothing left to measure.
    fn ask(&self, figures: &mut Figures, dir: &Path) {
        if figures.is_asked_for(dir) {
            return;
        }
        figures.waiting.push_back(dir.to_owned());
        if figures.walking.is_some() {
            return;
        }
        let shared = Arc::clone(&self.0);
        match thread::Builder::new().name("meter".to_owned()).spawn(move || measure(&shared)) {
            // It takes what is waiting as soon as the lock is free.
            Ok(_) => figures.walking = Some(PathBuf::new()),
            Err(error) => {
                figures.waiting.clear();
                log::warn!("cannot measure what {} holds: {error}", dir.display());
            }
        }
    }
}

/// Walks over what is waiting, until nothing is.
fn measure(shared: &Shared) {
    // Of this thread alone, see setpriority(2); its turns at the disk follow it, see ioprio_set(2). Without it the rests
    // are what others have.
    let _ = rustix::process::setpriority_process(None, 19);
    let mut figures = shared.figures();
    while let Some(dir) = figures.waiting.pop_front() {
        figures.walking = Some(dir.clone());
        drop(figures);
        let begin = Instant::now();
        let walked = walk(&dir, MAX_ENTRIES, &mut Pace::new());
        let at = Instant::now();
        figures = shared.figures();
        // Still at work, on nothing yet.
        figures.walking = Some(PathBuf::new());
        match walked {
            Ok(stored) => {
                figures.known.insert(dir, Measured { stored, at, took: at - begin });
            }
            Err(error) => {
                figures.known.remove(&dir);
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("cannot measure what {} holds: {error}", dir.display());
                }
            }
        }
        shared.news.notify_all();
    }
    figures.walking = None;
}

/// Work and rest in turns.
struct Pace {
    entries: u64,
    since: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { entries: 0, since: Instant::now() }
    }

    fn step(&mut self) {
        self.entries += 1;
        if self.entries.is_multiple_of(STRIDE) {
            let worked = self.since.elapsed();
            if worked >= SPELL {
                thread::sleep(worked);
                self.since = Instant::now();
            }
        }
    }
}

/// A directory that is open, and those in it that have been read of and not entered.
struct Level {
    dir: OwnedFd,
    below: Vec<CString>,
}

/// Counts what is below a directory, and the directory.
fn walk(dir: &Path, max: u64, pace: &mut Pace) -> io::Result<Stored> {
    let top = OwnedFd::from(record::open_dir(dir)?);
    let mut count = Count { seen: HashSet::new(), stored: Stored::default() };
    count.add(&rustix::fs::fstat(&top)?);
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    let mut levels = vec![Level { dir: top, below: Vec::new() }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.below.pop() {
            let below = match filetree::openat2(&level.dir, &*name, OPEN, Mode::empty(), BENEATH) {
                Ok(below) => below,
                // It is gone, is another thing by now, or something is mounted on it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if levels.len() < MAX_DEPTH {
                levels.push(Level { dir: below, below: Vec::new() });
            } else {
                count.stored.is_partial = true;
            }
            continue;
        }
        if count.stored.inodes >= max {
            count.stored.is_partial = true;
            break;
        }
        // The directory remembers how far it has been read, so a level needs no more memory than one buffer.
        if !read(level, &mut buffer, &mut count, pace)? {
            levels.pop();
        }
    }
    Ok(count.stored)
}

/// Counts the next entries of a directory, as many as fit into the buffer; whether there were any.
fn read(
    level: &mut Level,
    buffer: &mut [MaybeUninit<u8>],
    count: &mut Count,
    pace: &mut Pace,
) -> io::Result<bool> {
    let mut entries = RawDir::new(level.dir.as_fd(), buffer);
    let mut is_any = false;
    loop {
        match entries.next() {
            None => return Ok(is_any),
            // Removed while it was open.
            Some(Err(Errno::NOENT)) => return Ok(false),
            Some(Err(errno)) => return Err(errno.into()),
            Some(Ok(entry)) => {
                is_any = true;
                let name = entry.file_name();
                if !matches!(name.to_bytes(), b"." | b"..") {
                    pace.step();
                    match rustix::fs::statat(&level.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => {
                            count.add(&stat);
                            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                                level.below.push(name.to_owned());
                            }
                        }
                        Err(Errno::NOENT) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
        if entries.is_buffer_empty() {
            return Ok(true);
        }
    }
}

struct Count {
    /// Device and inode of files with several names.
    seen: HashSet<(u64, u64)>,
    stored: Stored,
}

impl Count {
    fn add(&mut self, stat: &Stat) {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_dir && stat.st_nlink > 1 && !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.stored.inodes += 1;
        self.stored.bytes += u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    fn counted(dir: &Path) -> Stored {
        walk(dir, MAX_ENTRIES, &mut Pace::new()).unwrap()
    }

    /// What du(1) says, in units of 512 bytes.
    fn du(dir: &Path) -> u64 {
        let output = std::process::Command::new("du").args(["-s", "-B512"]).arg(dir).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn it_counts_as_du_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for number in 0..2000 {
            fs::write(path(&format!("a-file-with-a-long-name-{number}")), "x").unwrap();
        }
        fs::create_dir_all(path("one/two/three")).unwrap();
        fs::write(path("one/two/three/large"), vec![1; 300_000]).unwrap();
        fs::hard_link(path("one/two/three/large"), path("one/again")).unwrap();
        fs::File::create(path("one/sparse")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/", path("one/elsewhere")).unwrap();
        // What is not on the disk yet may still change its size.
        rustix::fs::syncfs(fs::File::open(dir.path()).unwrap()).unwrap();
        let stored = counted(dir.path());
        assert_eq!(stored.bytes, du(dir.path()) * 512);
        // Itself, 2000 files, three directories, a large file by two names, a sparse one, a link.
        assert_eq!((stored.inodes, stored.is_partial), (2007, false));
        assert!(stored.bytes < 1 << 25, "a hole is not counted");
    }

    #[test]
    fn what_is_too_much_or_too_deep_is_told_and_costs_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().to_owned();
        for _ in 0..2 * MAX_DEPTH {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        let stored = counted(dir.path());
        assert_eq!((stored.inodes, stored.is_partial), (MAX_DEPTH as u64 + 1, true));
        let wide = tempfile::tempdir().unwrap();
        for number in 0..3000 {
            fs::create_dir(wide.path().join(number.to_string())).unwrap();
        }
        let stored = walk(wide.path(), 1000, &mut Pace::new()).unwrap();
        assert!(stored.is_partial && (1000..3000).contains(&stored.inodes), "{stored:?}");
    }

    #[test]
    fn a_figure_is_kept_until_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), vec![1; 8192]).unwrap();
        let meter = Meter::default();
        let first = meter.stored(dir.path(), Duration::from_secs(60)).unwrap();
        assert_eq!(first.stored.bytes, 512 * (fs::metadata(dir.path()).unwrap().blocks() + 16));
        fs::write(dir.path().join("more"), vec![1; 8192]).unwrap();
        let again = meter.stored(dir.path(), Duration::ZERO).unwrap();
        assert_eq!((again.stored, again.at), (first.stored, first.at));
        assert!(again.is_fresh(again.at + MIN_AGE / 2) && !again.is_fresh(again.at + MIN_AGE));
        let long = Measured { took: Duration::from_secs(10), ..again };
        assert!(long.is_fresh(long.at + Duration::from_secs(900)), "what took long is not measured often");
        meter.forget(dir.path());
        let anew = meter.stored(dir.path(), Duration::from_secs(60)).unwrap();
        assert_eq!(anew.stored.inodes, 3);
    }

    #[test]
    fn a_caller_waits_no_longer_than_it_says_and_an_absent_directory_has_no_figure() {
        let meter = Meter::default();
        let begin = Instant::now();
        let gone = Path::new("/proc/self/no-such-directory");
        assert!(meter.stored(gone, Duration::from_millis(50)).is_none());
        assert!(begin.elapsed() < Duration::from_secs(30));
        // All that is asked for is measured, one after the other.
        let dirs: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
        for dir in &dirs {
            meter.stored(dir.path(), Duration::ZERO);
        }
        for dir in &dirs {
            assert_eq!(meter.stored(dir.path(), Duration::from_secs(60)).unwrap().stored.inodes, 1);
        }
    }
}
