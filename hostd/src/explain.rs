//! Where each value of a tenant comes from: its own file, its profile, the image or a default.

use serde::Serialize;
use tenant::{
    Allocation, HostFacts, Plan, Tenant,
    config::{Fragment, Policy, RootMode},
    model::image::{Manifest, TopEntry},
    plan::{RootStep, StopProcedure},
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
    lines.extend(limits(inputs));
    lines.extend(environment(inputs));
    lines.extend(directories(inputs));
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

fn settings(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, plan, manifest, .. } = inputs;
    macro_rules! source {
        ($key:ident, $otherwise:ident) => {
            from(own.$key.as_ref(), profile.$key.as_ref(), Source::$otherwise)
        };
    }
    let mut stop = line("stop_signal", &plan.init.stop, source!(stop_signal, Image));
    if let StopProcedure::Command(_) = plan.init.stop {
        stop.note = Some("no signal: its init is stopped with this command".to_owned());
    }
    let mut image = line("image", &tenant.image, source!(image, Default));
    image.note = Some(format!("boots {} ({})", plan.digest, manifest.os));
    let rules: Vec<String> = plan.devices.allowed.iter().map(ToString::to_string).collect();
    let mut devices = line("devices", words(&rules), source!(devices, Default));
    devices.note =
        Some(format!("all others are refused, by a BPF program on {}", plan.cgroup.payload.display()));
    let servers: Vec<String> = plan.init.name_servers.iter().map(ToString::to_string).collect();
    let description = own.description.as_deref().or(profile.description.as_deref());
    let forwards: Vec<String> = tenant.forwards.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        line("profile", &tenant.profile, from(own.profile.as_ref(), None, Source::Default)),
        line("kind", tenant.kind.as_str(), Source::Profile),
        image,
        line("hostname", &tenant.hostname, source!(hostname, Default)),
        line("description", description.unwrap_or_default(), source!(description, Default)),
        line("autostart", tenant.autostart, source!(autostart, Default)),
        line("restart", word(&tenant.restart), source!(restart, Default)),
        line("start_priority", tenant.start_priority, source!(start_priority, Default)),
        line("init", words(&plan.init.argv), source!(init, Image)),
        stop,
        line("stop_timeout_sec", tenant.stop_timeout.as_secs(), source!(stop_timeout_sec, Default)),
        line("start_timeout_sec", tenant.start_timeout.as_secs(), source!(start_timeout_sec, Default)),
        line("ready", word(&plan.init.ready), source!(ready, Image)),
        line("ttys", tenant.ttys, source!(ttys, Default)),
        line("pts_max", tenant.pts_max, source!(pts_max, Default)),
        line("getty", words(&plan.init.getty), source!(getty, Image)),
        line(
            "console_log",
            tenant::model::limits::ByteSize(tenant.console_log),
            source!(console_log, Default),
        ),
        line("console_journal", tenant.console_journal, source!(console_journal, Default)),
        line("root", word(&tenant.root), source!(root, Default)),
        line("disk_max", or_none(tenant.disk.max), source!(disk_max, Default)),
        line("inodes_max", or_none(tenant.disk.inodes), source!(inodes_max, Default)),
        line("cgroups_max", tenant.cgroups_max, source!(cgroups_max, Default)),
        devices,
        line("shm_max", tenant.shm_max, source!(shm_max, Default)),
        line("tun", tenant.features.tun, source!(tun, Default)),
        line("fuse", tenant.features.fuse, source!(fuse, Default)),
        line("wireguard", tenant.features.wireguard, source!(wireguard, Default)),
        line("drop_capabilities", words(&tenant.drop_capabilities), source!(drop_capabilities, Default)),
        allowed_calls(tenant, source!(allow_syscalls, Default)),
        line("group", or_none(tenant.group.as_ref().map(|group| group.as_str())), source!(group, Default)),
        line("net_rate", or_none(tenant.net_rate), source!(net_rate, Default)),
        line("ports", words(&forwards), source!(ports, Default)),
        line("dns", words(&servers), source!(dns, Host)),
        line("dns_search", words(&tenant.dns_search), source!(dns_search, Default)),
    ];
    for (name, value) in &tenant.labels {
        let source = from(own.labels.get(name), profile.labels.get(name), Source::Default);
        lines.push(line(&edit::dotted("labels", name.as_str()), value, source));
    }
    for (key, value) in &tenant.sysctl {
        let source = from(own.sysctl.get(key), profile.sysctl.get(key), Source::Default);
        let is_set = plan.init.sysctl.contains_key(key);
        let note = (!is_set).then(|| "omitted: IPv6 is disabled on this host".to_owned());
        lines.push(Explained { note, ..line(&format!("sysctl.{key:?}"), value, source) });
    }
    let from_table = plan.nics.len().saturating_sub(inputs.ports);
    for (number, nic) in plan.nics.iter().enumerate() {
        let mut nic_line = line(&format!("nic[{number}]"), &tenant.nics[number].name, source!(nic, Default));
        nic_line.note = Some(nic.to_string());
        if number >= from_table {
            nic_line.source = Source::Ports;
        }
        lines.push(nic_line);
    }
    lines
}

fn allowed_calls(tenant: &Tenant, source: Source) -> Explained {
    let names: Vec<String> = tenant.allow_syscalls.iter().map(ToString::to_string).collect();
    line("allow_syscalls", words(&names), source)
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

fn limits(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, cgroups, .. } = inputs;
    let (found, missing) = knobs(&tenant.limits, cgroups, IoSchedulers::of_host(&cgroups.v2));
    let runs = cgroups.v2.exists();
    let note = |key: &str| {
        if !runs {
            return None;
        }
        let knob = found.iter().find(|knob: &&Knob| knob.key == key);
        let lack = missing.iter().find(|lack: &&Unenforceable| lack.key == key);
        match (knob, lack) {
            (Some(knob), _) => Some(format!("through {}", knob.file.display())),
            (None, Some(lack)) => Some(format!("not enforced: {}", lack.reason)),
            (None, None) => None,
        }
    };
    macro_rules! limits {
        ($($key:ident),*) => {
            vec![$({
                let value = tenant.limits.$key.map_or("none".to_owned(), |value| value.to_string());
                let key = stringify!($key);
                let source = from(own.$key.as_ref(), profile.$key.as_ref(), Source::Default);
                Explained { note: note(key), ..line(key, value, source) }
            }),*]
        };
    }
    limits![cpu_weight, cpu_quota, memory_max, memory_high, memory_swap_max, tasks_max, io_weight]
}

fn environment(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, plan, .. } = inputs;
    let variable = |(key, value): (&String, &String)| {
        line(&format!("env.{key}"), value, from(own.env.get(key), profile.env.get(key), Source::Default))
    };
    plan.init.env.iter().map(variable).collect()
}

fn directories(inputs: &Inputs<'_>) -> Vec<Explained> {
    let Inputs { own, profile, tenant, manifest, plan, .. } = inputs;
    let mut lines = Vec::new();
    let step_note = |path: &str| {
        let at = path.trim_start_matches('/');
        plan.root.iter().find(|step| step.at() == Some(at)).map(ToString::to_string)
    };
    let mut paths: Vec<String> =
        own.dirs.keys().chain(profile.dirs.keys()).map(ToString::to_string).collect();
    if tenant.root == RootMode::Paths {
        let listed = from(own.paths.as_ref(), profile.paths.as_ref(), Source::Default);
        lines.extend(tenant.paths.iter().enumerate().map(|(number, path)| Explained {
            note: step_note(path.as_str()),
            ..line(&format!("paths[{number}]"), path, listed)
        }));
    } else {
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
        let note = step_note(&path).or_else(|| absent(entry.is_some(), &value));
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
