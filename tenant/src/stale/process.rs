//! One process: its program, its libraries, its script.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{
    comparison::{Comparison, Verdict},
    id::{Beneath, FileId},
    proc::{self, Mapping},
    script,
    version::Version,
};
use crate::{
    files::processes,
    model::mountinfo::{self, Device},
};

/// How often a process is looked at that changes its memory meanwhile.
const ATTEMPTS: usize = 4;
/// How many of its open files are looked at to find the script that it reads.
const OPEN_FILES: usize = 1024;

/// What a file is to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Its program.
    Program,
    /// A file that it has in memory and executes code of: a library.
    Library,
    /// The script that it interprets.
    Script,
}

/// A file of an earlier version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleFile {
    /// What it is to the process.
    pub role: Role,
    /// Its path in the version.
    pub path: PathBuf,
    /// The version, as `IMAGE@DIGITS`.
    pub version: String,
}

/// A process that runs code of an earlier version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleProcess {
    /// Its id on the host.
    pub pid: u32,
    /// Its id in the tenant.
    pub inside: u32,
    /// Its name, at most 15 bytes, which it has chosen itself.
    pub command: String,
    /// Its cgroup, as the tenant sees it, without the first `/`.
    pub cgroup: PathBuf,
    /// What its runsv(8) was told to supervise, where it is one or is started by one.
    pub supervised: Option<String>,
    /// The files, each once.
    pub files: Vec<StaleFile>,
}

/// Reads the processes of one tenant.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    comparison: &'a Comparison,
    /// The filesystems that the tenant's directories are now.
    present: HashSet<Device>,
    /// What is known of files on others.
    known: HashMap<(Device, u64), Option<Verdict>>,
}

/// What was found of one process.
#[derive(Debug, Default)]
struct Findings {
    files: Vec<StaleFile>,
    /// Whether it has code from a base that is not attached any more: it began before the present version came.
    is_older: bool,
    /// Whether its program is on none of the tenant's present directories.
    has_other_program: bool,
    /// How its mount namespace calls a file, and its path in the version.
    names: Option<(PathBuf, PathBuf)>,
}

/// Why a process is not looked at to the end.
enum Stop {
    /// It has ended.
    Gone,
    /// It has changed what it has in memory.
    Changed,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Self::Gone,
            _ => Self::Failed(error),
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(comparison: &'a Comparison, present: HashSet<Device>) -> Self {
        Self { comparison, present, known: HashMap::new() }
    }

    /// A process, if it is stale.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub(super) fn read(&mut self, pid: u32, cgroup: &Path) -> io::Result<Option<StaleProcess>> {
        let mut attempt = 1;
        let found = loop {
            match self.findings(pid) {
                Ok(found) => break found,
                Err(Stop::Gone) => return Ok(None),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Changed) if attempt == ATTEMPTS => break Findings::default(),
                Err(Stop::Changed) => attempt += 1,
            }
        };
        if found.files.is_empty() {
            return Ok(None);
        }
        let Ok(status) = fs::read(format!("/proc/{pid}/status")) else { return Ok(None) };
        let status = String::from_utf8_lossy(&status);
        let mut files = found.files;
        files.sort();
        files.dedup();
        Ok(Some(StaleProcess {
            pid,
            inside: processes::inside(&status).unwrap_or(pid),
            command: proc::field(&status, "Name").unwrap_or_default().to_owned(),
            cgroup: cgroup.to_owned(),
            supervised: supervised(pid, &status),
            files,
        }))
    }

    fn findings(&mut self, pid: u32) -> Result<Findings, Stop> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        // A kernel thread or a zombie has none.
        let Ok(program) = fs::read_link(proc.join("exe")) else { return self.threads(pid) };
        let maps = fs::read(proc.join("maps"))?;
        self.of_maps(&proc, &program, &maps)
    }

    /// A process whose first thread has ended is known by another one.
    fn threads(&mut self, pid: u32) -> Result<Findings, Stop> {
        let dir = PathBuf::from(format!("/proc/{pid}/task"));
        for entry in fs::read_dir(dir)?.flatten().take(OPEN_FILES) {
            let Ok(program) = fs::read_link(entry.path().join("exe")) else { continue };
            // map_files is there for processes alone, and for a thread under its own number.
            let proc = Path::new("/proc").join(entry.file_name());
            let maps = fs::read(proc.join("maps"))?;
            if !maps.is_empty() {
                return self.of_maps(&proc, &program, &maps);
            }
        }
        Ok(Findings::default())
    }

    fn of_maps(&mut self, proc: &Path, program: &Path, maps: &[u8]) -> Result<Findings, Stop> {
        let mut found = Findings { has_other_program: true, ..Findings::default() };
        for mapping in proc::executable(maps) {
            let is_program = mapping.path == program;
            if self.present.contains(&mapping.device) {
                found.has_other_program &= !is_program;
                continue;
            }
            let role = if is_program { Role::Program } else { Role::Library };
            let path = match self.verdict(proc, &mapping)? {
                Some(Verdict::Earlier { path, version }) => {
                    let version = version.to_string();
                    found.files.push(StaleFile { role, path: path.clone(), version });
                    path
                }
                Some(Verdict::Present(path)) => path,
                Some(Verdict::Foreign) | None => continue,
            };
            found.is_older = true;
            found.names.get_or_insert((mapping.path, path));
        }
        if (found.is_older || found.has_other_program)
            && let Some(script) = self.script(proc, program, &found)?
        {
            found.files.push(script);
        }
        Ok(found)
    }

    /// Of which version a mapped file is; none for one that is of no base, or of a directory as it is now.
    fn verdict(&mut self, proc: &Path, mapping: &Mapping<'_>) -> Result<Option<Verdict>, Stop> {
        let key = (mapping.device, mapping.inode);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        // The link has no leading zeroes.
        let bounds: Vec<&str> = mapping.range.split('-').map(|bound| bound.trim_start_matches('0')).collect();
        let file = match path_only(&proc.join("map_files").join(bounds.join("-"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(if proc.exists() { Stop::Changed } else { Stop::Gone });
            }
            opened => opened?,
        };
        let beneath = Beneath::of(file.as_fd()).map_err(Stop::Failed)?;
        let verdict = match beneath.map(|beneath| self.comparison.verdict(&mapping.path, &beneath)) {
            Some(Verdict::Foreign) => self.of_a_removed_version(proc, mapping)?.or(Some(Verdict::Foreign)),
            verdict => verdict,
        };
        self.known.insert(key, verdict.clone());
        Ok(verdict)
    }

    /// A file of an overlay that no mount namespace shows any more, where a version has been removed from the store: it
    /// is one of its.
    fn of_a_removed_version(&self, proc: &Path, mapping: &Mapping<'_>) -> Result<Option<Verdict>, Stop> {
        let Some(version) = self.comparison.gone() else { return Ok(None) };
        let mounts = fs::read(proc.join("mountinfo"))?;
        let is_attached = mountinfo::mounts(&mounts).any(|mount| mount.shows.device == mapping.device);
        let path = mapping.path.clone();
        Ok((!is_attached).then(|| Verdict::Earlier { path, version: version.clone() }))
    }

    /// The script that the process interprets, if it is of an earlier version.
    fn script(&self, proc: &Path, program: &Path, found: &Findings) -> Result<Option<StaleFile>, Stop> {
        let cmdline = fs::read(proc.join("cmdline"))?;
        let arguments = proc::arguments(&cmdline);
        let Some(named) = script::named(program, &arguments) else { return Ok(None) };
        let from = if named.path.is_absolute() { "root" } else { "cwd" };
        let from = fs::read_link(proc.join(from))?;
        let whole = from.join(named.path.strip_prefix("/").unwrap_or(named.path));
        let mut places = self.comparison.places(&whole);
        places.extend(found.names.as_ref().and_then(|names| renamed(&whole, names)));
        let open_files = OnceCell::new();
        // A script of the present version, by its name: of which one it is that the process reads is the question.
        for version in &self.comparison.earlier {
            let resolved = places.iter().find_map(|place| Some((version.resolve(place)?, version)));
            let Some((path, version)) = resolved.filter(|(path, _)| self.comparison.changes(path)) else {
                continue;
            };
            let Some(file) = version.file(&path) else { continue };
            let present = &self.comparison.present;
            let now = present.file(&path);
            if self.comparison.is_unchanged(&path, version)
                || named.by_shebang && !is_script_of(version.first_line(&path), program)
            {
                continue;
            }
            let open = open_files.get_or_init(|| open_files_of(proc));
            let is_open = |version: &Version, wanted: &FileId| {
                open.iter().any(|beneath| beneath.file == *wanted && version.may_have(beneath))
            };
            // A shell keeps its script open; of another interpreter the script is as old as its own code.
            let has_now = || now.as_ref().is_some_and(|now| is_open(present, now));
            if is_open(version, &file) || found.is_older && !has_now() {
                let version = version.pinned().to_string();
                return Ok(Some(StaleFile { role: Role::Script, path, version }));
            }
        }
        Ok(None)
    }
}

/// The service of a process that is a runsv(8), or whose parent is one. Names are the tenant's choice.
fn supervised(pid: u32, status: &str) -> Option<String> {
    const RUNSV: &str = "runsv";
    let parent = || proc::field(status, "PPid")?.parse().ok();
    let of_parent = |parent: u32| {
        let status = fs::read(format!("/proc/{parent}/status")).ok()?;
        (proc::field(&String::from_utf8_lossy(&status), "Name")? == RUNSV).then_some(parent)
    };
    let runsv = match proc::field(status, "Name")? == RUNSV {
        true => pid,
        false => parent().and_then(of_parent)?,
    };
    let cmdline = fs::read(format!("/proc/{runsv}/cmdline")).ok()?;
    let service = proc::arguments(&cmdline).get(1)?.file_name()?.to_str()?.to_owned();
    Some(service)
}

/// Opens a file of a process so that only its place is known: nothing is read, no device or filesystem asked.
fn path_only(link: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The files that a process has open.
fn open_files_of(proc: &Path) -> HashSet<Beneath> {
    let entries = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten().take(OPEN_FILES);
    let of = |entry: fs::DirEntry| {
        let file = path_only(&entry.path()).ok()?;
        Beneath::of(file.as_fd()).ok()?
    };
    entries.filter_map(of).collect()
}

/// A path as the version has it, from how the mount namespace calls another file and where that is in the version.
fn renamed(path: &Path, (name, place): &(PathBuf, PathBuf)) -> Option<PathBuf> {
    let (mut outside, mut inside) = (name.as_path(), place.as_path());
    while outside.file_name().is_some() && outside.file_name() == inside.file_name() {
        (outside, inside) = (outside.parent()?, inside.parent()?);
    }
    Some(inside.join(path.strip_prefix(outside).ok()?))
}

fn is_script_of(first_line: Option<Vec<u8>>, program: &Path) -> bool {
    let interpreter = first_line.and_then(|line| script::shebang(&line));
    interpreter.is_some_and(|interpreter| interpreter.file_name() == program.file_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_again_where_the_directory_has_another_name() {
        let bound = (PathBuf::from("/srv/jail/usr/bin/perl"), PathBuf::from("/usr/bin/perl"));
        assert_eq!(renamed(Path::new("/srv/jail/usr/sbin/x"), &bound), Some("/usr/sbin/x".into()));
        let detached = (PathBuf::from("/bin/perl"), PathBuf::from("/usr/bin/perl"));
        assert_eq!(renamed(Path::new("/sbin/x"), &detached), Some("/usr/sbin/x".into()));
        let elsewhere = (PathBuf::from("/srv/lib/x.so"), PathBuf::from("/usr/lib/x/x.so"));
        assert_eq!(renamed(Path::new("/srv/bin/y"), &elsewhere), None);
    }
}
