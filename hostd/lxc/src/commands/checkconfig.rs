use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use clap::Parser;
use wire::feature::{Feature, MISC, NAMESPACES};

use super::{Applet, Common, Lxc, Result};

/// Show which kernel features for tenants are available
///
/// The features are those that `tenantctl doctor` tests; doctor also checks the capacity for many tenants.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    common: Common,
}

/// The build options of this kernel, where they are readable.
fn options() -> Option<HashSet<String>> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let given = std::env::var_os("CONFIG").map(PathBuf::from);
    let plain = given.unwrap_or_else(|| format!("/boot/config-{}", release.trim()).into());
    let text = fs::read_to_string(plain).ok().or_else(|| {
        let output = Command::new("zcat").arg("/proc/config.gz").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })?;
    Some(enabled(&text))
}

/// The options that are built in or a module.
fn enabled(text: &str) -> HashSet<String> {
    let set = |line: &str| {
        let (key, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
        matches!(value, "y" | "m").then(|| key.to_owned())
    };
    text.lines().filter_map(set).collect()
}

fn lines(features: &[Feature], options: Option<&HashSet<String>>) -> String {
    let word = |feature: &Feature| match options {
        Some(options) if options.contains(feature.option) => "enabled",
        Some(_) => "missing",
        None if feature.probe.shows() => "enabled",
        None => "unknown",
    };
    features.iter().map(|feature| format!("{}: {}\n", feature.name, word(feature))).collect()
}

fn mounts(kind: &str) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_kind = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.get(2) == Some(&kind)).then(|| format!(" - {}\n", fields[1]))
    });
    of_kind.collect()
}

impl Applet for CheckConfig {
    fn run(self, _: &Lxc) -> Result<ExitCode> {
        let options = options();
        let source = if options.is_some() {
            ""
        } else {
            "Kernel configuration not found: looking at /proc and /sys\n"
        };
        client::output::write(&format!(
            "Tenantry version {}\n{source}\n--- Namespaces ---\n{}\n--- Control groups ---\nCgroups: {}\n\
             Cgroup v1 mount points: \n{}Cgroup v2 mount points: \n{}\n--- Misc ---\n{}",
            env!("CARGO_PKG_VERSION"),
            lines(&NAMESPACES, options.as_ref()),
            if mounts("cgroup2").is_empty() { "missing" } else { "enabled" },
            mounts("cgroup"),
            mounts("cgroup2"),
            lines(&MISC, options.as_ref()),
        ));
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_enabled_too() {
        let options = enabled("CONFIG_VETH=m\n# CONFIG_MACVLAN is not set\nCONFIG_BRIDGE=y\nCONFIG_HZ=250\n");
        let text = lines(&MISC[..4], Some(&options));
        assert_eq!(text, "Veth pair device: enabled\nMacvlan: missing\nVlan: missing\nBridges: enabled\n");
    }
}
