//! systemd as the host's PID 1: its parts, its cgroups, and what it says of tenants' units.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use tenant::{HostFacts, Layout, TenantName};
use wire::doctor::Finding;

use super::Examination;

/// The oldest release that the units were tried with.
const OLDEST: u32 = 252;
/// Where the unit of tenants may lie, see systemd.unit(5).
const UNIT_DIRS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// What tenants' limits rest on.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// The limits of `tenants.slice`; none means that there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// `TasksMax=`.
    pub tasks_max: Option<u64>,
    /// `MemoryMax=`, bytes.
    pub memory_max: Option<u64>,
}

/// What `systemctl show` says of a unit.
type Unit = BTreeMap<String, String>;

impl Slice {
    /// Those of this host; none where systemd does not start tenants, or does not answer.
    pub fn of_host(layout: &Layout, facts: &HostFacts) -> Option<Self> {
        if !starts_tenants(layout, facts) {
            return None;
        }
        Some(Self::of(show(&["tenants.slice".to_owned()]).ok()?.get("tenants.slice")?))
    }

    fn of(unit: &Unit) -> Self {
        let number = |key: &str| unit.get(key)?.parse().ok().filter(|most| *most != u64::MAX);
        Self { tasks_max: number("TasksMax"), memory_max: number("MemoryMax") }
    }
}

/// Whether systemd starts tenants here: it is PID 1, the root is `/`, and the unit is installed.
fn starts_tenants(layout: &Layout, facts: &HostFacts) -> bool {
    let installed = || UNIT_DIRS.iter().any(|dir| Path::new(dir).join("tenant@.service").exists());
    facts.systemd && layout.is_default() && installed()
}

/// Asks systemd about units, by name.
fn show(units: &[String]) -> Result<BTreeMap<String, Unit>, String> {
    let keys = "Id,LoadState,ActiveState,UnitFileState,TasksMax,MemoryMax";
    let output = Command::new("systemctl")
        .args(["--no-pager", "show", "--property", keys, "--"])
        .args(units)
        .output()
        .map_err(|error| format!("cannot run systemctl: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// `KEY=VALUE` lines, an empty line between units.
fn parse(text: &str) -> BTreeMap<String, Unit> {
    let units = text.split("\n\n").map(|unit| {
        let pairs = unit.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Unit>()
    });
    units.filter_map(|unit| Some((unit.get("Id")?.clone(), unit))).collect()
}

/// The number in `systemd 252 (252.39-1~deb12u1)`.
fn version(text: &str) -> Option<u32> {
    let number = text.split_ascii_whitespace().nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    let host = examination.host;
    if !starts_tenants(host.layout(), host.store().facts()) {
        let text = match host.store().facts().systemd && host.layout().is_default() {
            true => "tenant@.service is not installed: hostd starts tenants itself",
            false => "hostd starts tenants itself",
        };
        return vec![Finding::ok(text)];
    }
    let tenants: Vec<(TenantName, bool)> = host
        .store()
        .records()
        .keys()
        .filter_map(|name| Some((name.clone(), host.store().tenant(name).ok()?.autostart)))
        .collect();
    let mut names: Vec<String> = PARTS.iter().map(|part| part.0.to_owned()).collect();
    names.push("tenants.target".to_owned());
    names.extend(tenants.iter().map(|(name, _)| unit_of(name)));
    let units = match show(&names) {
        Ok(units) => units,
        Err(error) => return vec![Finding::fault(format!("systemd does not answer: {error}"))],
    };
    let told = Command::new("systemctl").arg("--version").output();
    let release = told.ok().and_then(|output| version(&String::from_utf8_lossy(&output.stdout)));
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    let mut findings = judge(release, controllers.as_deref(), &units, &tenants);
    if findings.is_empty() {
        let release = release.map_or("systemd".to_owned(), |release| format!("systemd {release}"));
        let text = format!("{release} manages tenants, with {}, machined and polkit", CONTROLLERS.join(", "));
        findings.push(Finding::ok(text));
    }
    findings
}

fn unit_of(name: &TenantName) -> String {
    format!("tenant@{name}.service")
}

/// Parts of a host: the unit, what is missed without it, the remedy.
const PARTS: [(&str, &str, &str); 3] = [
    (
        "systemd-machined.service",
        "machinectl, systemctl -M and journalctl -M do not work for tenants",
        "apt-get install systemd-container, or unmask it",
    ),
    ("polkit.service", "only root may start and stop tenants with systemctl", "apt-get install polkitd"),
    (
        "hostd.socket",
        "while hostd is down, tenants are started without manual changes of their files",
        "systemctl enable --now hostd.socket",
    ),
];

/// What is not as it should be. Pure.
fn judge(
    release: Option<u32>,
    controllers: Option<&str>,
    units: &BTreeMap<String, Unit>,
    tenants: &[(TenantName, bool)],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(release) = release.filter(|release| *release < OLDEST) {
        let text = format!(
            "systemd {release} is older than {OLDEST}, the oldest release that the units were tested with"
        );
        findings.push(Finding::degraded(text));
    }
    match controllers {
        None => findings.push(
            Finding::degraded("/sys/fs/cgroup is not cgroup v2: limits of units do not apply to tenants")
                .help("systemd.unified_cgroup_hierarchy=1 on the kernel command line"),
        ),
        Some(list) => {
            let list: Vec<&str> = list.split_ascii_whitespace().collect();
            for missing in CONTROLLERS.iter().filter(|name| !list.contains(name)) {
                let text = format!("cgroup v2 has no controller {missing}: limits that need it are refused");
                let help = format!(
                    "set cgroup_enable={missing} on the kernel command line, and remove v1 mounts of it"
                );
                findings.push(Finding::degraded(text).help(help));
            }
        }
    }
    let said = |unit: &str, key: &str| units.get(unit).and_then(|unit| unit.get(key)).map(String::as_str);
    let enabled = |unit: &str| said(unit, "UnitFileState").map(|state| state.starts_with("enabled"));
    for (unit, missed, remedy) in PARTS {
        let is_socket = unit.ends_with(".socket");
        let reason = match said(unit, "LoadState") {
            Some("loaded") if is_socket && said(unit, "ActiveState") != Some("active") => "does not listen",
            Some("loaded") if is_socket && enabled(unit) == Some(false) => "is not enabled",
            Some("loaded") => continue,
            Some("masked") => "is masked",
            _ => "is not installed",
        };
        findings.push(Finding::degraded(format!("{unit} {reason}: {missed}")).help(remedy));
    }
    let any = tenants.iter().any(|(name, _)| enabled(&unit_of(name)) == Some(true));
    if any && enabled("tenants.target") != Some(true) {
        findings.push(
            Finding::degraded("tenants.target is not enabled: tenants do not start with the host")
                .help("systemctl enable tenants.target"),
        );
    }
    for (name, autostart) in tenants {
        let text = match (autostart, enabled(&unit_of(name))) {
            (true, Some(false)) => "autostart is set in its file, but its unit is not enabled",
            (false, Some(true)) => "its unit is enabled, but autostart is not set in its file",
            _ => continue,
        };
        let verb = if *autostart { "enable" } else { "disable" };
        let help =
            format!("systemctl {verb} tenant@{name}, or: tenantctl set {name} autostart={}", !autostart);
        findings.push(Finding::degraded(text).about(name).help(help));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
        Id=systemd-machined.service\nLoadState=loaded\nActiveState=active\n\n\
        Id=polkit.service\nLoadState=loaded\nActiveState=inactive\n\n\
        Id=hostd.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n\
        Id=tenants.target\nLoadState=loaded\nUnitFileState=enabled\n\n\
        Id=tenant@alice.service\nUnitFileState=enabled\n\n\
        Id=tenants.slice\nTasksMax=500\nMemoryMax=infinity\n";

    fn messages(units: &str, autostart: bool) -> Vec<String> {
        let tenants = [("alice".parse().unwrap(), autostart)];
        let found = judge(Some(252), Some("cpuset cpu io memory pids\n"), &parse(units), &tenants);
        assert!(found.iter().all(|finding| finding.help.is_some()));
        found.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_whole_host_has_no_findings() {
        assert_eq!(messages(GOOD, true), [""; 0]);
        assert_eq!(version("systemd 252 (252.39-1~deb12u1)\n+PAM"), Some(252));
        assert_eq!(version("systemd 257~rc1 (…)"), Some(257));
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_missed() {
        let without = GOOD
            .replace(
                "systemd-machined.service\nLoadState=loaded",
                "systemd-machined.service\nLoadState=masked",
            )
            .replace("polkit.service\nLoadState=loaded", "polkit.service\nLoadState=not-found")
            .replace("hostd.socket\nLoadState=loaded\nActiveState=active", "hostd.socket\nLoadState=loaded");
        let told = messages(&without, true);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("systemd-machined.service is masked: machinectl"), "{told:?}");
        assert!(told[1].starts_with("polkit.service is not installed"), "{told:?}");
        assert!(told[2].starts_with("hostd.socket does not listen"), "{told:?}");
    }

    #[test]
    fn a_unit_that_contradicts_its_file_is_told() {
        assert_eq!(messages(GOOD, false), ["its unit is enabled, but autostart is not set in its file"]);
        let disabled =
            GOOD.replace("alice.service\nUnitFileState=enabled", "alice.service\nUnitFileState=disabled");
        assert_eq!(messages(&disabled, true), ["autostart is set in its file, but its unit is not enabled"]);
    }

    #[test]
    fn controllers_and_old_releases_are_told() {
        let units = parse(GOOD);
        let found = judge(Some(247), Some("cpu io pids"), &units, &[]);
        assert_eq!(found.len(), 2);
        assert!(found[1].message.contains("no controller memory"), "{:?}", found[1]);
        assert!(
            judge(Some(252), None, &units, &[])[0].help.as_ref().unwrap().contains("kernel command line")
        );
    }

    #[test]
    fn a_limit_of_infinity_is_none() {
        let slice = Slice::of(&parse(GOOD)["tenants.slice"]);
        assert_eq!(slice, Slice { tasks_max: Some(500), memory_max: None });
    }
}
