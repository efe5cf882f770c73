//! The processes of a tenant, as the kernel lists them by cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The ids of the processes in a cgroup and below it, each with its cgroup as seen from the first. Those of cgroups that
/// are gone meanwhile are left out.
pub fn in_cgroup(top: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    // No directory is open while those below it are read: how deep they are is the tenant's choice.
    let mut due = vec![PathBuf::new()];
    let next = move || {
        let cgroup = due.pop()?;
        let dir = top.join(&cgroup);
        let below = fs::read_dir(&dir).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        due.extend(below.map(|entry| cgroup.join(entry.file_name())));
        let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let ids = listed.lines().filter_map(|line| line.parse().ok());
        Some(ids.map(|id| (id, cgroup.clone())).collect::<Vec<_>>())
    };
    std::iter::from_fn(next).flatten()
}

/// The process id in the tenant's own namespace, which is the second one, from a text of `/proc/PID/status`; see proc(5).
pub fn inside(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_in_a_cgroup_and_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("cgroup.procs"), "1\n2\n").unwrap();
        fs::write(deep.join("cgroup.procs"), "30\nx\n").unwrap();
        let mut found: Vec<_> = in_cgroup(dir.path()).collect();
        found.sort();
        assert_eq!(found, [(1, PathBuf::new()), (2, PathBuf::new()), (30, "a/b".into())]);
        assert_eq!(in_cgroup(&dir.path().join("gone")).count(), 0);
    }

    #[test]
    fn an_id_inside_is_that_of_the_second_namespace() {
        assert_eq!(inside("Name:\tx\nNSpid:\t812\t7\t1\n"), Some(7));
        assert_eq!(inside("NSpid:\t812\n"), None);
        assert_eq!(inside(""), None);
    }
}
