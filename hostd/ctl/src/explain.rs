use std::process::ExitCode;

use clap::Args;
use wire::{Code, Explained, Failure, Source};

use super::{Context, candidates, output};

/// Show where each value of a tenant comes from
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    /// Only this key or directory, e.g. memory_max or /etc
    #[arg(add = candidates::of(candidates::keys))]
    what: Option<String>,
}

impl Explain {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let mut lines: Vec<Explained> = context.client.get(&client::tenant(&self.name, "/explain")).await?;
        if let Some(what) = &self.what {
            let directory = format!("dirs.\"{what}\"");
            let is_meant = |line: &Explained| {
                let below =
                    |mark| line.key.strip_prefix(what.as_str()).is_some_and(|rest| rest.starts_with(mark));
                line.key == *what || line.key == directory || below('.') || below('[')
            };
            lines.retain(is_meant);
            if lines.is_empty() {
                return Err(Failure::new(Code::NotFound, format!("there is no key {what:?}"))
                    .help(format!("list all keys: tenantctl explain {}", self.name)));
            }
        }
        context.output.print(&lines, |lines| text(lines));
        Ok(ExitCode::SUCCESS)
    }
}

fn text(lines: &[Explained]) -> String {
    let row = |line: &Explained| {
        let source = match line.source {
            Source::Tenant => "tenant file",
            Source::Profile => "profile",
            Source::Image => "image",
            Source::Default => "default",
            Source::Host => "host",
            Source::Nics => "nics.toml",
            Source::Allocation => "allocation",
        };
        let note = line.note.as_deref().unwrap_or_default();
        [&line.key, &line.value, source, note].map(output::clean).to_vec()
    };
    output::table(&["KEY", "VALUE", "FROM", "NOTE"], lines.iter().map(row).collect(), &[])
}
