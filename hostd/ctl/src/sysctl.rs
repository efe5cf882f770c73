//! `tenantctl doctor --fix`: the values of sysctl(8) that tenants need, for now and for the next boot.
//!
//! The caller does it, not hostd: a daemon whose `/proc/sys` is read-only cannot. `60-tenantry.conf` keeps what
//! an earlier run wrote, and no value is ever lowered: neither one that is higher now, nor one that another
//! file of sysctl.d(5) sets higher.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tenant::{
    Layout,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
};
use wire::doctor::{Capacity, Setting};

/// The file, below the root.
const FILE: &str = "etc/sysctl.d/60-tenantry.conf";
/// Where sysctl.d(5) looks; of two files of one name the first counts.
const DIRS: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

/// A key whose value was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    /// The key.
    pub(super) key: String,
    /// Its value before; none where it could not be read.
    pub(super) was: Option<u64>,
    /// Its value now.
    pub(super) value: u64,
}

/// A key that was not changed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    /// The key.
    pub(super) key: String,
    /// The reason.
    pub(super) reason: String,
}

/// What `--fix` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fixed {
    /// The file.
    pub(super) file: PathBuf,
    /// Whether it was written; false where it says all this already, or nothing is to be said.
    pub(super) written: bool,
    /// What was set in the running kernel.
    pub(super) applied: Vec<Applied>,
    /// What the kernel refused, or what another file will undo at the next boot.
    pub(super) refused: Vec<Refused>,
    /// Whether nothing was set because the root is not the machine's own.
    pub(super) elsewhere: bool,
}

impl Fixed {
    /// Whether anything is other than before.
    pub(super) fn is_change(&self) -> bool {
        self.written || !self.applied.is_empty()
    }
}

/// Where values of the running kernel are read and written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel<'a>(pub(super) &'a Path);

impl Kernel<'_> {
    fn path(self, key: &str) -> PathBuf {
        self.0.join(Setting::file(key).trim_start_matches('/'))
    }

    fn read(self, key: &str) -> Option<u64> {
        fs::read_to_string(self.path(key)).ok()?.trim().parse().ok()
    }

    fn write(self, key: &str, value: u64) -> io::Result<()> {
        // Never made where it is not.
        let mut file = fs::File::options().write(true).open(self.path(key))?;
        io::Write::write_all(&mut file, value.to_string().as_bytes())
    }
}

/// Lines of a file of sysctl.d(5); a `-` before a key and slashes in it are taken for what they are.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once('=')?;
        let key = key.trim().trim_start_matches('-');
        let comment = key.starts_with(['#', ';']);
        Some((key.replace('/', "."), value.trim().parse().ok()?)).filter(|_| !comment)
    });
    pairs.collect()
}

/// What other files say, in the order in which they are read: the file's name and its keys. Those behind ours
/// overrule it.
fn others(root: &Path) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for dir in DIRS {
        for entry in fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conf") && !FILE.ends_with(&format!("/{name}")) && !files.contains_key(&name) {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                files.insert(name, parse(&text));
            }
        }
    }
    // procps reads it last; systemd does not, but for a link 99-sysctl.conf to it.
    let last = fs::read_to_string(root.join("etc/sysctl.conf")).unwrap_or_default();
    files.insert("sysctl.conf".to_owned(), parse(&last));
    files
}

/// The text of the file. Pure.
fn text(tenants: u32, values: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "# Written by: tenantctl doctor --tenants {tenants} --fix\n\
         # Settings of this host for {tenants} tenants. That command only ever raises values.\n"
    );
    for (key, value) in values {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

/// Writes the file and sets the values.
///
/// # Errors
/// The file cannot be read or written; nothing has been set then.
pub(super) fn fix(layout: &Layout, kernel: Kernel<'_>, capacity: &Capacity) -> Result<Fixed, FileError> {
    let file = layout.root().join(FILE);
    let old = match record::read(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut values = parse(old.as_deref().unwrap_or_default());
    let before = values.clone();
    let others = others(layout.root());
    let mut fixed = Fixed {
        file: file.clone(),
        written: false,
        applied: Vec::new(),
        refused: Vec::new(),
        elsewhere: !layout.is_default(),
    };
    let wanted: Vec<Setting> = capacity.settings();
    for Setting { key, value } in &wanted {
        let highest = others.values().filter_map(|file| file.get(key)).max().copied().unwrap_or(0);
        let own = values.entry(key.clone()).or_default();
        *own = (*own).max(*value).max(highest);
    }
    if values != before {
        let dir = file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).map_err(FileError::when("make", dir))?;
        record::write(&file, text(capacity.tenants, &values).as_bytes(), Durability::Durable)?;
        fixed.written = true;
    }
    let wanted: BTreeMap<String, u64> = wanted
        .into_iter()
        .filter_map(|Setting { key, .. }| Some((key.clone(), *values.get(&key)?)))
        .collect();
    for (key, value) in &wanted {
        let behind = others.iter().filter(|(name, _)| name.as_str() > "60-tenantry.conf");
        let last = behind.filter_map(|(name, file)| Some((name, *file.get(key)?))).next_back();
        if let Some((name, theirs)) = last.filter(|(_, theirs)| theirs < value) {
            let reason = format!("{name} sets it to {theirs} again at the next boot: remove that line");
            fixed.refused.push(Refused { key: key.clone(), reason });
        }
    }
    if !fixed.elsewhere {
        apply(kernel, &wanted, &mut fixed);
    }
    Ok(fixed)
}

/// Sets what is lower now.
fn apply(kernel: Kernel<'_>, values: &BTreeMap<String, u64>, fixed: &mut Fixed) {
    for (key, &value) in values {
        let was = kernel.read(key);
        if was.is_some_and(|was| was >= value) {
            continue;
        }
        match kernel.write(key, value) {
            Ok(()) => fixed.applied.push(Applied { key: key.clone(), was, value }),
            Err(error) => {
                let reason = format!("the kernel rejects {value}: {error}");
                fixed.refused.push(Refused { key: key.clone(), reason });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::doctor::{Health, Row, Unit, Verdict};

    fn capacity(tenants: u32, keys: &[(&str, u64)]) -> Capacity {
        let row = |&(key, value): &(&str, u64)| Row {
            resource: key.to_owned(),
            unit: Unit::Count,
            each: 1,
            need: value,
            have: Some(0),
            verdict: Verdict::Short,
            health: Health::Fault,
            sysctl: Some(Setting { key: key.to_owned(), value }),
            remedy: None,
        };
        Capacity { tenants, rows: keys.iter().map(row).collect() }
    }

    /// A root, and a kernel whose values are files.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const OURS: &str = "etc/sysctl.d/60-tenantry.conf";

    fn ours(dir: &tempfile::TempDir) -> String {
        fs::read_to_string(dir.path().join(OURS)).unwrap()
    }

    #[test]
    fn a_second_run_changes_nothing_and_a_smaller_one_lowers_nothing() {
        let dir = host(&[]);
        let layout = Layout::new(dir.path());
        let kernel = Kernel(dir.path());
        let large = capacity(1000, &[("kernel.pty.max", 16_384), ("kernel.pid_max", 65_536)]);
        let first = fix(&layout, kernel, &large).unwrap();
        assert!(first.written && first.elsewhere && first.refused.is_empty());
        assert_eq!(
            ours(&dir),
            "# Written by: tenantctl doctor --tenants 1000 --fix\n\
             # Settings of this host for 1000 tenants. That command only ever raises values.\n\
             kernel.pid_max = 65536\nkernel.pty.max = 16384\n"
        );
        assert!(!fix(&layout, kernel, &large).unwrap().is_change());
        assert!(!fix(&layout, kernel, &capacity(10, &[("kernel.pty.max", 8_192)])).unwrap().is_change());
        assert!(!fix(&layout, kernel, &capacity(1, &[])).unwrap().is_change());
        assert!(ours(&dir).contains("kernel.pty.max = 16384"));
        let names = fs::read_dir(dir.path().join("etc/sysctl.d")).unwrap().count();
        assert_eq!(names, 1, "no temporary file stays");
    }

    #[test]
    fn nothing_to_set_writes_no_file() {
        let dir = host(&[]);
        assert!(!fix(&Layout::new(dir.path()), Kernel(dir.path()), &capacity(5, &[])).unwrap().is_change());
        assert!(!dir.path().join(OURS).exists());
    }

    #[test]
    fn what_another_file_sets_higher_is_not_lowered() {
        let dir = host(&[
            ("usr/lib/sysctl.d/50-pid-max.conf", "# a comment = 7\n-kernel/pid_max = 4194304\n"),
            ("etc/sysctl.d/99-local.conf", "kernel.pty.max=4096\n"),
            ("etc/sysctl.d/50-hidden.conf", "fs.file-max = 1\n"),
            ("usr/lib/sysctl.d/50-hidden.conf", "fs.file-max = 999999\n"),
        ]);
        let wanted = [("kernel.pid_max", 65_536), ("kernel.pty.max", 8_192), ("fs.file-max", 10)];
        let fixed = fix(&Layout::new(dir.path()), Kernel(dir.path()), &capacity(9, &wanted)).unwrap();
        let text = ours(&dir);
        assert!(text.contains("kernel.pid_max = 4194304\n") && text.contains("fs.file-max = 10\n"), "{text}");
        assert_eq!(fixed.refused.len(), 1, "99-local.conf is read after ours");
        assert_eq!(fixed.refused[0].key, "kernel.pty.max");
        assert!(fixed.refused[0].reason.contains("99-local.conf sets it to 4096"), "{:?}", fixed.refused);
    }

    #[test]
    fn values_are_set_where_they_are_lower_and_a_refused_key_is_named() {
        let dir = host(&[("proc/sys/kernel/pty/max", "4096\n"), ("proc/sys/kernel/pid_max", "99999\n")]);
        let wanted = capacity(9, &[("kernel.pty.max", 8_192), ("kernel.pid_max", 65_536), ("fs.gone", 1)]);
        let mut fixed = Fixed {
            file: PathBuf::new(),
            written: false,
            applied: Vec::new(),
            refused: Vec::new(),
            elsewhere: false,
        };
        let values = wanted.settings().into_iter().map(|setting| (setting.key, setting.value)).collect();
        apply(Kernel(dir.path()), &values, &mut fixed);
        let applied = Applied { key: "kernel.pty.max".to_owned(), was: Some(4_096), value: 8_192 };
        assert_eq!(fixed.applied, [applied]);
        assert_eq!(fs::read_to_string(dir.path().join("proc/sys/kernel/pid_max")).unwrap(), "99999\n");
        assert_eq!(fixed.refused.len(), 1);
        assert_eq!(fixed.refused[0].key, "fs.gone");
        assert!(!dir.path().join("proc/sys/fs/gone").exists());
    }
}
