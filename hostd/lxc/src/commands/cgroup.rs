use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use hyper::Method;
use tenant::TenantName;
use wire::{Code, ConfigChange, Detail, Done, Explained, Failure, UnitCgroups};

use super::{Applet, Common, Lxc, NamedCommand, Result};
use crate::conf::{self, Fate, Wanted};

/// Show or set a file of a tenant's cgroup
///
/// A limit is set as a key of the tenant's file, so it is persistent.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Cgroup {
    /// A file of a cgroup, e.g. memory.max, and a value to set
    #[command(flatten)]
    named: NamedCommand,
    #[command(flatten)]
    common: Common,
}

/// Files of cgroups v1 and v2, and the corresponding keys of a tenant.
const KEYS: [(&str, &str); 15] = [
    ("memory.max", "memory_max"),
    ("memory.limit_in_bytes", "memory_max"),
    ("memory.high", "memory_high"),
    ("memory.soft_limit_in_bytes", "memory_high"),
    ("memory.swap.max", "memory_swap_max"),
    ("cpu.weight", "cpu_weight"),
    ("cpu.shares", "cpu_weight"),
    ("cpu.max", "cpu_quota"),
    ("cpu.cfs_quota_us", "cpu_quota"),
    ("pids.max", "tasks_max"),
    ("io.weight", "io_weight"),
    ("io.bfq.weight", "io_weight"),
    ("blkio.weight", "io_weight"),
    ("blkio.bfq.weight", "io_weight"),
    ("cgroup.max.descendants", "cgroups_max"),
];

/// Names of one file in v1 and in v2, where both mean the same.
const V1_V2_NAMES: [(&str, &str); 6] = [
    ("memory.limit_in_bytes", "memory.max"),
    ("memory.usage_in_bytes", "memory.current"),
    ("blkio.bfq.weight", "io.bfq.weight"),
    ("tasks", "cgroup.threads"),
    ("freezer.state", "cgroup.freeze"),
    ("memory.memsw.usage_in_bytes", "memory.swap.current"),
];

/// The key of a tenant for a file.
pub(super) fn key_of(file: &str) -> Option<&'static str> {
    KEYS.iter().find(|(name, _)| *name == file).map(|(_, key)| *key)
}

impl Applet for Cgroup {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let (name, words) = self.named.get()?;
        let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let detail = lxc.running(&name)?;
        match &words[..] {
            [file] => client::output::write(&read(lxc, &name, &detail, file)?),
            [file, value] => set(lxc, &name, file, value)?,
            _ => {
                return Err(Failure::new(Code::Invalid, "Missing state object")
                    .help("e.g. lxc-cgroup -n NAME memory.max 512M"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The directories of a tenant's cgroups in which a file may be.
fn directories(lxc: &Lxc, name: &TenantName, detail: &Detail) -> Vec<PathBuf> {
    let unit = fs::read_to_string(lxc.layout().runtime(name).join("unit.json")).unwrap_or_default();
    let cgroups: UnitCgroups = serde_json::from_str(&unit).unwrap_or_default();
    let v2 = detail.cgroup.iter().map(PathBuf::from).chain([cgroups.v2]);
    let v2: Vec<PathBuf> = v2.filter(|dir| dir.is_absolute()).collect();
    let payload = v2.iter().map(|dir| dir.join("payload"));
    v2.iter().cloned().chain(payload).chain(cgroups.v1.into_values()).collect()
}

fn read(lxc: &Lxc, name: &TenantName, detail: &Detail, file: &str) -> Result<String> {
    let plain = file.split('.').count() >= 2 || file == "tasks";
    if !plain || file.contains('/') || file.starts_with('.') {
        return Err(unknown(file));
    }
    if file == "devices.list" {
        let explained: Vec<Explained> = lxc.get(name, "/explain")?;
        let devices = explained.into_iter().find(|line| line.key == "devices").map(|line| line.value);
        return devices.map(|text| format!("{text}\n")).ok_or_else(|| unknown(file));
    }
    let twin = V1_V2_NAMES.iter().find_map(|(v1, v2)| match file {
        _ if file == *v1 => Some(*v2),
        _ if file == *v2 => Some(*v1),
        _ => None,
    });
    let directories = directories(lxc, name, detail);
    let names = [Some(file), twin];
    let mut paths = names.iter().flatten().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    let text = paths.find_map(|path| fs::read_to_string(path).ok());
    match text {
        Some(text) if file == "freezer.state" => {
            Ok(if text.trim() == "1" { "FROZEN\n" } else { "THAWED\n" }.to_owned())
        }
        Some(text) => Ok(text),
        None => Err(unknown(file)),
    }
}

fn unknown(file: &str) -> Failure {
    let files: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    Failure::new(Code::NotFound, format!("the cgroups of tenants on this host have no {file:?}"))
        .help(format!("limits that can be set: {}", files.join(", ")))
}

fn set(lxc: &Lxc, name: &TenantName, file: &str, value: &str) -> Result<()> {
    if file == "freezer.state" {
        let verb = if value == "FROZEN" { "/freeze" } else { "/thaw" };
        let _: Done = lxc.post(name, verb, &())?;
        return Ok(());
    }
    if file.starts_with("devices.") {
        return Err(Failure::new(
            Code::Invalid,
            "single devices cannot be allowed or denied while a tenant is running",
        )
        .help(format!(
            "change the list for the next start: tenantctl set {name} 'devices=[\"c 1:3 rw\", …]'"
        )));
    }
    let key = key_of(file).ok_or_else(|| unknown(file))?;
    let mut change = ConfigChange::default();
    if matches!(value, "max" | "-1") {
        change.unset.push(key.to_owned());
    } else {
        change.set = translated(file, value)?;
    }
    let path = client::tenant(name.as_str(), "/config");
    let _: Done = lxc.wait(lxc.client().request(Method::PATCH, &path, &change))?;
    Ok(())
}

/// A file and its value as a key of a tenant, translated as in an lxc.conf.
fn translated(file: &str, value: &str) -> Result<Vec<String>> {
    let mut reason = String::new();
    for version in ["cgroup2", "cgroup"] {
        let text = format!("lxc.{version}.{file} = {value}");
        let load = |_: Option<&_>| {
            let profile = tenant::config::parse_toml("kind = \"shared-os\"\nimage = \"any\"");
            let name = "any".parse().map_err(|_| String::new())?;
            Ok((name, profile.map_err(|error| error.to_string())?))
        };
        let look = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let probe = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let name = "any".parse().ok();
        let wanted =
            Wanted { name, image: None, profile: None, arch: "", look: &look, probe: &probe, load: &load };
        let import = conf::import("lxc-cgroup", &text, wanted)
            .map_err(|error| Failure::of(Code::Invalid, &error).help("write the value as in an lxc.conf"))?;
        match import.rows.first() {
            Some(row) if row.fate == Fate::Translated => return Ok(import.pairs()),
            Some(row) if !row.text.starts_with("no key of a tenant") => reason.clone_from(&row.text),
            _ => {}
        }
    }
    Err(Failure::new(Code::Invalid, format!("cannot set {file} to {value:?}: {reason}"))
        .help("e.g. memory.max 512M"))
}

/// Bytes of swap that a tenant uses; 0 where the host does not count it.
pub(super) fn swap(lxc: &Lxc, detail: &Detail) -> u64 {
    let Ok(name) = detail.summary.name.parse() else { return 0 };
    let number = |dir: &PathBuf| {
        let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let v1 = stat.lines().find_map(|line| line.strip_prefix("swap ")?.trim().parse().ok());
        let v2 = || fs::read_to_string(dir.join("memory.swap.current")).ok()?.trim().parse().ok();
        v1.or_else(v2)
    };
    directories(lxc, &name, detail).iter().find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_translated_as_in_a_configuration() {
        for (file, key) in KEYS {
            let pairs = translated(file, "100").or_else(|_| translated(file, "16777216"));
            let pairs = pairs.unwrap_or_else(|failure| panic!("{file}: {failure}"));
            assert!(pairs[0].starts_with(&format!("{key}=")), "{file}: {pairs:?}");
        }
        assert_eq!(translated("memory.max", "512M").unwrap(), ["memory_max=\"512M\""]);
        assert!(translated("pids.max", "many").unwrap_err().message.contains("not a number"));
    }
}
