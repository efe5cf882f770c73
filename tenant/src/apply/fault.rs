//! What is said of a step that failed.

use crate::{
    files::file_error::full,
    kernel::{KernelError, pty::TERMINALS},
};

/// The remedy: that of the fault itself, where it is one of which more is known, that for a pool of the kernel which is
/// used up, or that for a filesystem without room.
pub fn remedy(error: &KernelError) -> Option<String> {
    let known = error.source.help().or_else(|| used_up(error).map(str::to_owned));
    known.or_else(|| full(error.source.kind()).map(str::to_owned))
}

/// The remedy where "No space left on device" means a pool of the whole machine: pseudoterminals, see pty(7), and
/// namespaces, see namespaces(7).
fn used_up(error: &KernelError) -> Option<&'static str> {
    if error.source.raw_os_error() != Some(libc::ENOSPC) {
        return None;
    }
    match (&*error.operation, &*error.object) {
        ("make", object) if !object.contains("namespace") => None,
        ("open", TERMINALS) => Some(
            "this machine has no pseudoterminal left: raise kernel.pty.max; tenantctl doctor --tenants NUMBER tells how many so many tenants need",
        ),
        ("clone" | "make" | "make a user namespace for uids", _) => Some(
            "this machine has no namespace left: raise user.max_user_namespaces and the other user.max_*_namespaces; tenantctl doctor --tenants NUMBER tells how many so many tenants need",
        ),
        _ => None,
    }
}

/// What could not be undone, in brackets.
pub(super) fn leftovers(cleanup: &[KernelError]) -> String {
    if cleanup.is_empty() {
        return String::new();
    }
    let list: Vec<String> = cleanup.iter().map(|error| format!("{error}: {}", error.source)).collect();
    format!(" (cleanup failed: {})", list.join("; "))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn help(operation: &'static str, object: &str, errno: i32) -> Option<String> {
        remedy(&KernelError::new(operation, object, io::Error::from_raw_os_error(errno)))
    }

    #[test]
    fn a_pool_of_the_machine_is_told_from_a_full_filesystem() {
        let names = |help: Option<String>, what: &str| help.is_some_and(|help| help.contains(what));
        assert!(names(help("open", TERMINALS, libc::ENOSPC), "kernel.pty.max"));
        assert!(names(help("clone", "init", libc::ENOSPC), "user.max_user_namespaces"));
        assert!(names(help("make", "a network namespace", libc::ENOSPC), "user.max_user_namespaces"));
        for operation in ["open", "make"] {
            assert!(names(help(operation, "/var/lib/x", libc::ENOSPC), "inodes"));
        }
        assert_eq!(help("open", TERMINALS, libc::EACCES), None);
    }
}
