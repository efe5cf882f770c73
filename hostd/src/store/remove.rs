//! Takes a tenant's directories away, whatever the tenant put into them.
//!
//! The walk goes from open directory to open directory with openat2(2) (`RESOLVE_BENEATH`,
//! `RESOLVE_NO_XDEV`, `RESOLVE_NO_MAGICLINKS`, `RESOLVE_NO_SYMLINKS`): a link, a FIFO or a mount in the
//! way is removed or reported, never entered. Depth costs neither stack nor descriptors: what lies
//! deeper than [`LEVELS`] is moved up to the top first.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Directories that are open at once.
const LEVELS: usize = 32;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS);

fn open(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(tenant::kernel::openat2(parent, name, flags, Mode::empty(), BENEATH)?)
}

struct Level {
    name: CString,
    dir: OwnedFd,
}

/// Removes the file or the whole directory `name` in `parent`; nothing there is fine.
///
/// # Errors
/// The first entry that cannot be removed; `CrossesDevices` for a mount point.
pub(super) fn remove_all(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let top = open(&parent, name)?;
    // What was moved up is in `top` again, so it is walked until it is empty.
    let mut moved = 0_u64;
    loop {
        let before = moved;
        clear(&top, &mut moved)?;
        if moved == before {
            break;
        }
    }
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

/// Removes everything in `top`, except for what it has to move there.
fn clear(top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let here = levels.last().map_or(top, |level| &level.dir);
        let deepest = levels.len() >= LEVELS;
        match sweep(here, top, deepest, moved)? {
            Some(name) => {
                let dir = open(here, &name)?;
                levels.push(Level { name, dir });
            }
            None => {
                let Some(done) = levels.pop() else { return Ok(()) };
                let above = levels.last().map_or(top, |level| &level.dir);
                match rustix::fs::unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                    // A directory read while it is emptied may hide an entry: it is read again.
                    Err(Errno::NOTEMPTY) => levels.push(done),
                    result => result?,
                }
            }
        }
    }
}

/// Unlinks what is no directory in `dir` and returns the first directory that has to be entered.
/// Directories of the deepest level are moved to `top` instead.
fn sweep(dir: &OwnedFd, top: &OwnedFd, deepest: bool, moved: &mut u64) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::BUSY) => return Err(Errno::XDEV.into()),
            Err(errno) => return Err(errno.into()),
        }
        if !deepest {
            return Ok(Some(name.to_owned()));
        }
        loop {
            *moved += 1;
            let up = format!(".moved-{moved}");
            match rustix::fs::renameat_with(dir, name, top, &up, rustix::fs::RenameFlags::NOREPLACE) {
                Ok(()) => break,
                // The tenant may have a name of that kind itself.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::symlink,
    };

    use super::*;

    #[test]
    fn hostile_contents_go_and_what_they_point_at_stays() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "host").unwrap();
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        symlink("loop", tree.join("loop")).unwrap();
        fs::hard_link(outside.path().join("file"), tree.join("hard")).unwrap();
        fs::write(tree.join("x".repeat(255)), "long").unwrap();
        fs::create_dir(tree.join("y".repeat(255))).unwrap();
        fs::create_dir_all(tree.join(".moved-1/z")).unwrap();
        let fifo = rustix::fs::mknodat(
            File::open(&tree).unwrap(),
            "fifo",
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        );
        fifo.unwrap();
        remove_all(File::open(base.path()).unwrap(), c"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "host");
        remove_all(File::open(base.path()).unwrap(), c"tree").unwrap();
    }

    #[test]
    fn ten_thousand_levels_are_removed_with_few_descriptors() {
        let base = tempfile::tempdir().unwrap();
        let parent: OwnedFd = File::open(base.path()).unwrap().into();
        let name = CString::new("d".repeat(255)).unwrap();
        let mut here = parent.try_clone().unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(0o700)).unwrap();
            here = open(&here, &name).unwrap();
        }
        drop(here);
        remove_all(&parent, &name).unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
