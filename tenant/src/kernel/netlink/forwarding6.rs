//! IPv6 forwarding, which is one switch for the whole host: what it was is noted before it is turned on, and comes
//! back when the last tenant is gone that needs it.
//!
//! Who needs it is read from the kernel: a port of ours over which an IPv6 route leads to a tenant. A start makes the
//! route before it looks whether the host forwards, and who gives back looks for routes again afterwards: one of both
//! sees the other.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{
    Connection,
    sysctl::{is_set, set},
};
use crate::{
    files::record::{self, Durability},
    kernel::{KernelError, Result},
    model::port::is_trial_port,
};

const CONF: &str = "/proc/sys/net/ipv6/conf";
/// The routes of this thread's network namespace.
const ROUTES: &str = "/proc/thread-self/net/ipv6_route";
/// Flags of routes to the host's own addresses, `linux/ipv6_route.h`.
const OWN: u32 = 0x8000_0000 | 0x0010_0000;

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
pub(super) fn forwarding6_enable(note: &Path) -> Result<()> {
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

/// Gives the host back what was changed so that it forwards IPv6, unless a port of `group` still needs it. What a process
/// has changed since is left as it is. For every tenant that has ended, whatever it was: it is cheap where there is
/// nothing to give back. Ports that are `going` need it no more.
///
/// # Errors
/// The note or the routes cannot be read, or a value cannot be written; the note stays.
pub fn forwarding6_release(note: &Path, group: u32, going: &[&str]) -> Result<()> {
    let is_needed =
        || is_needed(group, going).map_err(|error| KernelError::new("look for", "ports with IPv6", error));
    if !note.exists() || is_needed()? || !restore(note)? {
        return Ok(());
    }
    // A start may have found it on before that.
    if is_needed()? { forwarding6_enable(note) } else { Ok(()) }
}

/// Whether an IPv6 route leads over a port of `group` that is not going.
fn is_needed(group: u32, going: &[&str]) -> io::Result<bool> {
    let routes = match File::open(ROUTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        routes => BufReader::new(routes?),
    };
    let (mut links, mut foreign) = (Connection::open()?, BTreeSet::new());
    for line in routes.lines() {
        let line = line?;
        let Some(link) = host_route(&line)
            .filter(|link| !is_trial_port(link) && !going.contains(link) && !foreign.contains(*link))
        else {
            continue;
        };
        if links.link(link)?.is_some_and(|facts| facts.group == group) {
            return Ok(true);
        }
        foreign.insert(link.to_owned());
    }
    Ok(false)
}

/// The interface over which a line of `ipv6_route` leads to one address that is not the host's own, see proc(5).
fn host_route(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, length, _, _, _, _, _, _, flags, link] = words.as_slice() else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (*length == "80" && flags & OWN == 0).then_some(link)
}

/// Says whether there was anything to give back.
fn restore(note: &Path) -> Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_route_to_somebody_elses_address_counts() {
        let line = |length: &str, flags: &str| {
            let (to, any) = ("fd74656e616e74000000000000000001", "0".repeat(32));
            format!("{to} {length} {any} 00 {any} 00000400 00000001 00000000 {flags}     t1-0")
        };
        assert_eq!(host_route(&line("80", "00000001")), Some("t1-0"));
        for other in [line("40", "00000001"), line("80", "80200001"), line("80", "00100001"), String::new()] {
            assert_eq!(host_route(&other), None, "{other}");
        }
    }
}
