use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use hyper::Method;
use wire::{Code, Done, Failure};

use super::{
    Context,
    many::{self, Names},
};

/// Destroy tenants and all their data
#[derive(Debug, Args)]
pub(super) struct Destroy {
    #[command(flatten)]
    names: Names,
    /// Kill running tenants first, and also remove tenants with damaged records
    #[arg(long)]
    force: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl Destroy {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let names = self.names.resolve(&context.client).await?;
        if !self.yes {
            confirm(&names)?;
        }
        let force = self.force;
        let destroy = move |api: client::Client, name: String| async move {
            let path = client::tenant(&name, if force { "?force=true" } else { "" });
            api.request::<Done>(Method::DELETE, &path, &()).await
        };
        many::each(context, names, destroy, |done| many::sentence(done, "destroyed")).await
    }
}

fn confirm(names: &[String]) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Code::Invalid,
            "cannot ask for confirmation: standard input is not a terminal",
        )
        .help("confirm with --yes"));
    }
    let what = match names {
        [one] => format!("tenant {one}"),
        many => format!("{} tenants", many.len()),
    };
    eprint!("Destroy {} and all data? [y/N] ", client::output::clean(&what));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Code::Failed, "nothing was destroyed")),
    }
}
