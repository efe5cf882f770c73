//! Lines to a tenant's file, each with its verdict.

use std::collections::{BTreeMap, HashMap};

use tenant::{
    TenantName,
    config::{ConfigError, Fragment, Tenant},
    model::{image::ProfileName, limits::DefaultLimits},
};

use super::{
    cgroup,
    draft::{Draft, Host, Pair, Rule},
    keys::{self, Renamer},
    mounts, network,
    parse::{Content, Line},
    render,
    report::{Row, Verdict},
    security,
};

/// What came of a configuration before it was checked.
pub(super) struct Translated {
    pub(super) fragment: Fragment,
    pub(super) rootfs: Option<String>,
    pub(super) idmap: Vec<String>,
    pub(super) hostname: Option<String>,
    pub(super) entries: Vec<(Line, Verdict)>,
}

/// Translates every line.
pub(super) fn translate(lines: Vec<Line>, host: &Host<'_>) -> Translated {
    let mut verdicts: Vec<Option<Verdict>> = lines.iter().map(|_| None).collect();
    let names = present_names(&lines, &mut verdicts);
    // A mount may stand before the line that says where the root is.
    let last = |wanted: &str| {
        let mut named = lines.iter().zip(&names).filter(|(_, name)| name.as_deref() == Some(wanted));
        named.next_back().map(|(line, _)| line.value.as_str()).filter(|value| !value.is_empty())
    };
    let mut draft = Draft {
        fragment: Fragment::default(),
        rootfs: None,
        has_rootfs: last("lxc.rootfs.path").is_some(),
        roots: mounts::roots(host.file, last("lxc.rootfs.path"), last("lxc.rootfs.mount")),
        idmap: Vec::new(),
        memory_limit: None,
        host: *host,
        extra: Vec::new(),
        hostname: None,
    };
    clear(&lines, &names, &mut verdicts);
    let mut groups = Groups::default();
    for (at, line) in lines.iter().enumerate() {
        let (None, Some(name)) = (&verdicts[at], &names[at]) else { continue };
        let pair = Pair { at, name, value: &line.value, is_shared: line.file != host.file };
        let Some(key) = keys::find(name) else { continue };
        match key.rule {
            Rule::Each(rule) => verdicts[at] = Some(rule(&mut draft, &pair)),
            Rule::Notice(text) => verdicts[at] = Some(Verdict::note(text)),
            Rule::Never(text) => verdicts[at] = Some(Verdict::warning(text)),
            Rule::Network => {
                let number = keys::network_part(name).map_or(0, |(number, _)| number);
                groups.interfaces.entry(number).or_default().push(pair);
            }
            Rule::Devices => groups.devices.push(pair),
            Rule::CpuQuota => groups.quota.push(pair),
            Rule::Swap => groups.swap.push(pair),
            Rule::Capabilities => groups.capabilities.push(pair),
        }
    }
    groups.translate(&mut draft, &mut verdicts);
    let mut entries = Vec::with_capacity(lines.len() + draft.extra.len());
    let mut extra = draft.extra.into_iter().peekable();
    for (at, (line, verdict)) in lines.into_iter().zip(verdicts).enumerate() {
        // Every rule gives a verdict; a line without one would be a line that is dropped silently.
        entries.push((line, verdict.unwrap_or_else(|| Verdict::warning("it was not translated"))));
        while let Some((_, line, verdict)) = extra.next_if(|(behind, ..)| *behind == at) {
            entries.push((line, verdict));
        }
    }
    let Draft { fragment, rootfs, idmap, hostname, .. } = draft;
    Translated { fragment, rootfs, idmap, hostname, entries }
}

/// The present name of each pair's key; what has none gets its verdict.
fn present_names(lines: &[Line], verdicts: &mut [Option<Verdict>]) -> Vec<Option<String>> {
    let mut renamer = Renamer::default();
    let mut names = Vec::with_capacity(lines.len());
    for (line, verdict) in lines.iter().zip(verdicts) {
        let name = match &line.content {
            Content::Foreign => {
                *verdict = Some(Verdict::note("LXC ignores it too: it is not a key of LXC"));
                None
            }
            Content::NoEquals => {
                *verdict = Some(Verdict::warning("it has no `=`: LXC rejects a file with such a line"));
                None
            }
            Content::Include(Ok(count)) => {
                *verdict = Some(Verdict::note(format!("read in place: {count} lines")));
                None
            }
            Content::Include(Err(reason)) => {
                *verdict = Some(Verdict::warning(format!(
                    "it cannot be read ({reason}); its content is not imported"
                )));
                None
            }
            Content::Pair => match renamer.name(&line.key) {
                None => {
                    *verdict = Some(Verdict::warning("it precedes any lxc.network.type: LXC rejects it"));
                    None
                }
                Some(name) if keys::find(&name).is_none() && !is_interface(&name) => {
                    let hint = keys::nearest(&line.key).map(|key| format!("; did you mean {key}?"));
                    let text = format!("LXC has no such key{}", hint.unwrap_or_default());
                    *verdict = Some(Verdict::warning(text));
                    None
                }
                Some(name) => Some(name),
            },
        };
        names.push(name);
    }
    names
}

/// `lxc.net.0`: only a blank value makes sense there.
fn is_interface(name: &str) -> bool {
    name.strip_prefix("lxc.net.").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Blank values clear what stands before them, and of a key that is no list the last line counts.
fn clear(lines: &[Line], names: &[Option<String>], verdicts: &mut [Option<Verdict>]) {
    let mut live: Vec<usize> = Vec::new();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        let Some(name) = name else { continue };
        if lines[at].value.is_empty() {
            let mut cleared = 0;
            live.retain(|earlier| {
                let hit = names[*earlier].as_ref().is_some_and(|other| keys::clears(name, other));
                if hit {
                    let text = format!("cleared in {}", place(&lines[at], &lines[*earlier]));
                    verdicts[*earlier] = Some(Verdict::note(text));
                    cleared += 1;
                }
                !hit
            });
            verdicts[at] = Some(Verdict::note(match cleared {
                0 => "there is nothing to clear".to_owned(),
                count => format!("clears {count} of the lines before it"),
            }));
            continue;
        }
        if is_interface(name) {
            verdicts[at] = Some(Verdict::warning("LXC expects a value"));
            continue;
        }
        if keys::find(name).is_some_and(|key| !key.list)
            && let Some(earlier) = last.insert(name, at)
            && verdicts[earlier].is_none()
        {
            let text = format!("{} counts", place(&lines[at], &lines[earlier]));
            verdicts[earlier] = Some(Verdict::note(text));
            live.retain(|other| *other != earlier);
        }
        live.push(at);
    }
}

/// Where a line stands, told in another.
fn place(line: &Line, from: &Line) -> String {
    match line.file == from.file {
        true => format!("line {}", line.number),
        false => format!("line {} of {}", line.number, line.file),
    }
}

/// Pairs that are translated together.
#[derive(Default)]
struct Groups<'a> {
    interfaces: BTreeMap<u32, Vec<Pair<'a>>>,
    devices: Vec<Pair<'a>>,
    quota: Vec<Pair<'a>>,
    swap: Vec<Pair<'a>>,
    capabilities: Vec<Pair<'a>>,
}

impl Groups<'_> {
    fn translate(self, draft: &mut Draft<'_>, verdicts: &mut [Option<Verdict>]) {
        let mut settle = |found: Vec<(usize, Verdict)>| {
            for (at, verdict) in found {
                verdicts[at] = Some(verdict);
            }
        };
        settle(network::interfaces(draft, &self.interfaces));
        settle(cgroup::devices(draft, &self.devices));
        settle(cgroup::quota(draft, &self.quota));
        settle(cgroup::swap(draft, &self.swap));
        settle(security::capabilities(draft, &self.capabilities));
    }
}

/// Takes out of the file what a tenant cannot have, and says so in the lines it came from, until what is
/// left is valid.
///
/// # Errors
/// What is invalid and came from no line.
pub(super) fn validate(
    translated: &mut Translated,
    name: &TenantName,
    profile_name: &ProfileName,
    profile: &Fragment,
) -> Result<Tenant, ConfigError> {
    loop {
        let own = translated.fragment.clone();
        let (named, of) = (name.clone(), profile_name.clone());
        // The host's default limits make no difference to what is valid.
        let error = match Tenant::new(named, of, profile.clone(), own, &DefaultLimits::default()) {
            Ok(tenant) => return Ok(tenant),
            Err(error) => error,
        };
        let nic = error.key.strip_prefix("nic[").and_then(|rest| rest.split_once(']'));
        let part = nic.map_or(error.key.clone(), |(number, _)| format!("nic[{number}]"));
        let Some(smaller) = render::without(&translated.fragment, &part) else { return Err(error) };
        translated.fragment = smaller;
        let top = part.split(['.', '[']).next().unwrap_or(&part).to_owned();
        for (_, verdict) in &mut translated.entries {
            // A list that loses an element keeps the numbers of the others.
            if !verdict.key.is_empty() && (verdict.key == part || verdict.key == top) {
                *verdict = Verdict::warning(format!("it is not possible for a tenant: {}", error.reason));
            }
        }
        renumber(&mut translated.entries, &part);
    }
}

/// After `nic[1]` is gone, `nic[2]` is `nic[1]`.
fn renumber(entries: &mut [(Line, Verdict)], gone: &str) {
    let number = |key: &str| key.strip_prefix("nic[")?.strip_suffix(']')?.parse::<usize>().ok();
    let Some(gone) = number(gone) else { return };
    for (_, verdict) in entries {
        if let Some(own) = number(&verdict.key).filter(|own| *own > gone) {
            verdict.key = format!("nic[{}]", own - 1);
        }
    }
}

/// The lines as they are told.
pub(super) fn rows(entries: Vec<(Line, Verdict)>) -> Vec<Row> {
    let row = |(line, verdict): (Line, Verdict)| Row {
        file: line.file,
        line: line.number,
        key: line.key,
        value: line.value,
        fate: verdict.fate,
        text: verdict.text,
    };
    entries.into_iter().map(row).collect()
}
