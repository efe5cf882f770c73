use clap::Args;
use wire::{
    Detail, DiskUsage, EffectiveLimit, Interface, Source, Summary, Traffic, UnitReport, Usage, Waiting,
};

use super::{Context, many, output, select::Selection};

/// Show everything about tenants
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    selection: Selection,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        many::look::<Detail>(context, &chosen, "", text).await
    }
}

fn text(detail: &Detail) -> String {
    let summary = &detail.summary;
    let uptime = summary.started_ms.map(|ms| output::duration(output::now_ms().saturating_sub(ms) / 1000));
    let uptime = uptime.map(|uptime| match &detail.since {
        Some(since) => format!("{uptime}, since {since}"),
        None => uptime,
    });
    let labels: Vec<_> = summary.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let lines = [
        ("name", Some(summary.name.clone())),
        ("state", Some(summary.state.as_str().to_owned())),
        ("problem", detail.problem.clone()),
        ("failure", detail.failure.clone()),
        ("exit", detail.exit.clone()),
        ("killed", detail.killed.clone()),
        ("status", detail.status.clone()),
        ("labels", Some(labels.join(" ")).filter(|labels| !labels.is_empty())),
        ("hostname", hostname(detail)),
        ("ipv4", Some(summary.ipv4.clone()).filter(|address| !address.is_empty())),
        ("ipv6", Some(summary.ipv6.clone()).filter(|address| !address.is_empty())),
        ("group", summary.group.clone()),
        ("ports", Some(detail.ports.join(" ")).filter(|ports| !ports.is_empty())),
        ("net rate", detail.net_rate.as_ref().map(|rate| format!("{rate}bit/s each way"))),
        ("image", Some(format!("{} {}", summary.image, detail.digest))),
        ("booted", detail.booted_digest.clone()),
        ("profile", summary.profile.clone()),
        ("uptime", uptime),
        ("init executed", summary.exec_us.map(|us| format!("after {:.1} ms", us as f64 / 1e3))),
        ("ready", summary.ready_us.map(|us| format!("after {:.3} s", us as f64 / 1e6))),
        ("parked", parked(summary)),
        ("woken", summary.woken.as_ref().map(|woken| format!("{} ago: {}", ago(woken.at_ms), woken.why))),
        ("boots", detail.boots.map(|boots| boots.to_string())),
        ("memory", memory(detail)),
        ("cpu", cpu(detail)),
        ("tasks", tasks(detail)),
        ("supervisor", detail.supervisor_pid.map(|pid| format!("pid {pid}"))),
        ("init", detail.init_pid.map(|pid| format!("pid {pid}"))),
        ("traffic", detail.traffic.as_ref().map(traffic)),
        ("unit", detail.unit.as_ref().map(|report| unit(report, detail.autostart))),
        ("unit status", detail.unit.as_ref().and_then(|unit| unit.status.clone())),
        ("oom kills", oom_kills(detail)),
        ("disk", detail.disk.as_ref().map(disk)),
        ("cgroup", detail.cgroup.clone()),
        ("index", Some(detail.index.to_string())),
        ("uids", Some(detail.uids.clone())),
        ("uuid", Some(detail.uuid.clone())),
        ("created", Some(detail.created.clone())),
    ];
    let mut text = String::new();
    for (key, value) in lines {
        if key == "traffic" {
            text.extend(
                detail
                    .unit_limits
                    .iter()
                    .map(|limit| format!("{:<14}{}\n", "limit", output::clean(&bound(limit)))),
            );
        }
        if key == "group" {
            text.extend(
                detail.nics.iter().map(|nic| format!("{:<14}{}\n", "nic", output::clean(&line(nic)))),
            );
        }
        if let Some(value) = value {
            text.push_str(&format!("{key:<14}{}\n", output::clean(&value)));
        }
    }
    for waiting in &detail.waiting {
        text.push_str(&format!("{:<14}{}\n", "pending", output::clean(&pending(waiting))));
    }
    for line in &detail.console {
        text.push_str(&format!("{:<14}{}\n", "console", output::clean(line)));
    }
    text
}

fn ago(ms: u64) -> String {
    output::duration(output::now_ms().saturating_sub(ms) / 1000)
}

/// `ttys: 2 now, 3 at the next start`
fn pending(waiting: &Waiting) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "the default".to_owned());
    format!("{}: {} now, {} at the next start", waiting.key, value(&waiting.running), value(&waiting.next))
}

/// `1.2M of 512M`; where it is down only what it may use.
fn against(used: Option<String>, limit: Option<String>) -> Option<String> {
    match (used, limit) {
        (Some(used), Some(limit)) => Some(format!("{used} of {limit}")),
        (Some(used), None) => Some(used),
        (None, limit) => limit.map(|limit| format!("at most {limit}")),
    }
}

fn usage(detail: &Detail) -> Usage {
    detail.usage.clone().unwrap_or_default()
}

fn memory(detail: &Detail) -> Option<String> {
    let size = |bytes: u64| output::size(Some(bytes));
    against(usage(detail).memory_bytes.map(size), detail.summary.limits.memory_max_bytes.map(size))
}

/// `12.345 s, at most 50% of one CPU`
fn cpu(detail: &Detail) -> Option<String> {
    let used = usage(detail).cpu_us.map(|us| output::seconds(Some(us)));
    let most =
        detail.summary.limits.cpu_quota_percent.map(|percent| format!("at most {percent}% of one CPU"));
    let parts: Vec<_> = used.into_iter().chain(most).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn tasks(detail: &Detail) -> Option<String> {
    let most = detail.summary.limits.tasks_max.map(|most| most.to_string());
    against(usage(detail).tasks.map(|tasks| tasks.to_string()), most)
}

/// Since when it is parked, and how.
fn parked(summary: &Summary) -> Option<String> {
    let way = summary.parked_way.as_deref().unwrap_or("frozen");
    summary.parked_ms.map(|ms| format!("for {}, {way}", ago(ms)))
}

/// `web`, or `box, set inside; its file says web`
fn hostname(detail: &Detail) -> Option<String> {
    let planned = detail.hostname.clone()?;
    Some(match &detail.hostname_inside {
        Some(inside) => format!("{inside}, set inside; {planned} in its file"),
        None => planned,
    })
}

/// `memory_max 1G by systemctl set-property; the file says 512M`
fn bound(limit: &EffectiveLimit) -> String {
    let mut text = format!("{} {}", limit.key, limit.value);
    if let Some(by) = &limit.by {
        text.push_str(&format!(" by {by}"));
    }
    if let Some(file) = &limit.file {
        text.push_str(&format!("; {file} in its file"));
    }
    text
}

/// `tenant@alice.service active (running), enabled, restarted 2 times`
fn unit(unit: &UnitReport, autostart: Option<bool>) -> String {
    let mut text = format!("{} {} ({})", unit.name, unit.active, unit.sub);
    if !matches!(unit.result.as_str(), "" | "success") {
        text.push_str(&format!(", last result {}", unit.result));
    }
    if !unit.enabled.is_empty() {
        text.push_str(&format!(", {}", unit.enabled));
    }
    let is_enabled = unit.enabled.starts_with("enabled");
    if let Some(wanted) = autostart.filter(|wanted| *wanted != is_enabled) {
        text.push_str(&format!(" (autostart = {wanted} in its file)"));
    }
    if unit.restarts > 0 {
        text.push_str(&format!(", restarted {} times", unit.restarts));
    }
    text
}

/// Number of OOM kills, if any: since the start of its unit where systemd counts, otherwise in its current or
/// last boot.
fn oom_kills(detail: &Detail) -> Option<String> {
    let of_unit = detail.unit.as_ref().and_then(|unit| unit.oom_kills).filter(|kills| *kills > 0);
    match (of_unit, detail.oom_kills) {
        (Some(kills), _) => Some(format!("{kills} since its start")),
        (None, kills) => kills.map(|kills| format!("{kills} in its last boot")),
    }
}

/// `eth0 routed 10.115.0.1/32 fd74::1/128 at t1-0`
fn line(nic: &Interface) -> String {
    let mut words = vec![nic.name.clone(), nic.mode.clone()];
    words.extend(nic.link.clone());
    words.extend(nic.vlan.map(|vlan| format!("VLAN {vlan}")));
    words.extend(nic.addresses.iter().cloned());
    words.extend(nic.host_name.iter().map(|name| format!("at {name}")));
    words.extend((nic.source == Source::Nics).then(|| "from nics.toml".to_owned()));
    words.join(" ")
}

/// `1.2M of 10G, 812 inodes`; `at least 1.2M, 812 inodes (measured 40 s ago)` where a walk over its directories found that.
fn disk(disk: &DiskUsage) -> String {
    let of = |max: Option<String>| max.map_or(String::new(), |max| format!(" of {max}"));
    let size = |bytes| output::size(Some(bytes));
    let (bytes, inodes) = (of(disk.max_bytes.map(size)), of(disk.max_inodes.map(|max| max.to_string())));
    let least = if disk.is_partial { "at least " } else { "" };
    let when = disk.measured_sec_ago.map_or(String::new(), |sec| format!(" (measured {sec} s ago)"));
    format!("{least}{}{bytes}, {}{inodes} inodes{when}", size(disk.used_bytes), disk.inodes)
}

/// `1.2M sent, 3.4M received; 12 packets rejected, 3 above the rate`.
fn traffic(traffic: &Traffic) -> String {
    let size = |bytes| output::size(Some(bytes));
    let mut text = format!("{} sent, {} received", size(traffic.sent_bytes), size(traffic.received_bytes));
    let (refused, limited) = (traffic.refused_packets, traffic.limited_packets);
    let parts = [(refused, "packets rejected"), (limited, "packets above the rate")];
    for (number, what) in parts.into_iter().filter(|(number, _)| *number > 0) {
        text.push_str(&format!("; {number} {what}"));
    }
    text
}
