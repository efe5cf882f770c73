//! Where each value of a tenant comes from: its own file, its profile, the image or a default.

use std::net::IpAddr;

use serde::Serialize;
use tenant::{
    Allocation, HostFacts, Plan, Tenant,
    config::{Absent, Fragment, KEYS, Key, Policy, RootMode},
    model::{
        image::{Manifest, TopEntry},
        label::{LabelName, LabelValue},
        path::TenantPath,
    },
    plan::{NicPlan, RootStep, StopProcedure},
};
use wire::{Explained, Source, UnitCgroups};

use crate::{
    records::edit,
    units::limits::{IoSchedulers, Knob, Unenforceable, knobs},
};

/// What an explanation is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The tenant's own file.
    pub own: &'a Fragment,
    /// Its profile.
    pub profile: &'a Fragment,
    /// Both together.
    pub tenant: &'a Tenant,
    /// What was assigned.
    pub allocation: &'a Allocation,
    /// What boots.
    pub manifest: &'a Manifest,
    /// What becomes of it.
    pub plan: &'a Plan,
    /// How many of its interfaces come from the host's table of NICs; they are the last ones.
    pub ports: usize,
    /// Where it runs.
    pub facts: &'a HostFacts,
    /// Its cgroups; their files are there only while it runs.
    pub cgroups: &'a UnitCgroups,
}

/// Explains everything about a tenant, sorted as its file would be.
pub fn explain(inputs: &Inputs<'_>) -> Vec<Explained> {
    let mut lines = settings(inputs);
    lines.extend(allocation(inputs));
    lines
}

fn from<T>(own: Option<T>, profile: Option<T>, otherwise: Source) -> Source {
    match (own, profile) {
        (Some(_), _) => Source::Tenant,
        (None, Some(_)) => Source::Profile,
        (None, None) => otherwise,
    }
}

fn line(key: &str, value: impl ToString, source: Source) -> Explained {
    Explained { key: key.to_owned(), value: value.to_string(), source, note: None }
}

fn words(argv: &[String]) -> String {
    format!("{argv:?}")
}

/// A word of the configuration, as it is written there.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

fn policy(policy: &Policy) -> String {
    match policy {
        Policy::Tmpfs { size } => format!("{{ tmpfs = \"{size}\" }}"),
        Policy::Bind { source, writable } => {
            format!("{{ bind = {source:?}, writable = {writable} }}")
        }
        Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty => word(policy),
    }
}

/// Where a value comes from that neither a tenant's file nor its profile has.
fn otherwise(absent: Absent) -> Source {
    match absent {
        Absent::Is(_) | Absent::Nothing(_) => Source::Default,
        Absent::Image => Source::Image,
        Absent::Host(_) => Source::Host,
    }
}

/// A line, or the lines of a table, for each key.
fn settings(inputs: &Inputs<'_>) -> Vec<Explained> {
    let limits = LimitNotes::of(inputs);
    let line = |key: &'static Key| match key.name {
        "env" => environment(inputs),
        "labels" => labels(inputs),
        "sysctl" => sysctls(inputs),
        "dirs" => directories(inputs),
        "paths" => paths(inputs),
        "nic" => interfaces(inputs),
        _ => vec![setting(inputs, key, &limits)],
    };
    KEYS.iter().flat_map(line).collect()
}

fn source_of(inputs: &Inputs<'_>, key: &Key) -> Source {
    let given = |file: &Fragment| key.is_given(file).then_some(());
    match key.name {
        "kind" => Source::Profile,
        _ => from(given(inputs.own), given(inputs.profile), otherwise(key.absent)),
    }
}

fn setting(inputs: &Inputs<'_>, key: &Key, limits: &LimitNotes) -> Explained {
    let Inputs { tenant, plan, manifest, .. } = inputs;
    let init = &plan.init;
    let strings = |values: &[IpAddr]| words(&values.iter().map(ToString::to_string).collect::<Vec<_>>());
    // What the image or the host decides is in the plan alone.
    let value = match key.name {
        "init" => words(&init.argv),
        "stop_signal" => init.stop.to_string(),
        "ready" => word(&init.ready),
        "getty" => words(&init.getty),
        "dns" => strings(&init.name_servers),
        "devices" => words(&plan.devices.allowed.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => tenant.value(key),
    };
    let note = match key.name {
        "image" => Some(format!("boots {} ({})", plan.digest, manifest.os)),
        "stop_signal" if matches!(init.stop, StopProcedure::Command(_)) => {
            Some("no signal: its init is stopped with this command".to_owned())
        }
        "devices" => {
            Some(format!("all others are refused, by a BPF program on {}", plan.cgroup.payload.display()))
        }
        _ if key.is_limit() => limits.note(key.name),
        _ => None,
    };
    Explained { note, ..line(key.name, value, source_of(inputs, key)) }
}

/// What enforces each limit of a tenant that is running, and what does not.
struct LimitNotes {
    found: Vec<Knob>,
    missing: Vec<Unenforceable>,
}

impl LimitNotes {
    fn of(inputs: &Inputs<'_>) -> Self {
        let Inputs { tenant, cgroups, .. } = inputs;
        // The files are there only while the tenant is running.
        let (found, missing) = match cgroups.v2.exists() {
            true => knobs(&tenant.limits, cgroups, IoSchedulers::of_host(&cgroups.v2)),
            false => (Vec::new(), Vec::new()),
        };
        Self { found, missing }
    }

    fn note(&self, key: &str) -> Option<String> {
        let knob = self.found.iter().find(|knob| knob.key == key);
        let lack = self.missing.iter().find(|lack| lack.key == key);
        match (knob, lack) {
            (Some(knob), _) => Some(format!("through {}", knob.file.display())),
            (None, Some(lack)) => Some(format!("not enforced: {}", lack.reason)),
            (None, None) => None,
        }
    }
}

fn labels(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, .. } = inputs;
    let explained = |(name, value): (&LabelName, &LabelValue)| {
        let source = from(own.labels.get(name), profile.labels.get(name), Source::Default);
        line(&edit::dotted("labels", name.as_str()), value, source)
    };
    tenant.labels.iter().map(explained).collect()
}

fn sysctls(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, plan, .. } = inputs;
    let explained = |(key, value): (&String, &String)| {
        let source = from(own.sysctl.get(key), profile.sysctl.get(key), Source::Default);
        let is_set = plan.init.sysctl.contains_key(key);
        let note = (!is_set).then(|| "omitted: IPv6 is disabled on this host".to_owned());
        Explained { note, ..line(&format!("sysctl.{key:?}"), value, source) }
    };
    tenant.sysctl.iter().map(explained).collect()
}

fn interfaces(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, plan, .. } = inputs;
    let from_table = plan.nics.len().saturating_sub(inputs.ports);
    let in_file = from(own.nic.as_ref(), profile.nic.as_ref(), Source::Default);
    let explained = |(number, nic): (usize, &NicPlan)| {
        let source = if number >= from_table { Source::Nics } else { in_file };
        let note = Some(nic.to_string());
        Explained { note, ..line(&format!("nic[{number}]"), &tenant.nics[number].name, source) }
    };
    plan.nics.iter().enumerate().map(explained).collect()
}

fn environment(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, plan, .. } = inputs;
    let variable = |(key, value): (&String, &String)| {
        line(&format!("env.{key}"), value, from(own.env.get(key), profile.env.get(key), Source::Default))
    };
    plan.init.env.iter().map(variable).collect()
}

/// The step of the plan that a directory is made by.
fn step_note(inputs: &Inputs<'_>, path: &str) -> Option<String> {
    let at = path.trim_start_matches('/');
    inputs.plan.root.iter().find(|step| step.at() == Some(at)).map(ToString::to_string)
}

fn paths(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, .. } = inputs;
    let listed = from(own.paths.as_ref(), profile.paths.as_ref(), Source::Default);
    let explained = |(number, path): (usize, &TenantPath)| Explained {
        note: step_note(inputs, path.as_str()),
        ..line(&format!("paths[{number}]"), path, listed)
    };
    tenant.paths.iter().enumerate().map(explained).collect()
}

fn directories(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, manifest, plan, .. } = inputs;
    let mut lines = Vec::new();
    let mut paths: Vec<String> =
        own.dirs.keys().chain(profile.dirs.keys()).map(ToString::to_string).collect();
    if tenant.root != RootMode::Paths {
        // With listed paths the image's other directories are not there at all.
        paths.extend(manifest.top.iter().map(|entry| format!("/{}", entry.name)));
    }
    paths.sort();
    paths.dedup();
    for path in paths {
        let key = path.parse().ok();
        let of = |fragment: &Fragment| key.as_ref().and_then(|key| fragment.dirs.get(key).cloned());
        let (mine, theirs) = (of(own), of(profile));
        let source = from(mine.as_ref(), theirs.as_ref(), Source::Default);
        let entry = manifest.top.iter().find(|entry| path[1..] == entry.name);
        let value = match (mine.or(theirs), entry) {
            _ if matches!(path.as_str(), "/dev" | "/proc" | "/sys") => "fresh".to_owned(),
            (Some(own), _) => policy(&own),
            (None, Some(TopEntry { target: Some(target), .. })) => format!("link to {target}"),
            (None, _) => word(&Policy::Shared),
        };
        let note = step_note(inputs, &path).or_else(|| absent(entry.is_some(), &value));
        lines.push(Explained { note, ..line(&format!("dirs.\"{path}\""), value, source) });
    }
    if let Some(step) = plan.root.iter().find(|step| matches!(step, RootStep::Whole { .. })) {
        lines.push(Explained {
            note: Some(step.to_string()),
            ..line("dirs.\"/\"", "overlay", Source::Profile)
        });
    }
    lines
}

/// A policy that looks at the image does nothing where the image has no such directory.
fn absent(in_image: bool, value: &str) -> Option<String> {
    let is_of_image = matches!(value, "shared" | "overlay");
    (!in_image && is_of_image).then(|| "omitted: the directory does not exist in the image".to_owned())
}

fn allocation(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { allocation, facts, .. } = inputs;
    let of = |key: &str, value: String| line(key, value, Source::Allocation);
    let mut ipv6 = of("ipv6", allocation.ipv6.to_string());
    if !facts.ipv6 {
        ipv6.note = Some("not used: IPv6 is disabled on this host".to_owned());
    }
    vec![
        of("index", allocation.index.to_string()),
        of("uuid", allocation.uuid.clone()),
        of("uids", allocation.uid_base.to_string()),
        of("ipv4", allocation.ipv4.to_string()),
        ipv6,
        of("version", format!("{} {}", allocation.pinned.image, allocation.pinned.digest)),
        of("created", allocation.created.clone()),
        of("generation", allocation.generation.to_string()),
    ]
}
