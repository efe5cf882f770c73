//! `rootfsctl gc`.

use rootfs_tools::{Explain as _, Outcome, staging};
use serde::Serialize;
use tenant::model::{ids::Digest, image::ImageName};

use super::context::{Context, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many unused versions to keep: of each image, the newest first; and of each tenant those that it had before
    /// its present one, to which it may be rolled back.
    #[arg(long, default_value_t = 1, value_name = "N")]
    keep: usize,
    /// Print what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Collected {
    removed: Vec<Gone>,
    staging: usize,
    dry_run: bool,
}

#[derive(Serialize)]
struct Gone {
    image: ImageName,
    digest: Digest,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let mut removed = Vec::new();
    for (image, digest) in context.store.garbage(args.keep)? {
        if !args.dry_run {
            match context.store.remove(&image, &digest) {
                // A tenant or channel took it in the meantime, so it is not garbage.
                Err(e) if e.outcome() == Outcome::Refused => continue,
                other => other?,
            }
        }
        removed.push(Gone { image, digest });
    }
    let mut staging = 0;
    if !args.dry_run {
        staging = staging::sweep(&context.layout)?;
        context.store.sweep()?;
    }
    let collected = Collected { removed, staging, dry_run: args.dry_run };
    context.print(&collected, || {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        let mut text: String =
            collected.removed.iter().map(|gone| format!("{verb} {}@{}\n", gone.image, gone.digest)).collect();
        if collected.staging > 0 {
            text += &format!("{verb} {} unfinished builds\n", collected.staging);
        }
        if text.is_empty() { "unchanged\n".to_owned() } else { text }
    })
}
