//! Files that are either the old one or the new one, whatever happens in between.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
        fchown,
    },
    path::Path,
};

use crate::files::file_error::FileError;

/// Largest record or config file that is read, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Mode of a new file that anybody may read.
const PUBLIC: u32 = 0o644;
/// Mode of a file that is for root alone.
const PRIVATE: u32 = 0o600;

/// Whether a write must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// fsync(2) of the file and of its directory.
    Durable,
    /// No fsync: for `/run`, which does not survive a power cut anyway.
    Volatile,
}

/// Replaces `path` by `contents`: temporary file, fsync, rename, fsync of the directory. Owner and mode are
/// those of the file that is replaced, 0644 for a new one; readers see the old or the new contents, never a part.
///
/// A directory that cannot be synced after the rename is logged: the file is the new one then, and an error would
/// say that it is not.
///
/// # Errors
/// The failing call's error; the old file is untouched and no temporary file stays behind.
pub fn write(path: &Path, contents: &[u8], durability: Durability) -> Result<(), FileError> {
    let replaced = fs::metadata(path).ok().filter(Metadata::is_file);
    replace(path, contents, durability, &Access::of(replaced.as_ref()), sync_dir)
}

/// [`write()`] for what is for root alone: the mode is 0600, whatever it was before.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, contents: &[u8], durability: Durability) -> Result<(), FileError> {
    replace(path, contents, durability, &Access { mode: PRIVATE, owner: None }, sync_dir)
}

/// Who may read and write a file.
struct Access {
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Access {
    fn of(replaced: Option<&Metadata>) -> Self {
        Self {
            mode: replaced.map_or(PUBLIC, |meta| meta.mode() & 0o7777),
            owner: replaced.map(|meta| (meta.uid(), meta.gid())),
        }
    }

    /// Gives it to a file that only its owner can open so far.
    fn give(&self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        if let Some((uid, gid)) = self.owner.filter(|owner| *owner != (meta.uid(), meta.gid())) {
            fchown(file, Some(uid), Some(gid))?;
        }
        file.set_permissions(fs::Permissions::from_mode(self.mode))
    }
}

fn replace(
    path: &Path,
    contents: &[u8],
    durability: Durability,
    access: &Access,
    sync_dir: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
    let renamed = || {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(PRIVATE);
        let mut file = regular(options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&temporary)?)?;
        access.give(&file)?;
        file.write_all(contents)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    renamed().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        FileError::new("write", path, source)
    })?;
    if durability == Durability::Durable
        && let Err(error) = sync_dir(parent)
    {
        log::warn!("cannot sync {}, and a power failure could undo the change: {error}", path.display());
    }
    Ok(())
}

/// fsync(2) of a directory: what was renamed or removed in it stays so.
///
/// # Errors
/// Those of open(2) and fsync(2).
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    open_dir(dir)?.sync_all()
}

/// [`sync_dir`] after something in the directory was renamed or removed. That is done and stays done unless the power
/// fails, so a failure is logged and told to no process as a failure of what was asked for.
pub fn settle_dir(dir: &Path) {
    if let Err(error) = sync_dir(dir) {
        log::warn!("cannot sync {}, and a power failure could undo the change: {error}", dir.display());
    }
}

/// Whether something has this name. That it could not be looked for is no answer: what is decided by one may be the end of
/// somebody's files.
///
/// # Errors
/// It cannot be looked for.
pub fn is_there(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(FileError::when("look for", path))
}

/// Removes the temporary files that [`write()`] has left in a directory when its process was killed or the power failed.
/// No process may be writing there.
///
/// # Errors
/// The directory cannot be read, or a file cannot be removed; none where there is no such directory.
pub fn remove_temporaries(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_temporary) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name is one of [`replace()`]'s: `.NAME.PID.tmp`.
fn is_temporary(name: &str) -> bool {
    let number = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".tmp"))
        .and_then(|name| name.rsplit_once('.'));
    number.is_some_and(|(_, pid)| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Makes a directory, and those above it that are not there, with the mode 0777 less the umask. Those that it has made
/// stay after a power cut.
///
/// # Errors
/// Those of mkdir(2), open(2) and fsync(2).
pub fn make_dirs(dir: &Path) -> io::Result<()> {
    make_dirs_of(dir, 0o777)
}

/// [`make_dirs`] for what is for root alone: the mode of the last one is 0700.
///
/// # Errors
/// As [`make_dirs`].
pub fn make_private_dirs(dir: &Path) -> io::Result<()> {
    make_dirs_of(dir, 0o700)
}

fn make_dirs_of(dir: &Path, mode: u32) -> io::Result<()> {
    let make = || fs::DirBuilder::new().mode(mode).create(dir);
    let made = match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dirs(dir.parent().ok_or(error)?)?;
            make()
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
    }
}

/// Opens a directory; whatever else lies there is an error, and never waited for.
///
/// # Errors
/// Those of open(2), `NotADirectory` among them.
pub fn open_dir(dir: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY).open(dir)
}

/// Writes over a record where it lies: for a disk without the one free block that [`write()`] needs. A power
/// cut in the middle can leave a mixture, so this is for records whose old contents are given up anyway.
///
/// # Errors
/// The failing call's error.
pub fn overwrite(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let overwrite = || {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut file = regular(File::options().write(true).custom_flags(flags).open(path)?)?;
        file.write_all(contents)?;
        file.set_len(contents.len() as u64)?;
        file.sync_all()
    };
    overwrite().map_err(FileError::when("write", path))
}

/// Opens a file to read from. A FIFO or a device in its place is an error, and never waited for.
///
/// # Errors
/// Those of open(2); `InvalidInput` that says what is there instead of a file.
pub fn open(path: &Path) -> io::Result<File> {
    regular(File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?)
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(file),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
}

/// Reads a text file of at most [`MAX_FILE`] bytes.
///
/// # Errors
/// The failing call's error, `FileTooLarge`, `InvalidInput` for what is no file, or `InvalidData` for text that is
/// not UTF-8.
pub fn read(path: &Path) -> Result<String, FileError> {
    let read = || {
        // Most records fit: one read instead of seven.
        let mut text = String::with_capacity(8192);
        open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
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
    fn directories_are_made_once_and_only_the_last_is_private() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b/c");
        make_private_dirs(&dir).unwrap();
        make_dirs(&dir).unwrap();
        assert_eq!((mode(&dir), mode(dir.parent().unwrap()) & 0o700), (0o700, 0o700));
        assert_ne!(mode(dir.parent().unwrap()), 0o700);
        fs::write(top.path().join("file"), "").unwrap();
        for path in ["file", "file/in"] {
            make_dirs(&top.path().join(path)).unwrap_err();
        }
    }

    #[test]
    fn only_what_an_interrupted_write_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            [".record.7.tmp", ".a.b.123.tmp", "record", ".record.tmp", "record.7.tmp", ".record.x.tmp"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_temporaries(dir.path()).unwrap();
        remove_temporaries(&dir.path().join("absent")).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".record.tmp", ".record.x.tmp", "record", "record.7.tmp"]);
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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_private_one_is_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        write(&path, b"new", Durability::Volatile).unwrap();
        assert_eq!(mode(&path), 0o644);
        for kept in [0o600, 0o640, 0o664] {
            fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
            write(&path, b"newer", Durability::Volatile).unwrap();
            assert_eq!(mode(&path), kept);
        }
        write_private(&path, b"secret", Durability::Volatile).unwrap();
        assert_eq!((mode(&path), read(&path).unwrap()), (0o600, "secret".to_owned()));
    }

    #[test]
    fn a_file_that_is_renamed_is_written_even_if_its_directory_cannot_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let fails = |_: &Path| Err(io::Error::from_raw_os_error(libc::EIO));
        replace(&path, b"new", Durability::Durable, &Access::of(None), fails).unwrap();
        assert_eq!(read(&path).unwrap(), "new");
    }

    #[test]
    fn what_is_no_file_is_neither_read_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let [fifo, socket, link] = ["fifo", "socket", "link"].map(|name| dir.path().join(name));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, says) in [
            (fifo.as_path(), "it is a FIFO, not a regular file"),
            (&link, "it is a FIFO, not a regular file"),
            (dir.path(), "it is a directory, not a regular file"),
            (Path::new("/dev/null"), "it is a device, not a regular file"),
        ] {
            let error = read(path).unwrap_err();
            assert_eq!(std::error::Error::source(&error).unwrap().to_string(), says);
        }
        read(&socket).unwrap_err();
        overwrite(&fifo, b"x").unwrap_err();
        assert_eq!(open_dir(&fifo).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        // A FIFO is replaced like any other file.
        write(&fifo, b"record", Durability::Durable).unwrap();
        assert_eq!(read(&fifo).unwrap(), "record");
    }
}
