use std::{fs, io, process::ExitCode};

use clap::Args;
use hyper::Method;
use wire::{Code, ConfigChange, ConfigReplace, ConfigText, Done, Failure};

use super::{
    Context, candidates, editor, many,
    select::{Chosen, Filter, Selection},
};

/// Change keys of tenants' configurations
///
/// Limits, `group`, `net_rate` and `ports` take effect at once if the tenant is running, all other keys at
/// its next start.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// Names of tenants, or patterns of names, then keys and values, e.g. 'web*' memory_max=1G
    #[arg(value_name = "NAME|KEY=VALUE", add = candidates::of(candidates::tenants_or_settings))]
    words: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Remove a key, so that the profile's value applies (repeatable)
    #[arg(long, value_name = "KEY", add = candidates::of(candidates::keys))]
    unset: Vec<String>,
    /// Accept a limit that cannot be enforced on this host
    #[arg(long)]
    allow_unenforced: bool,
}

impl Set {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let (set, names): (Vec<String>, Vec<String>) =
            self.words.iter().cloned().partition(|word| word.contains('='));
        if set.is_empty() && self.unset.is_empty() {
            let text = "no key is to be changed";
            return Err(
                Failure::new(Code::Invalid, text).help("tenantctl set NAME KEY=VALUE, or --unset KEY")
            );
        }
        let selection = Selection { names, filter: self.filter.clone() };
        if selection.is_nothing() {
            let text = "no tenant is named whose keys are to be changed";
            return Err(Failure::new(Code::Invalid, text).help("tenantctl set NAME KEY=VALUE"));
        }
        let chosen = selection.resolve(&context.client).await?;
        let change = ConfigChange { set, unset: self.unset.clone(), allow_unenforced: self.allow_unenforced };
        self::change(context, &chosen, "set", change).await
    }
}

/// Changes keys of tenants' files.
pub(super) async fn change(
    context: &Context,
    chosen: &Chosen,
    verb: &str,
    change: ConfigChange,
) -> super::Result {
    let patch = move |api: client::Client, name: String| {
        let change = change.clone();
        async move { api.request::<Done>(Method::PATCH, &client::tenant(&name, "/config"), &change).await }
    };
    many::each(context, chosen, (verb, None), patch, |done| many::sentence(done, verb)).await
}

/// Edit a tenant's configuration file in $VISUAL or $EDITOR
///
/// The saved file is validated as a whole before anything is changed.
#[derive(Debug, Args)]
pub(super) struct Edit {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    /// Accept a limit that cannot be enforced on this host
    #[arg(long)]
    allow_unenforced: bool,
}

impl Edit {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let path = client::tenant(&self.name, "/config");
        let ConfigText { text: base } = context.client.get(&path).await?;
        let io = |error: io::Error| Failure::of(Code::Failed, &error);
        let copy = tempfile::Builder::new().prefix("tenant-").suffix(".toml").tempfile().map_err(io)?;
        fs::write(copy.path(), &base).map_err(io)?;
        loop {
            editor::open(copy.path())?;
            let text = fs::read_to_string(copy.path()).map_err(io)?;
            let request = ConfigReplace { base: base.clone(), text, allow_unenforced: self.allow_unenforced };
            match context.client.request::<Done>(Method::PUT, &path, &request).await {
                Ok(done) => {
                    context.output.print(&done, |done| many::sentence(done, "changed"));
                    return Ok(ExitCode::SUCCESS);
                }
                Err(failure) if editor::again(context, &failure) => {}
                Err(failure) => {
                    let (_, kept) = copy.keep().map_err(|error| io(error.error))?;
                    let help = format!("nothing was changed; your text is saved in {}", kept.display());
                    return Err(failure.help(help));
                }
            }
        }
    }
}
