//! Whom the kernel ends first where memory is used up, see proc_pid_oom_score_adj(5).
//!
//! A supervisor is charged to the memory of its tenant, and is larger than many programs of a tenant's. It is the last to be
//! ended for that: without it the whole tenant would go.

use std::{fs, io, path::Path};

/// What a supervisor has, unless it was started with less. The host's own memory may run out, too: it is not exempt.
pub(crate) const OF_SUPERVISORS: i32 = -900;

const OWN: &str = "/proc/self/oom_score_adj";

/// Makes this process one of the last that are ended; what it had before, which is what its tenant is to have, where that
/// differs. Where the host does not let it, it stays as it was: that needs `CAP_SYS_RESOURCE`.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn spare_this_process() -> io::Result<Option<i32>> {
    spare(Path::new(OWN))
}

fn spare(file: &Path) -> io::Result<Option<i32>> {
    let before: i32 = fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)?;
    if before <= OF_SUPERVISORS {
        return Ok(None);
    }
    match fs::write(file, OF_SUPERVISORS.to_string()) {
        Ok(()) => Ok(Some(before)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives this process a value. A process with `CAP_SYS_RESOURCE` says by that, too, how low its children may go.
///
/// # Errors
/// Those of write(2).
pub(super) fn take(value: i32) -> io::Result<()> {
    fs::write(OWN, value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_spared_and_knows_what_its_tenant_is_to_have() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("oom_score_adj");
        for (was, tenants, is) in
            [("0", Some(0), "-900"), ("300", Some(300), "-900"), ("-950", None, "-950\n")]
        {
            fs::write(&file, format!("{was}\n")).unwrap();
            assert_eq!(spare(&file).unwrap(), tenants, "{was}");
            assert_eq!(fs::read_to_string(&file).unwrap(), is, "{was}");
        }
    }
}
