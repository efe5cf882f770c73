//! The log of a tty: what it printed, on disk, at most `cap` bytes.
//!
//! Two files, `console.log` and the older `console.log.1`, each at most half of the cap: nothing is
//! ever copied, and at least half of the cap is always there to be replayed.

use crate::protocol::wire::Tty;
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The writing end.
#[derive(Debug)]
pub struct ConsoleLog {
    dir: PathBuf,
    tty: Tty,
    half: u64,
    open: Option<(File, u64)>,
}

fn newer(dir: &Path, tty: Tty) -> PathBuf {
    dir.join(format!("{tty}.log"))
}

fn older(dir: &Path, tty: Tty) -> PathBuf {
    dir.join(format!("{tty}.log.1"))
}

impl ConsoleLog {
    /// The log of a tty in a directory; touches nothing before the first byte.
    pub fn new(dir: &Path, tty: Tty, cap: u64) -> Self {
        Self { dir: dir.to_owned(), tty, half: (cap / 2).max(1), open: None }
    }

    /// Appends; when the newer file would outgrow its half it becomes the older one. Of more than half
    /// a cap at once only the end is kept.
    ///
    /// # Errors
    /// The failing call's; the next append tries again from the beginning.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = bytes.len().saturating_sub(self.half as usize);
        let result = self.try_append(&bytes[start..]);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.open_newer()?);
        }
        if let Some((_, length)) = &self.open
            && *length > 0
            && length + bytes.len() as u64 > self.half
        {
            fs::rename(newer(&self.dir, self.tty), older(&self.dir, self.tty))?;
            self.open = Some(self.open_newer()?);
        }
        if let Some((file, length)) = &mut self.open {
            file.write_all(bytes)?;
            *length += bytes.len() as u64;
        }
        Ok(())
    }

    fn open_newer(&self) -> io::Result<(File, u64)> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.dir)?;
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(newer(&self.dir, self.tty))?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((file, meta.len()))
    }
}

/// The last `most` bytes that a tty printed; empty where it never printed any.
///
/// # Errors
/// A log that exists and cannot be read.
pub fn tail(dir: &Path, tty: Tty, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for path in [newer(dir, tty), older(dir, tty)] {
        let mut part = file_tail(&path, most - bytes.len())?;
        part.append(&mut bytes);
        bytes = part;
        if bytes.len() >= most {
            break;
        }
    }
    Ok(bytes)
}

fn file_tail(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(most as u64)))?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The end of `bytes` that holds the last `count` lines, a last one without a line end included.
pub fn last_lines(bytes: &[u8], count: usize) -> &[u8] {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match (count, ends.nth(count.saturating_sub(1))) {
        (0, _) => &[],
        (_, Some((at, _))) => &bytes[at + 1..],
        (_, None) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<(String, u64)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_log_never_outgrows_its_cap_and_keeps_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("log");
        let mut log = ConsoleLog::new(&dir, Tty::CONSOLE, 1000);
        assert!(!dir.exists());
        let mut all = Vec::new();
        for number in 0..400 {
            let line = format!("line {number}\n");
            log.append(line.as_bytes()).unwrap();
            all.extend_from_slice(line.as_bytes());
            assert!(files(&dir).iter().map(|(_, length)| length).sum::<u64>() <= 1000);
        }
        let end = tail(&dir, Tty::CONSOLE, 400).unwrap();
        assert_eq!(end, all[all.len() - 400..]);
        assert_eq!(files(&dir).len(), 2);
    }

    #[test]
    fn a_flood_at_once_keeps_its_last_half_cap() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ConsoleLog::new(dir.path(), "tty2".parse().unwrap(), 64);
        log.append(b"first\n").unwrap();
        log.append(&[b'x'; 5000]).unwrap();
        assert_eq!(
            tail(dir.path(), "tty2".parse().unwrap(), 9999).unwrap(),
            [&b"first\n"[..], &[b'x'; 32]].concat()
        );
    }

    #[test]
    fn a_planted_link_or_fifo_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "old").unwrap();
        std::os::unix::fs::symlink(&victim, newer(dir.path(), Tty::CONSOLE)).unwrap();
        let mut log = ConsoleLog::new(dir.path(), Tty::CONSOLE, 1000);
        log.append(b"x").unwrap_err();
        assert_eq!(fs::read(&victim).unwrap(), b"old");
        fs::remove_file(newer(dir.path(), Tty::CONSOLE)).unwrap();
        log.append(b"x").unwrap();
        assert_eq!(tail(dir.path(), Tty::CONSOLE, 10).unwrap(), b"x");
    }

    #[test]
    fn last_lines_counts_an_unfinished_one() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 2), b"b\nc");
        assert_eq!(last_lines(b"a\n", 5), b"a\n");
        assert_eq!(last_lines(b"a\n", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
