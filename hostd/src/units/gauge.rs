//! A small file of a cgroup that is read again and again: it stays open, because finding it by its path
//! takes ten times as long as reading it.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// A file whose first bytes are a number.
#[derive(Debug)]
pub(super) struct Gauge {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Gauge {
    /// A gauge that opens its file when it is read.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(None) }
    }

    /// The number; none where there is no such file.
    pub(super) fn read(&self) -> Option<u64> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = file.as_ref().and_then(number) {
            return Some(number);
        }
        // The directory was removed and made again, as by a reboot of the tenant.
        *file = File::open(&self.path).ok();
        file.as_ref().and_then(number)
    }
}

fn number(file: &File) -> Option<u64> {
    let mut bytes = [0; 32];
    let length = file.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes[..length]).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_gauge_follows_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.current");
        let gauge = Gauge::new(path.clone());
        assert_eq!(gauge.read(), None);
        fs::write(&path, "7\n").unwrap();
        assert_eq!(gauge.read(), Some(7));
        fs::write(&path, "12\n").unwrap();
        assert_eq!(gauge.read(), Some(12));
    }
}
