//! A tree that is not trusted, opened as a root: paths resolve inside it like in a chroot(2).
//!
//! An image may come from anywhere, and `/etc -> /` in it must not make root write to the host. Every
//! parent directory is therefore resolved by openat2(2) with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`,
//! and the last component is never followed by a writer.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

/// Largest file that is read as text from an image, bytes.
pub const MAX_TEXT: u64 = 1 << 20;

/// The root of a tree.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
}

impl RootDir {
    /// Opens the directory `path` as a root. The path itself is the caller's and is followed.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// The directory's descriptor (`O_PATH`).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(filetree::openat2(&self.fd, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// The directory that holds `path`, and its last component.
    ///
    /// # Errors
    /// Those of openat2(2), and `InvalidInput` for a path that ends in `..` or is empty.
    pub fn parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?, name.to_owned()))
    }

    /// What is at `path`, a symbolic link itself and not its target.
    ///
    /// # Errors
    /// Those of fstatat(2) except that an absent file is `None`.
    pub fn stat(&self, path: impl AsRef<Path>) -> io::Result<Option<Stat>> {
        let found = self
            .parent(path.as_ref())
            .and_then(|(parent, name)| Ok(rustix::fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW)?));
        absent(found)
    }

    /// Whether there is something at `path`, be it a dangling link.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        matches!(self.stat(path), Ok(Some(_)))
    }

    /// Whether `path`, with links followed inside the tree, is a regular file.
    pub fn is_file(&self, path: impl AsRef<Path>) -> bool {
        let file = self.resolve(path.as_ref(), OFlags::PATH);
        file.and_then(|fd| Ok(rustix::fs::fstat(fd)?))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// The target of the link at `path`.
    pub fn link(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let (parent, name) = self.parent(path.as_ref()).ok()?;
        let target = rustix::fs::readlinkat(parent, &name, Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Where `path` ends when links are followed inside the tree: a path below the root.
    pub fn canonical(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let fd = self.resolve(path.as_ref(), OFlags::PATH).ok()?;
        let whole = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        let root = fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).ok()?;
        Some(whole.strip_prefix(root).ok()?.to_owned())
    }

    /// Reads the regular file `path` as text, bytes that are not UTF-8 replaced. At most [`MAX_TEXT`]
    /// bytes are read.
    ///
    /// # Errors
    /// Those of openat2(2) and read(2), except that an absent file is `None`.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<Option<String>> {
        self.text_up_to(path, MAX_TEXT)
    }

    /// The same with another limit, bytes.
    ///
    /// # Errors
    /// As [`RootDir::text`].
    pub fn text_up_to(&self, path: impl AsRef<Path>, max: u64) -> io::Result<Option<String>> {
        let path = path.as_ref();
        if !self.is_file(path) {
            return Ok(None);
        }
        let read = || -> io::Result<String> {
            let file = File::from(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
            let mut bytes = Vec::new();
            file.take(max).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        absent(read())
    }

    /// Names in the directory `path`, sorted; none if it is absent.
    ///
    /// # Errors
    /// Those of openat2(2) and getdents(2).
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<OsString>> {
        let Some(dir) = absent(self.resolve(path.as_ref(), OFlags::PATH | OFlags::DIRECTORY))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))? {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(names)
    }

    /// Paths that match a pattern, sorted. `*` stands for any part of one component, as in glob(7); the last
    /// component may be a link, be it dangling.
    ///
    /// # Errors
    /// As [`RootDir::list`].
    pub fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for component in pattern.split('/') {
            let mut next = Vec::new();
            for dir in found {
                match component.split_once('*') {
                    None => next.push(dir.join(component)),
                    Some((start, end)) => {
                        let matches = |name: &OsString| {
                            let name = name.to_string_lossy();
                            name.len() >= start.len() + end.len()
                                && name.starts_with(start)
                                && name.ends_with(end)
                        };
                        next.extend(self.list(&dir)?.into_iter().filter(matches).map(|name| dir.join(name)));
                    }
                }
            }
            found = next;
        }
        found.retain(|path| self.has(path));
        Ok(found)
    }

    /// Makes the directory `path` and those above it, mode 0755, and returns it.
    ///
    /// # Errors
    /// Those of mkdirat(2) and openat2(2); a link on the way is followed inside the tree.
    pub fn mkdir_all(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Some(dir) = absent(self.resolve(path, flags))? {
            return Ok(dir);
        }
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let parent = self.resolve(&so_far, flags)?;
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            so_far.push(name);
        }
        self.resolve(path, flags)
    }

    /// Replaces whatever is at `path` by a regular file.
    ///
    /// # Errors
    /// Those of the system calls involved.
    pub fn write(&self, path: impl AsRef<Path>, contents: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.replace(path.as_ref())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::openat(parent, &name, flags, Mode::from_raw_mode(mode))?);
        file.write_all(contents)?;
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
    }

    /// Replaces whatever is at `path` by a symbolic link.
    ///
    /// # Errors
    /// Those of the system calls involved.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> io::Result<()> {
        let (parent, name) = self.replace(path.as_ref())?;
        Ok(rustix::fs::symlinkat(target.as_ref(), parent, &name)?)
    }

    fn replace(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        self.mkdir_all(path.parent().unwrap_or(Path::new("")))?;
        let (parent, name) = self.parent(path)?;
        remove_at(&parent, &name)?;
        Ok((parent, name))
    }

    /// Removes the file, link or whole directory at `path` and says whether there was one.
    ///
    /// # Errors
    /// Those of the system calls involved.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        match absent(self.parent(path.as_ref()))? {
            Some((parent, name)) => remove_at(&parent, &name),
            None => Ok(false),
        }
    }
}

/// Removes `name` in `parent` without following it.
///
/// # Errors
/// Those of unlinkat(2).
pub fn remove_at(parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => {
            // std's remove_dir_all opens every level with O_NOFOLLOW.
            fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))?;
            Ok(true)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_hostile_link_never_leads_out_of_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "host").unwrap();
        let tree = tempfile::tempdir().unwrap();
        symlink(outside.path(), tree.path().join("etc")).unwrap();
        symlink(outside.path().join("file"), tree.path().join("file")).unwrap();
        let root = RootDir::open(tree.path()).unwrap();

        assert_eq!(root.text("file").unwrap(), None);
        assert!(root.write("etc/evil", b"x", 0o644).is_err() || !outside.path().join("evil").exists());
        root.write("file", b"ours", 0o600).unwrap();
        assert!(!root.remove("etc/file").unwrap());
        root.remove("etc").unwrap();
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "host");
        assert_eq!(root.text("../../../file").unwrap().unwrap(), "ours");
    }

    #[test]
    fn a_star_stands_for_a_part_of_one_component() {
        let tree = tempfile::tempdir().unwrap();
        let root = RootDir::open(tree.path()).unwrap();
        for path in ["a/x/key", "a/y/key", "a/y/other", "b/x/key"] {
            root.write(path, b"", 0o644).unwrap();
        }
        root.symlink("/nowhere", "a/z-key").unwrap();
        let found = |pattern: &str| -> Vec<String> {
            root.glob(pattern).unwrap().iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(found("a/*/key"), ["a/x/key", "a/y/key"]);
        assert_eq!(found("*/x/k*y"), ["a/x/key", "b/x/key"]);
        assert_eq!(found("a/z-*"), ["a/z-key"]);
        assert_eq!(found("c/*/key"), [""; 0]);
        assert_eq!(found("b/x/key"), ["b/x/key"]);
    }

    #[test]
    fn directories_are_made_and_replaced() {
        let tree = tempfile::tempdir().unwrap();
        let root = RootDir::open(tree.path()).unwrap();
        root.write("a/b/c", b"x", 0o640).unwrap();
        root.symlink("/dev/null", "a/b").unwrap();
        assert_eq!(root.link("a/b").unwrap(), Path::new("/dev/null"));
        assert!(root.has("a/b") && !root.is_file("a/b"));
        assert_eq!(root.list("a").unwrap(), ["b"]);
    }
}
