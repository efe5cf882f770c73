use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use hyper::Method;
use wire::{Code, Done, Failure};

use super::{
    Context, many, output,
    select::{Chosen, Selection},
};

/// Destroy tenants and all their data
#[derive(Debug, Args)]
pub(super) struct Destroy {
    #[command(flatten)]
    selection: Selection,
    /// Kill running tenants first, and also remove tenants with damaged records
    #[arg(long)]
    force: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl Destroy {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        if !self.yes {
            if self.selection.is_open() {
                let _ = write!(io::stderr(), "{}", taken(&chosen));
            }
            confirm(&chosen.names)?;
        }
        let force = self.force;
        let destroy = move |api: client::Client, name: String| async move {
            let path = client::tenant(&name, if force { "?force=true" } else { "" });
            api.request::<Done>(Method::DELETE, &path, &()).await
        };
        many::each(context, &chosen, ("destroyed", Some(many::WAITS_AT_ONCE)), destroy, |done| {
            many::sentence(done, "destroyed")
        })
        .await
    }
}

/// What a pattern or a filter selects, for the question that follows.
fn taken(chosen: &Chosen) -> String {
    let names: String = chosen.names.iter().map(|name| format!("  {}\n", output::clean(name))).collect();
    format!("These tenants and all their data would be destroyed:\n{names}")
}

fn confirm(names: &[String]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(output::no_terminal());
    }
    let what = match names {
        [one] => format!("tenant {one}"),
        many => format!("{} tenants", many.len()),
    };
    match output::confirms(&format!("Destroy {} and all data?", output::clean(&what))) {
        true => Ok(()),
        false => Err(Failure::new(Code::Failed, "nothing was destroyed")),
    }
}
