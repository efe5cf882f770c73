//! One writer: the lock that makes hostd the only one.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use tenant::files::{file_error::FileError, record};

use super::StoreError;

/// How long a hostd that was killed may take to let go: what it has open is closed when its last thread has ended.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(10);

/// The store's lock, held as long as this lives, see flock(2).
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl StoreLock {
    /// Takes the lock below a state directory, which is made if it is absent. One that is held is waited for, for a
    /// moment.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with the pid of the process that has it.
    pub fn take(state: &Path) -> Result<Self, StoreError> {
        Self::take_within(state, PATIENCE)
    }

    fn take_within(state: &Path, patience: Duration) -> Result<Self, StoreError> {
        let path = state.join("hostd.lock");
        let failed = FileError::when("lock", &path);
        record::make_dirs(state).map_err(failed)?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let deadline = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(RETRY),
                Err(Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = (&mut file).take(16).read_to_string(&mut holder);
                    return Err(StoreError::Locked { pid: holder.trim().to_owned() });
                }
                Err(errno) => return Err(failed(errno.into()).into()),
            }
        }
        let note = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(failed)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_and_told_who_has_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let first = StoreLock::take(dir.path()).unwrap();
        let error = StoreLock::take_within(dir.path(), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        StoreLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_holder_that_is_about_to_end_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = StoreLock::take(dir.path()).unwrap();
        let ends = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        StoreLock::take(dir.path()).unwrap();
        ends.join().unwrap();
    }
}
