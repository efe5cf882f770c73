use std::process::ExitCode;

use clap::Args;

use super::{Context, output};
use crate::{
    api::types::Summary,
    error::{Code, Failure},
};

/// List tenants
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these
    #[arg(value_name = "NAME")]
    names: Vec<String>,
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
        let is_named = |tenant: &Summary| self.names.is_empty() || self.names.contains(&tenant.name);
        let missing = self.names.iter().find(|name| !tenants.iter().any(|tenant| tenant.name == **name));
        if let Some(name) = missing {
            return Err(Failure::new(Code::NoTenant, format!("there is no tenant {name:?}"))
                .help("list all tenants: tenantctl list"));
        }
        tenants.retain(|tenant| is_named(tenant) && (!self.running || tenant.state.is_up()));
        if !context.output.json && !self.quiet {
            let broken = tenants.iter().filter_map(|tenant| Some((&tenant.name, tenant.broken.as_ref()?)));
            let broken = broken
                .map(|(name, reason)| format!("tenant \"{name}\" is broken: {reason}; tenantctl doctor"));
            output::warnings(&broken.collect::<Vec<_>>());
        }
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
            tenant.state.as_str().to_owned(),
            dash(&tenant.ipv4),
            uptime.unwrap_or_else(|| "-".to_owned()),
            output::seconds(tenant.ready_us),
            output::size(tenant.memory_bytes),
            if tenant.image.is_empty() {
                "-".to_owned()
            } else {
                format!("{}@{}", tenant.image, tenant.version)
            },
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
