//! `rootfsctl diff`.

use rootfs_tools::{
    Changes, changes,
    diff::{Change, PackageChange},
};
use tenant::model::image::ImageRef;

use super::context::{Context, Failure, printable};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The older version: IMAGE, IMAGE:CHANNEL or IMAGE@VERSION.
    old: ImageRef,
    /// The newer version.
    new: ImageRef,
    /// Compare Debian packages only, not files.
    #[arg(long)]
    packages: bool,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let content = |reference: &ImageRef| -> Result<_, Failure> {
        Ok(context.store.content(&reference.image, &context.store.resolve(reference)?)?)
    };
    let mut changes = changes(&content(&args.old)?, &content(&args.new)?);
    if args.packages {
        changes.files.clear();
    }
    context.print(&changes, || packages(&changes.packages) + &files(&changes))
}

/// A line for each package.
pub(super) fn packages(changes: &[PackageChange]) -> String {
    changes.iter().map(|change| format!("package {}\n", package(change))).collect()
}

/// `NAME OLD -> NEW`, with `-` for none.
pub(super) fn package(change: &PackageChange) -> String {
    let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
    format!("{} {} -> {}", change.package, version(&change.from), version(&change.to))
}

fn files(changes: &Changes) -> String {
    let mut text = String::new();
    for file in &changes.files {
        let sign = match file.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        let what = if file.what.is_empty() { String::new() } else { format!(" ({})", file.what.join(", ")) };
        text += &format!("{sign} /{}{what}\n", printable(&file.path.to_string_lossy()));
    }
    text
}
