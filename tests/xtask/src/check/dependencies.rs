//! Licenses, duplicate versions and sources of the crates this workspace is built from.
//!
//! The rules are in `deny.toml`, in the form of cargo-deny, which may be run by hand as well. CI does
//! not run it: no package registry has it ready to run, and compiling it takes longer than all
//! the rest of this check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::sh;

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// How the source of a package begins that comes from a registry, not from a repository of its own.
const REGISTRY: &str = "registry+";

pub(super) fn check() -> Result<()> {
    let text = fs::read_to_string(sh::repository().join("deny.toml")).context("cannot read deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("deny.toml is malformed")?;
    let triple = sh::read(sh::command("rustc", &["--version", "--verbose"]))?;
    let triple = triple.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc has no host")?;
    let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", triple];
    let metadata: Metadata = serde_json::from_str(&sh::read(sh::cargo(&args))?)?;
    // A workspace of its own, whose lock file no build of this one renews.
    let driver = "tests/fuzz/driver/Cargo.toml";
    sh::read(sh::cargo(&[&args[..], &["--manifest-path", driver]].concat())).with_context(|| {
        format!("the lock file of {driver} is not up to date: cargo metadata --manifest-path {driver}")
    })?;
    let used: BTreeSet<&str> = metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    let used: Vec<&Package> =
        metadata.packages.iter().filter(|package| used.contains(&*package.id)).collect();
    let faults = faults(&rules, &used);
    if !faults.is_empty() {
        bail!("against deny.toml:\n{}", faults.join("\n"));
    }
    eprintln!("{} crates", used.len());
    Ok(())
}

fn faults(rules: &Rules, packages: &[&Package]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let Package { name, version, license, source, .. } = package;
        versions.entry(name).or_default().insert(version);
        let license = license.as_deref().unwrap_or_default();
        if !allows(&rules.licenses.allow, license) {
            faults.push(format!("{name} {version}: license {license:?} is not allowed"));
        }
        if source.as_deref().is_some_and(|source| !source.starts_with(REGISTRY)) {
            faults.push(format!("{name} {version}: does not come from a registry"));
        }
    }
    let skipped = |name: &str, version: &str| {
        let exact = format!("{name}@{version}");
        rules.bans.skip.iter().any(|skip| skip.name == name || skip.name == exact)
    };
    for (name, versions) in &versions {
        let counted: Vec<&&str> = versions.iter().filter(|version| !skipped(name, version)).collect();
        if counted.len() > 1 {
            faults.push(format!("{name} is there in {} versions: {counted:?}", counted.len()));
        }
    }
    for skip in &rules.bans.skip {
        let name = skip.name.split('@').next().unwrap_or_default();
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            faults.push(format!("deny.toml skips {}, which is there once or not at all", skip.name));
        }
    }
    faults
}

/// Whether an SPDX expression can be met with these licenses.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let mut at = 0;
    !words.is_empty() && either(allowed, &words, &mut at) && at == words.len()
}

fn either(allowed: &BTreeSet<String>, words: &[&str], at: &mut usize) -> bool {
    let mut met = both(allowed, words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(allowed, words, at);
    }
    met
}

fn both(allowed: &BTreeSet<String>, words: &[&str], at: &mut usize) -> bool {
    let mut met = one(allowed, words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(allowed, words, at);
    }
    met
}

fn one(allowed: &BTreeSet<String>, words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(allowed, words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed.contains(&format!("{word} WITH {exception}"));
    }
    allowed.contains(*word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn license_expressions_are_understood() {
        let allowed = BTreeSet::from(["MIT", "Apache-2.0"].map(str::to_owned));
        for good in ["MIT", "MIT OR GPL-3.0", "MIT/GPL-3.0", "(MIT OR Zlib) AND Apache-2.0"] {
            assert!(allows(&allowed, good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT WITH Foo", "Zlib OR BSD-3-Clause"] {
            assert!(!allows(&allowed, bad), "{bad}");
        }
    }
}
