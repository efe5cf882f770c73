//! Mounts of the host in a tenant's directories: an admin's own, which a removal must not enter.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use tenant::model::mountinfo::mounts;

/// The mount points at or below a directory, in this process's mount namespace.
///
/// # Errors
/// The table of mounts cannot be read. A directory that is not there has none.
pub fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = match fs::canonicalize(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(mounts(&table).map(|mount| mount.at).filter(|point| point.starts_with(&dir)).collect())
}

/// Mount points as a person reads them: the first few, each quoted.
pub fn list(points: &[PathBuf]) -> String {
    let quoted: Vec<_> = points.iter().take(3).map(|point| format!("{:?}", point.as_os_str())).collect();
    let more = points.len().saturating_sub(quoted.len());
    let tail = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{tail}", quoted.join(", "))
}

/// The command that takes them away: the deepest first.
pub fn remedy(points: &[PathBuf]) -> String {
    let quote = |point: &PathBuf| {
        let plain =
            point.as_os_str().as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"/._-+@:".contains(b));
        if plain { point.display().to_string() } else { format!("{:?}", point.as_os_str()) }
    };
    let words: Vec<_> = points.iter().rev().take(3).map(quote).collect();
    format!("umount {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_listed_and_taken_away_by_their_names() {
        let points = [PathBuf::from("/mnt/a b"), PathBuf::from("/mnt/a b/c\\d\\0")];
        assert_eq!(list(&points), "\"/mnt/a b\", \"/mnt/a b/c\\\\d\\\\0\"");
        assert_eq!(remedy(&["/a".into(), "/a/b c".into()]), "umount \"/a/b c\" /a");
    }

    #[test]
    fn a_directory_without_mounts_and_one_that_is_none_have_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(below(dir.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(below(&dir.path().join("absent")).unwrap(), Vec::<PathBuf>::new());
        assert!(below(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
