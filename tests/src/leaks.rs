//! What one host of a test has: whatever a verb could leave behind.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::{Host, Tenant};

/// Everything of one moment, each as a line of text, and how often it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    things: BTreeMap<String, usize>,
}

impl Snapshot {
    /// Looks at a host: mounts below its root, links, addresses, routes and the packet filter of its network
    /// namespace, its cgroups (see [`cgroups_of`]), its processes, the descriptors of its hostd, the files below its root.
    pub fn of(host: &Host, cgroups: &[PathBuf]) -> Self {
        let mut seen = Self::default();
        seen.mounts(host);
        seen.network(host);
        for dir in cgroups {
            seen.cgroups(dir);
        }
        seen.processes(host, cgroups);
        seen.descriptors(host.hostd_pid());
        for dir in ["etc", "run", "var"] {
            seen.files(host, &host.path(dir));
        }
        seen
    }

    /// What is there that was not there before, or more often.
    pub fn since(&self, before: &Self) -> Vec<String> {
        let more = self.things.iter().filter_map(|(thing, now)| {
            let was = before.things.get(thing).copied().unwrap_or_default();
            (*now > was).then(|| if was == 0 { thing.clone() } else { format!("{thing} ({was} -> {now})") })
        });
        more.collect()
    }

    /// The same without what belongs to the process hostd, for a comparison with another hostd.
    #[must_use]
    pub fn without_descriptors(&self) -> Self {
        let things = self.things.iter().filter(|(thing, _)| !thing.starts_with("descriptor "));
        Self { things: things.map(|(thing, count)| (thing.clone(), *count)).collect() }
    }

    fn add(&mut self, thing: String) {
        *self.things.entry(thing).or_default() += 1;
    }

    fn mounts(&mut self, host: &Host) {
        let root = host.root().to_string_lossy().into_owned();
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", host.hostd_pid())).unwrap_or_default();
        for line in table.lines().filter(|line| line.contains(&root)) {
            let at = line.split(' ').nth(4).unwrap_or_default();
            self.add(format!("mount {}", at.replace(&root, "")));
        }
    }

    fn network(&mut self, host: &Host) {
        let script = "ip -oneline link | awk '{print \"link\", $2}'
            ip -oneline address | awk '{print \"address\", $2, $4}'
            ip route show table all | sed 's/^/route /'
            ip -6 route show table all | sed 's/^/route /'
            nft --numeric list ruleset | sed 's/packets [0-9]* bytes [0-9]*//g; s/ expires [0-9a-z]*//'";
        let said = host.run("sh", &["-c", script]).output().stdout;
        for line in said.lines() {
            // The elements of a set are on one line or on several.
            for part in line.split(", ").map(str::trim).filter(|part| !part.is_empty()) {
                self.add(part.trim_start_matches("elements = { ").trim_end_matches([',', '}', ' ']).to_owned());
            }
        }
    }

    fn cgroups(&mut self, dir: &Path) {
        self.add(format!("cgroup {}", dir.display()));
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.cgroups(&entry.path());
            }
        }
    }

    /// Its programs by their command lines, and what is in its cgroups. A zombie's parent is about to take it.
    fn processes(&mut self, host: &Host, instance: &[PathBuf]) {
        let root = host.root().to_string_lossy().into_owned();
        let names: Vec<&str> =
            instance.iter().filter_map(|dir| dir.file_name()?.to_str()).collect();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            let text = |file: &str| String::from_utf8_lossy(&read(file)).replace('\0', " ");
            if !entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()) {
                continue;
            }
            let line = text("cmdline");
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
            let is_program = matches!(name.as_str(), "hostd" | "tenant" | "rootfsctl") && line.contains(&root);
            let is_inside = {
                let cgroups = text("cgroup");
                names.iter().any(|name| cgroups.contains(&format!("/{name}/")))
            };
            if (is_program || is_inside) && !text("status").contains("\nState:\tZ") {
                let line = line.replace(&root, "");
                self.add(format!("process {}", line.trim()));
            }
        }
    }

    fn descriptors(&mut self, hostd: u32) {
        for entry in fs::read_dir(format!("/proc/{hostd}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
            // Without the number of a pipe or a socket.
            let kind = target.split(":[").next().unwrap_or_default();
            self.add(format!("descriptor {kind}"));
        }
    }

    /// Every name, but not inside of images and of tenants' own directories.
    fn files(&mut self, host: &Host, dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let below = path.strip_prefix(host.root()).unwrap_or(&path).to_string_lossy().into_owned();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_theirs = below.contains("/dirs/") || (below.contains("/images/") && below.contains("/tree"));
            if is_dir && !is_theirs {
                self.files(host, &path);
            }
            self.add(format!("file {below}"));
        }
    }
}

/// The directories of a host's tenants in every cgroup hierarchy, found by one that is running.
///
/// # Panics
/// When its cgroup has no name.
pub fn cgroups_of(tenant: &Tenant<'_>) -> Vec<PathBuf> {
    let cgroup = PathBuf::from(tenant.field("/cgroup"));
    let instance = cgroup.parent().and_then(Path::file_name).expect("a cgroup of this host").to_owned();
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), &instance, 5, &mut found);
    found
}

fn below(dir: &Path, name: &OsStr, depth: u8, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 0 {
            below(&entry.path(), name, depth - 1, found);
        }
    }
}
