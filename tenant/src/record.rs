//! Files that are either the old one or the new one, whatever happens in between.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::file_error::FileError;

/// Largest record or config file that is read, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Whether a write must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// fsync(2) of the file and of its directory.
    Durable,
    /// No fsync: for `/run`, which does not survive a power cut anyway.
    Volatile,
}

/// Replaces `path` by `contents`: temporary file, fsync, rename, fsync of the directory. The mode is
/// 0644; readers see the old or the new contents, never a part.
///
/// # Errors
/// The failing call's error; the old file is untouched and no temporary file stays behind.
pub fn write(path: &Path, contents: &[u8], durability: Durability) -> Result<(), FileError> {
    replace(path, contents, durability, 0o644)
}

/// [`write()`] for what only root may read: the mode is 0600.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, contents: &[u8], durability: Durability) -> Result<(), FileError> {
    replace(path, contents, durability, 0o600)
}

fn replace(path: &Path, contents: &[u8], durability: Durability, mode: u32) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(contents)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        match durability {
            Durability::Durable => File::open(parent)?.sync_all(),
            Durability::Volatile => Ok(()),
        }
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        FileError::new("write", path, source)
    })
}

/// Writes over a record where it lies: for a disk without the one free block that [`write()`] needs. A power
/// cut in the middle can leave a mixture, so this is for records whose old contents are given up anyway.
///
/// # Errors
/// The failing call's error.
pub fn overwrite(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let overwrite = || {
        let mut file = File::options().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.write_all(contents)?;
        file.set_len(contents.len() as u64)?;
        file.sync_all()
    };
    overwrite().map_err(FileError::when("write", path))
}

/// Reads a text file of at most [`MAX_FILE`] bytes.
///
/// # Errors
/// The failing call's error, `FileTooLarge`, or `InvalidData` for text that is not UTF-8.
pub fn read(path: &Path) -> Result<String, FileError> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    };
    read().map_err(FileError::when("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        write(&path, b"one", Durability::Durable).unwrap();
        write(&path, b"two", Durability::Volatile).unwrap();
        assert_eq!(read(&path).unwrap(), "two");
        fs::create_dir(dir.path().join("dir")).unwrap();
        write(&dir.path().join("dir"), b"x", Durability::Durable).unwrap_err();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir", "record"]);
    }

    #[test]
    fn a_private_record_is_roots_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        write(&path, b"for all", Durability::Volatile).unwrap();
        write_private(&path, b"secret", Durability::Volatile).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), "secret");
    }

    #[test]
    fn a_record_that_is_written_over_keeps_nothing_of_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        write(&path, b"long contents", Durability::Volatile).unwrap();
        overwrite(&path, b"short").unwrap();
        assert_eq!(read(&path).unwrap(), "short");
        overwrite(&dir.path().join("absent"), b"x").unwrap_err();
    }

    #[test]
    fn a_huge_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        fs::write(&path, vec![b'a'; MAX_FILE as usize + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
