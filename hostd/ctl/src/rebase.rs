use clap::Args;
use wire::{
    Applied, Changed, FileChange, FileDifference, PackageDifference, RebasePlan, RebaseRequest, Rebased,
    Verdict,
};

use super::{
    Context, drift,
    many::{self, Answer},
    mode::Mode,
    output,
    select::Selection,
};

/// Give tenants another version of their image, at once and while they are running
///
/// Without --to it is the version that the `image` of the tenant's file means now. What comes live is the part that all
/// tenants share (/usr): processes that are running keep the files they have open until they are restarted.
#[derive(Debug, Args)]
pub(super) struct Rebase {
    #[command(flatten)]
    selection: Selection,
    /// The version: :CHANNEL, IMAGE:CHANNEL, IMAGE@VERSION, or at least 6 hex digits of it
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    #[command(flatten)]
    mode: Mode,
    /// Allow a version of another image
    #[arg(long)]
    cross_image: bool,
    /// Say what would be done, and change nothing
    #[arg(long, conflicts_with = "mode")]
    plan: bool,
}

/// Give tenants the version back that they had before
///
/// A tenant that has been rolled back is brought forward again by the same command.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    mode: Mode,
    /// Say what would be done, and change nothing
    #[arg(long, conflicts_with = "mode")]
    plan: bool,
}

impl Answer for Rebased {
    fn is_unchanged(&self) -> bool {
        self.change == Changed::Unchanged
    }
}

impl Rebase {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let (to, cross_image) = (self.to.clone(), self.cross_image);
        if self.plan {
            return plan(context, &self.selection, to.as_deref(), cross_image).await;
        }
        let request = RebaseRequest { to, mode: self.mode.chosen().unwrap_or_default(), cross_image };
        rebase(context, &self.selection, request, "rebased").await
    }
}

impl Rollback {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        // The version before may be one of another image: it was given that by a command that said so.
        let to = Some(RebaseRequest::PREVIOUS.to_owned());
        if self.plan {
            return plan(context, &self.selection, to.as_deref(), true).await;
        }
        let request = RebaseRequest { to, mode: self.mode.chosen().unwrap_or_default(), cross_image: true };
        rebase(context, &self.selection, request, "rolled back").await
    }
}

async fn rebase(
    context: &Context,
    selection: &Selection,
    request: RebaseRequest,
    verb: &'static str,
) -> super::Result {
    let chosen = selection.resolve(&context.client).await?;
    let send = move |api: client::Client, name: String| {
        let request = request.clone();
        async move { api.post::<Rebased>(&client::tenant(&name, "/rebase"), &request).await }
    };
    many::each(context, &chosen, (verb, None), send, |done| sentence(done, verb)).await
}

/// Prints what a rebase of each tenant would do.
async fn plan(
    context: &Context,
    selection: &Selection,
    to: Option<&str>,
    cross_image: bool,
) -> super::Result {
    let chosen = selection.resolve(&context.client).await?;
    let to = to.map(|to| format!("&to={}", client::segment(to))).unwrap_or_default();
    many::look(context, &chosen, &format!("/rebase?cross_image={cross_image}{to}"), outlook).await
}

/// What a rebase would do, a line for each thing that it changes.
fn outlook(plan: &RebasePlan) -> String {
    let name = output::clean(&plan.name);
    let verdict = match plan.verdict {
        Verdict::Unchanged => return format!("{name}: unchanged, it has {}\n", output::clean(&plan.to)),
        Verdict::Live => "live".to_owned(),
        Verdict::LiveWithRest => "live, and the rest at the next start".to_owned(),
        Verdict::Restart => format!("by a restart: {}", output::clean(&plan.reasons.join("; "))),
    };
    let (from, to) = (output::clean(&plan.from), output::clean(&plan.to));
    let mut text = format!("{name}: {from} -> {to}, {verdict}\n");
    for PackageDifference { package, from, to } in &plan.packages {
        let version = |version: &Option<String>| output::clean(version.as_deref().unwrap_or("-"));
        text += &format!("package     {} {} -> {}\n", output::clean(package), version(from), version(to));
    }
    for at in &plan.swapped {
        text += &format!("at once     {}\n", output::clean(at));
    }
    for file in &plan.shadowed {
        let (path, what) = (output::clean(&file.path), drift::fix(file));
        text += &format!("hidden fix  {} {path}, {what}, hidden by the tenant's own\n", sign(file.change));
    }
    let is_told = |path: &str| plan.shadowed.iter().any(|file| file.path == *path);
    for FileDifference { path, change, hidden } in plan.files.iter().filter(|file| !is_told(&file.path)) {
        let hidden = if *hidden { ", hidden by the tenant's own" } else { "" };
        text += &format!("next start  {} {}{hidden}\n", sign(Some(*change)), output::clean(path));
    }
    for sentence in &plan.left_out {
        text += &format!("left out    {}\n", output::clean(sentence));
    }
    text
}

fn sign(change: Option<FileChange>) -> char {
    match change {
        Some(FileChange::Added) => '+',
        Some(FileChange::Removed) => '-',
        Some(FileChange::Changed) => '~',
        None => '?',
    }
}

/// `alice: rebased to debian@0123456789ab, live (0.004 s); from the next start: /etc, /var`
fn sentence(done: &Rebased, verb: &str) -> String {
    let (name, to) = (output::clean(&done.name), output::clean(&done.to));
    if done.change == Changed::Unchanged {
        return format!("{name}: unchanged, it has {to}\n");
    }
    let took = done.took_us as f64 / 1e6;
    let how = match done.applied {
        Applied::Live => "live",
        Applied::Restarted => "restarted",
        Applied::NextStart => "from the next start on",
        Applied::Stopped => "it is not running",
    };
    let rest = match &done.rest[..] {
        [] => String::new(),
        rest => format!("; from the next start: {}", output::clean(&rest.join(", "))),
    };
    let killed = done.killed.as_ref().map(|reason| format!("; killed: {}", output::clean(reason)));
    let killed = killed.unwrap_or_default();
    format!("{name}: {verb} to {to}, {how} ({took:.3} s){killed}{rest}\n")
}
