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
        seen.programs(host);
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
        // As a process in the namespace sees it: quicker than by programs, for what is looked at so often.
        let net = PathBuf::from(format!("/proc/{}/net", host.network().pid()));
        let read = |file: &str| fs::read_to_string(net.join(file)).unwrap_or_default();
        for line in read("dev").lines().skip(2) {
            self.add(format!("link {}", line.split(':').next().unwrap_or_default().trim()));
        }
        for line in read("fib_trie").lines().filter(|line| line.contains("|-- ")) {
            self.add(format!("route {}", line.trim()));
        }
        for line in read("ipv6_route").lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let field = |number: usize| words.get(number).copied().unwrap_or_default();
            self.add(format!("route {}/{} {}", field(0), field(1), field(9)));
        }
        for line in read("if_inet6").lines() {
            self.add(format!("address {}", line.replace("  ", " ")));
        }
        let rules = host.run("nft", &["--numeric", "list", "ruleset"]).output().stdout;
        for line in rules.lines() {
            // The elements of a set are on one line or on several.
            for part in line.split(", ").map(element).filter(|part| !part.is_empty()) {
                self.add(format!("nft {part}"));
            }
        }
    }

    /// A cgroup, those below it, and the processes in them.
    fn cgroups(&mut self, dir: &Path) {
        self.add(format!("cgroup {}", dir.display()));
        let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            // A zombie has none: its parent is about to take it.
            if !line.is_empty() {
                self.add(format!("process in {} {}", dir.display(), line.trim()));
            }
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.cgroups(&entry.path());
            }
        }
    }

    /// The programs of the host, wherever they are, by their command lines.
    fn programs(&mut self, host: &Host) {
        let root = host.root().to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()) {
                continue;
            }
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let name = line.split(' ').next().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
            if ["hostd", "tenant", "rootfsctl"].contains(&name) && line.contains(&root) {
                self.add(format!("process {}", line.replace(&root, "").trim()));
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
            let is_theirs =
                below.contains("/dirs/") || (below.contains("/images/") && below.contains("/tree"));
            if is_dir && !is_theirs {
                self.files(host, &path);
            }
            self.add(format!("file {below}"));
        }
    }
}

/// A part of a line of nft(8), without what it has counted.
fn element(part: &str) -> String {
    let part = part.trim().trim_start_matches("elements = { ").trim_end_matches([',', '}', ' ']);
    let mut words: Vec<&str> = part.split(' ').collect();
    while let Some(at) = words.iter().position(|word| ["packets", "bytes", "expires"].contains(word)) {
        words.drain(at..words.len().min(at + 2));
    }
    words.join(" ")
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
