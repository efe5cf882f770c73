//! IPv6 forwarding, which is one switch for the whole host: what it was is noted before it is turned on, and comes
//! back when no tenant needs it any more.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::sysctl::{is_set, set};
use crate::{
    kernel::{KernelError, Result},
    record::{self, Durability},
};

const CONF: &str = "/proc/sys/net/ipv6/conf";

/// What was there before, by the names of directories below [`CONF`].
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Former {
    /// Interfaces that said they forward although the host did not.
    forwarding: BTreeSet<String>,
    /// Where `accept_ra` was 1: a host that forwards ignores router advertisements, also those it has its own
    /// default route from, unless it is 2.
    accept_ra: BTreeSet<String>,
}

fn file(link: &str, name: &str) -> String {
    format!("{CONF}/{link}/{name}")
}

fn is_on() -> bool {
    is_set(&file("all", "forwarding"), "1")
}

/// The entries of [`CONF`] where a value is 1.
fn where_one(name: &str) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(CONF).map_err(|error| KernelError::new("list", CONF, error))?;
    let links = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(links.filter(|link| is_set(&file(link, name), "1")).collect())
}

fn failed(note: &Path, error: impl Into<io::Error>) -> KernelError {
    KernelError::new("use", note.display(), error)
}

/// Keeps others from turning it on or off meanwhile, until it is dropped.
fn lock(note: &Path) -> Result<File> {
    let lock = || {
        let file =
            File::options().write(true).create(true).truncate(false).open(note.with_extension("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    lock().map_err(|error: io::Error| failed(note, error))
}

fn read(note: &Path) -> Result<Option<Former>> {
    match record::read(note) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| failed(note, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(note, io::Error::other(error))),
    }
}

/// Turns it on. What the host had is noted first; an older note is right: it is of the time before tenants.
///
/// # Errors
/// The note cannot be written, or a value.
pub fn forwarding6_enable(note: &Path) -> Result<()> {
    if is_on() {
        return Ok(());
    }
    let _lock = lock(note)?;
    if is_on() {
        return Ok(());
    }
    let accept_ra = where_one("accept_ra")?;
    let mut former = match read(note)? {
        Some(former) => former,
        None => Former { forwarding: where_one("forwarding")?, accept_ra: BTreeSet::new() },
    };
    former.accept_ra.extend(accept_ra.iter().cloned());
    let text = serde_json::to_vec(&former).expect("it has only types that JSON can hold");
    record::write(note, &text, Durability::Volatile)
        .map_err(|error| failed(note, io::Error::other(error)))?;
    for link in &accept_ra {
        set(file(link, "accept_ra"), "2")?;
    }
    set(file("all", "forwarding"), "1")
}

/// Gives the host back what [`forwarding6_enable`] changed; says whether there was anything. What somebody has changed since is
/// left as it is.
///
/// # Errors
/// The note cannot be read, or a value cannot be written.
pub fn forwarding6_restore(note: &Path) -> Result<bool> {
    if !note.exists() {
        return Ok(false);
    }
    let _lock = lock(note)?;
    let Some(former) = read(note)? else { return Ok(false) };
    if is_on() {
        // This is the value of every interface as well.
        set(file("all", "forwarding"), "0")?;
        give_back(&former.forwarding, "forwarding", ("0", "1"))?;
    }
    give_back(&former.accept_ra, "accept_ra", ("2", "1"))?;
    fs::remove_file(note).map_err(|error| failed(note, error))?;
    Ok(true)
}

/// Where a value is still what it was made, makes it what it was. An interface may have gone.
fn give_back(links: &BTreeSet<String>, name: &str, (now, before): (&str, &str)) -> Result<()> {
    let files = links.iter().map(|link| file(link, name));
    files.filter(|file| is_set(file, now)).try_for_each(|file| set(file, before))
}
