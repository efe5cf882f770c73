use std::process::ExitCode;

use clap::Args;

use super::{Context, output};
use crate::api::types::Summary;

/// List tenants
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that run
    #[arg(long)]
    running: bool,
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// More columns
    #[arg(long, short)]
    wide: bool,
}

impl List {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let mut tenants: Vec<Summary> = context.client.get("/v1/tenants").await?;
        tenants.retain(|tenant| !self.running || tenant.state.is_up());
        context.output.print(&tenants, |tenants| {
            if self.quiet {
                return tenants.iter().map(|tenant| format!("{}\n", tenant.name)).collect();
            }
            table(tenants, self.wide)
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// The table of `list`.
fn table(tenants: &[Summary], wide: bool) -> String {
    let now = output::now_ms();
    let mut header = vec!["NAME", "STATE", "ADDRESS", "UPTIME", "BOOT", "MEMORY", "IMAGE"];
    if wide {
        header.extend(["EXEC", "IPV6", "UNIT"]);
    }
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |tenant: &Summary| {
        let uptime = tenant.started_ms.map(|ms| output::duration(now.saturating_sub(ms) / 1000));
        let mut row = vec![
            tenant.name.clone(),
            format!("{:?}", tenant.state).to_lowercase(),
            dash(&tenant.ipv4),
            uptime.unwrap_or_else(|| "-".to_owned()),
            output::seconds(tenant.ready_us),
            output::size(tenant.memory_bytes),
            format!("{}@{}", tenant.image, tenant.version),
        ];
        if wide {
            row.extend([
                tenant.exec_us.map_or_else(|| "-".to_owned(), |us| format!("{:.1}ms", us as f64 / 1e3)),
                dash(&tenant.ipv6),
                output::clean(&dash(tenant.unit_status.as_deref().unwrap_or_default())),
            ]);
        }
        row
    };
    output::table(&header, tenants.iter().map(row).collect(), &[3, 4, 5])
}
