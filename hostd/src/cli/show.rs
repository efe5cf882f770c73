use std::process::ExitCode;

use clap::Args;

use super::{Context, client, output};
use crate::api::types::Detail;

/// Show everything about a tenant
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Name of the tenant
    name: String,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let detail: Detail = context.client.get(&client::tenant(&self.name, "")).await?;
        context.output.print(&detail, text);
        Ok(ExitCode::SUCCESS)
    }
}

fn text(detail: &Detail) -> String {
    let summary = &detail.summary;
    let uptime = summary.started_ms.map(|ms| output::duration(output::now_ms().saturating_sub(ms) / 1000));
    let lines = [
        ("name", Some(summary.name.clone())),
        ("state", Some(format!("{:?}", summary.state).to_lowercase())),
        ("problem", detail.problem.clone()),
        ("failure", detail.failure.clone()),
        ("exit", detail.exit.clone()),
        ("status", detail.status.clone()),
        ("hostname", detail.hostname.clone()),
        ("ipv4", Some(summary.ipv4.clone())),
        ("ipv6", Some(summary.ipv6.clone())),
        ("image", Some(format!("{} {}", summary.image, detail.digest))),
        ("booted", detail.booted_digest.clone()),
        ("profile", detail.profile.clone()),
        ("uptime", uptime),
        ("init executed", summary.exec_us.map(|us| format!("after {:.1} ms", us as f64 / 1e3))),
        ("ready", summary.ready_us.map(|us| format!("after {:.3} s", us as f64 / 1e6))),
        ("boots", detail.boots.map(|boots| boots.to_string())),
        ("memory", summary.memory_bytes.map(|bytes| output::size(Some(bytes)))),
        ("supervisor", detail.supervisor_pid.map(|pid| format!("pid {pid}"))),
        ("init", detail.init_pid.map(|pid| format!("pid {pid}"))),
        ("cgroup", detail.cgroup.clone()),
        ("index", Some(detail.index.to_string())),
        ("uids", Some(detail.uids.clone())),
        ("uuid", Some(detail.uuid.clone())),
        ("created", Some(detail.created.clone())),
    ];
    let mut text = String::new();
    for (key, value) in lines {
        if let Some(value) = value {
            text.push_str(&format!("{key:<14}{}\n", output::clean(&value)));
        }
    }
    text
}
