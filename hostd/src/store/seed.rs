//! What lies in a new tenant's directories: the layers and copies its plan asks for, and its identity.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Write as _},
    net::IpAddr,
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use tenant::plan::{GATEWAY4, Plan, RootStep};

use super::{
    copy::{copy_dir, copy_metadata, make_dir, open_dir},
    remove::remove_all,
};

/// Files and directories that have to reach the disk before the record does.
#[derive(Debug, Default)]
pub struct Unsynced(Vec<OwnedFd>);

impl Unsynced {
    /// So many are kept open at most.
    const MOST: usize = 256;

    /// Remembers one; the oldest are written out when there are many. An error of those is met again
    /// by [`Unsynced::flush`], because fsync(2) of a file reports it.
    pub fn push(&mut self, fd: OwnedFd) {
        if self.0.len() >= Self::MOST {
            self.0.retain(|fd| rustix::fs::fsync(fd).is_err());
        }
        self.0.push(fd);
    }

    /// fsync(2) of all of them.
    ///
    /// # Errors
    /// The first that fails, e.g. with `StorageFull`.
    pub fn flush(&mut self) -> io::Result<()> {
        for fd in self.0.drain(..) {
            rustix::fs::fsync(fd)?;
        }
        Ok(())
    }
}

/// What the identity files of a tenant say.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The host's own name, by which tenants reach it.
    pub host_name: &'a str,
    /// The host's `/etc/resolv.conf`.
    pub resolv_conf: &'a str,
}

fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn exists(dir: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the directories below `dirs` that the plan asks for and that are not there yet; each appears
/// whole. Returns their names.
///
/// # Errors
/// The first one that cannot be made.
pub(super) fn ensure_stores(
    plan: &Plan,
    image: &OwnedFd,
    dirs: &OwnedFd,
    unsynced: &mut Unsynced,
) -> io::Result<Vec<String>> {
    let mut made = Vec::new();
    for step in &plan.root {
        let (from, store, is_overlay) = match step {
            RootStep::Overlay { at, store } => (Some(at.relative()), store, true),
            RootStep::Private { at, store } => (Some(at.relative()), store, false),
            RootStep::Whole { store } => (None, store, true),
            _ => continue,
        };
        let name = c_name(store)?;
        if exists(dirs, &name)? {
            continue;
        }
        let staged = c_name(&format!(".new-{store}"))?;
        remove_all(dirs, &staged)?;
        let source = match from {
            None => Some(image.try_clone()?),
            Some(path) => match open_dir(image, &c_name(path)?) {
                Ok(dir) => Some(dir),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        let dir = make_dir(dirs, &staged)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?;
        match (is_overlay, source) {
            (true, source) => {
                let upper = make_dir(&dir, c"upper")?;
                if let Some(source) = source {
                    copy_metadata(source, &upper)?;
                }
                unsynced.push(upper);
                unsynced.push(make_dir(&dir, c"work")?);
                unsynced.push(dir);
            }
            (false, Some(source)) => copy_dir(source, dir, &mut |fd| unsynced.push(fd))?,
            (false, None) => unsynced.push(dir),
        }
        rustix::fs::renameat(dirs, &staged, dirs, &name)?;
        made.push(store.clone());
    }
    unsynced.push(dirs.try_clone()?);
    Ok(made)
}

/// The directory below `dirs` into which files of the tenant's `/etc` are written; none when its `/etc`
/// is the image's.
fn own_etc(plan: &Plan, image: &OwnedFd, dirs: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    for step in &plan.root {
        match step {
            RootStep::Overlay { at, store } if at.as_str() == "/etc" => {
                return Ok(Some(open_dir(open_dir(dirs, &c_name(store)?)?, c"upper")?));
            }
            RootStep::Private { at, store } if at.as_str() == "/etc" => {
                return Ok(Some(open_dir(dirs, &c_name(store)?)?));
            }
            RootStep::Whole { store } => {
                let upper = open_dir(open_dir(dirs, &c_name(store)?)?, c"upper")?;
                let etc = make_dir(&upper, c"etc")?;
                copy_metadata(open_dir(image, c"etc")?, &etc)?;
                return Ok(Some(etc));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Writes `hostname`, `hosts`, `machine-id` and, for an image without one, `resolv.conf`: what a first
/// boot would otherwise have to make up, or share with every other tenant.
///
/// # Errors
/// The first file that cannot be written.
pub(super) fn write_identity(
    plan: &Plan,
    identity: Identity<'_>,
    image: &OwnedFd,
    dirs: &OwnedFd,
    unsynced: &mut Unsynced,
) -> io::Result<()> {
    let Some(etc) = own_etc(plan, image, dirs)? else { return Ok(()) };
    let mut files = vec![
        (c"hostname", format!("{}\n", plan.init.hostname), 0o644),
        (c"hosts", hosts(&plan.init.hostname, identity.host_name), 0o644),
        (c"machine-id", format!("{}\n", plan.init.uuid), 0o444),
    ];
    let image_has_resolver = match open_dir(image, c"etc") {
        Ok(image_etc) => exists(&image_etc, c"resolv.conf")?,
        Err(_) => false,
    };
    if !image_has_resolver && let Some(text) = resolv_conf(identity.resolv_conf) {
        files.push((c"resolv.conf", text, 0o644));
    }
    for (name, text, mode) in files {
        // A private /etc is a copy of the image's and may have the name already, as whatever.
        remove_all(&etc, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&etc, name, flags, Mode::from_raw_mode(mode))?);
        file.write_all(text.as_bytes())?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        unsynced.push(file.into());
    }
    unsynced.push(etc);
    Ok(())
}

/// `/etc/hosts`: the tenant itself, and its host by name.
fn hosts(hostname: &str, host_name: &str) -> String {
    let short = hostname.split('.').next().unwrap_or(hostname);
    let own = if short == hostname { hostname.to_owned() } else { format!("{hostname} {short}") };
    // The host's name comes from uname(2) and could be anything.
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let valid = !host_name.is_empty() && host_name.chars().all(is_name) && host_name != hostname;
    let host = if valid && host_name != "localhost" {
        format!("{host_name} host.tenantry")
    } else {
        "host.tenantry".to_owned()
    };
    format!(
        "127.0.0.1\tlocalhost\n\
         127.0.1.1\t{own}\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n\
         {GATEWAY4}\t{host}\n"
    )
}

/// The host's name servers as far as a tenant can reach them; none if it can reach none.
fn resolv_conf(host: &str) -> Option<String> {
    let reachable = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        let is_server = words.next() == Some("nameserver");
        let address = words.next().and_then(|text| text.parse::<IpAddr>().ok());
        is_server && address.is_some_and(|address| !address.is_loopback())
    };
    let servers: String = host.lines().filter(reachable).take(3).map(|line| format!("{line}\n")).collect();
    if servers.is_empty() {
        return None;
    }
    let rest = |line: &&str| {
        matches!(line.split_ascii_whitespace().next(), Some("search" | "options")) && line.len() < 256
    };
    let rest: String = host.lines().filter(rest).take(4).map(|line| format!("{line}\n")).collect();
    Some(format!("{servers}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_names_the_tenant_and_its_host() {
        let text = hosts("alice", "machine");
        assert!(text.contains("127.0.1.1\talice\n"), "{text}");
        assert!(text.contains("169.254.1.1\tmachine host.tenantry\n"), "{text}");
        assert!(hosts("a.example.org", "x").contains("127.0.1.1\ta.example.org a\n"));
        assert!(!hosts("alice", "evil\n127.0.0.1 bank").contains("bank"));
    }

    #[test]
    fn only_reachable_name_servers_are_copied() {
        let host = "# c\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch example.org\nfoo bar\n";
        assert_eq!(resolv_conf(host).unwrap(), "nameserver 10.0.0.2\nsearch example.org\n");
        assert_eq!(resolv_conf("nameserver ::1\n"), None);
        assert_eq!(resolv_conf("nameserver 8.8.8.8; rm -rf /\n"), None);
    }
}
