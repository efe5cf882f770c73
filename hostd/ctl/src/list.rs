use std::process::ExitCode;

use clap::Args;
use wire::{Code, Failure, Summary, TenantState};

use super::{Context, output};

/// List tenants
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these tenants
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only tenants that are up, in any state
    #[arg(long)]
    running: bool,
    /// Only tenants in this state (repeatable)
    #[arg(long, value_name = "STATE")]
    state: Vec<TenantState>,
    /// Only tenants of this image, IMAGE or IMAGE@VERSION
    #[arg(long, value_name = "IMAGE[@VERSION]")]
    image: Option<String>,
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// Show more columns
    #[arg(long, short)]
    wide: bool,
}

impl List {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let mut tenants: Vec<Summary> = context.client.get("/v1/tenants").await?;
        let missing = self.names.iter().find(|name| !tenants.iter().any(|tenant| tenant.name == **name));
        if let Some(name) = missing {
            return Err(Failure::new(Code::NoTenant, format!("there is no tenant {name:?}"))
                .help("list all tenants: tenantctl list"));
        }
        tenants.retain(|tenant| self.has(tenant));
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

    /// Whether a tenant is one of those asked for.
    fn has(&self, tenant: &Summary) -> bool {
        (self.names.is_empty() || self.names.contains(&tenant.name))
            && (!self.running || tenant.state.is_up())
            && (self.state.is_empty() || self.state.contains(&tenant.state))
            && self.image.as_deref().is_none_or(|image| is_of(tenant, image))
    }
}

/// Whether a tenant boots `IMAGE`, or `IMAGE@VERSION`: a digest, whole or its first digits.
fn is_of(tenant: &Summary, image: &str) -> bool {
    let (name, version) = image.split_once('@').unwrap_or((image, ""));
    let digits = version.rsplit(':').next().unwrap_or_default();
    tenant.image == name && (digits.starts_with(&tenant.version) || tenant.version.starts_with(digits))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(image: &str, version: &str) -> Summary {
        serde_json::from_value(serde_json::json!({
            "name": "a", "state": "running", "ipv4": "", "ipv6": "", "image": image, "version": version,
            "started_ms": null, "ready_us": null, "exec_us": null, "memory_bytes": null, "unit_status": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_tenant_is_of_its_image_and_of_its_version_however_that_is_written() {
        let alice = tenant("debian", "2f2f0123abcd");
        for image in ["debian", "debian@2f2f0123abcd", "debian@sha256:2f2f0123abcd99", "debian@2f2f"] {
            assert!(is_of(&alice, image), "{image}");
        }
        for image in ["deb", "debian-stock", "busybox", "debian@2f2e", "debian@sha256:2f2f0123abce"] {
            assert!(!is_of(&alice, image), "{image}");
        }
    }
}
