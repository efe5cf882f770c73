//! What exists on this machine that tenants could leave behind.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::Run;

/// First host uid that belongs to tenants.
const FIRST_TENANT_UID: u32 = 524_288;

/// Everything of one moment, each as a line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    things: BTreeSet<String>,
}

impl World {
    /// Looks around: mounts, interfaces, cgroups of ours, processes of tenants and those that have
    /// `dir` on their command line, nftables tables, loop devices over files in `dir`.
    pub fn now(dir: &Path) -> Self {
        let mut things = BTreeSet::new();
        let text = dir.to_string_lossy().into_owned();
        for line in read("/proc/self/mountinfo").lines() {
            things.insert(format!("mount {}", field(line, 4)));
        }
        // Nothing may appear in the mount namespace of the machine's first process, whatever is
        // mounted here.
        for line in read("/proc/1/mountinfo").lines().filter(|line| line.contains(&text)) {
            things.insert(format!("mount of the host {}", field(line, 4)));
        }
        for line in read("/proc/self/net/dev").lines().skip(2) {
            things.insert(format!("interface {}", line.split(':').next().unwrap_or_default().trim()));
        }
        for path in cgroups(Path::new("/sys/fs/cgroup"), 4) {
            things.insert(format!("cgroup {}", path.display()));
        }
        for (pid, line) in processes(&text) {
            things.insert(format!("process {pid} {line}"));
        }
        let tables = Run::new("nft", ["list", "tables"]).output();
        things.extend(tables.stdout.lines().map(|line| format!("nft {line}")));
        let loops = Run::new("losetup", ["--noheadings", "--output", "NAME,BACK-FILE"]).output();
        let ours = loops.stdout.lines().filter(|line| line.contains(&text));
        things.extend(ours.map(|line| format!("loop device {line}")));
        Self { things }
    }

    /// Those of the things that name one of these, and so are nobody else's on a machine where others are at work.
    pub fn naming(&self, texts: &[&str]) -> Vec<String> {
        let is_named = |thing: &&String| texts.iter().any(|text| thing.contains(text));
        self.things.iter().filter(is_named).cloned().collect()
    }

    /// What is there now and was not before.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(line: &str, number: usize) -> &str {
    line.split_ascii_whitespace().nth(number).unwrap_or_default()
}

/// The cgroups of this project, in every hierarchy, `depth` levels deep.
fn cgroups(dir: &Path, depth: u8) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with("tenantry") {
            found.push(entry.path());
        } else if depth > 0 {
            found.extend(cgroups(&entry.path(), depth - 1));
        }
    }
    found
}

/// Processes with a tenant's uid, or with `text` on their command line. Zombies are not counted:
/// their parent is about to take them.
fn processes(text: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let own = std::process::id();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let status = read(&format!("/proc/{pid}/status"));
        if pid == own || status.contains("\nState:\tZ") {
            continue;
        }
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = uid.and_then(|ids| ids.split_ascii_whitespace().next()?.parse::<u32>().ok());
        let line = read(&format!("/proc/{pid}/cmdline")).replace('\0', " ");
        let name = line.split(' ').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let ours = matches!(name, "hostd" | "tenant" | "tenantctl") && line.contains(text);
        if ours || uid.is_some_and(|uid| (FIRST_TENANT_UID..u32::MAX - 65_536).contains(&uid)) {
            found.push((pid, line));
        }
    }
    found
}
