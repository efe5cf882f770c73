//! One supervisor for a tenant.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::error::RunError;

/// Takes the lock of a tenant, which says who has it.
pub(super) fn lock(path: &Path) -> Result<File, RunError> {
    let open = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path);
    let mut file = open.map_err(RunError::io("open", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // One that cannot be read is named by nothing.
            let _ = file.take(16).read_to_string(&mut holder);
            return Err(RunError::Busy(holder.trim().to_owned()));
        }
        Err(error) => return Err(RunError::io("lock", path.display())(error.into())),
    }
    let name = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(name.as_bytes()))
        .map_err(RunError::io("write", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = lock(&path).unwrap();
        let error = lock(&path).unwrap_err();
        let me = std::process::id().to_string();
        assert!(matches!(&error, RunError::Busy(pid) if *pid == me), "{error}");
        assert_eq!(error.exit_code(), 4);
        drop(first);
        lock(&path).unwrap();
    }
}
